"""Signers outside this process, as they are set: `[signers.NAME]` in cambist.toml, or JSON in CAMBIST_SIGNERS.

    [signers.vault]                            [signers.cloud]
    kind = "web3signer"                        kind = "aws-kms"
    url = "https://signer.example:9000"        region = "eu-central-1"
    client_certificate = "client.pem"          keys = { "0x7099..." = "alias/hot" }
    client_key = "client.key"
    ca_certificate = "ca.pem"
    addresses = ["0x7099..."]

Guarantees: frozen; an address has one signer; the address and the password of a signer are in no repr, dump or error.
Not guaranteed: that the files exist or the signer answers; `service.workers.signers` and `cambist config check` look.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic_core import PydanticCustomError

from chains.types import Address, InvalidAddress, parse_address

LOCAL: Final = "keystore"
"""What signs for every address that no other signer is set for."""
MAX_TIMEOUT_S: Final = 60
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")


def _address(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return parse_address(value)
    except InvalidAddress as exc:
        raise PydanticCustomError("address", "{problem}", {"problem": str(exc)}) from None


def _https(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().startswith("https://"):
        raise PydanticCustomError("not_https", "a remote signer is reached over https:// only")
    return value


def _home(path: Path) -> Path:
    return path.expanduser().absolute()


Place = Annotated[Path, AfterValidator(_home)]
WalletAddress = Annotated[Address, BeforeValidator(_address)]


class _SignerSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    timeout_s: int = Field(default=10, ge=1, le=MAX_TIMEOUT_S)
    """For one signature. Past it the nonce stays with its row and the signer is asked again."""


class Web3SignerSettings(_SignerSettings):
    """JSON-RPC over HTTPS. It should know its clients by their certificates."""

    kind: Literal["web3signer"]
    url: Annotated[SecretStr, AfterValidator(_https)]
    addresses: tuple[WalletAddress, ...] = Field(min_length=1)
    """The wallets that it signs for; what else it could sign for does not matter."""
    client_certificate: Place
    client_key: Place
    """A file with mode 600."""
    client_key_password_file: Place | None = None
    """A file with mode 600, where the key is encrypted."""
    ca_certificate: Place | None = None
    """Who vouches for the signer; the system's authorities without it."""


class KmsSettings(_SignerSettings):
    """AWS KMS, by the extra `aws`. Credentials come from AWS's own chain (role, environment, files)."""

    kind: Literal["aws-kms"]
    keys: Mapping[WalletAddress, Annotated[str, Field(min_length=1, max_length=2_048)]] = Field(min_length=1)
    """Wallet to key id, ARN or alias."""
    region: str | None = None
    endpoint_url: str | None = None
    """A VPC endpoint, say."""

    @property
    def addresses(self) -> tuple[Address, ...]:
        return tuple(self.keys)


SignerSettings = Annotated[Web3SignerSettings | KmsSettings, Field(discriminator="kind")]


def checked_signers(signers: Mapping[str, SignerSettings]) -> Mapping[str, SignerSettings]:
    """Raises: PydanticCustomError: a name cannot be used, or an address has two signers."""
    signed_by: dict[Address, str] = {}
    for name, settings in signers.items():
        if name == LOCAL or not _NAME.fullmatch(name):
            raise PydanticCustomError(
                "signer_name",
                "{name}: a signer's name has lower-case letters, digits and dashes, and is not {local}",
                {"name": name, "local": LOCAL},
            )
        for address in settings.addresses:
            other = signed_by.setdefault(address, name)
            if other != name:
                problem = {"address": address, "one": other, "other": name}
                raise PydanticCustomError("two_signers", "{address} has two signers: {one} and {other}", problem)
    return signers


Signers = Annotated[Mapping[str, SignerSettings], AfterValidator(checked_signers)]
