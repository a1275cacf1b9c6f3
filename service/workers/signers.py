"""What signs in this process: a remote signer for the addresses that are set for it, the keyring for all others.

Guarantees: an address that is set for a remote signer is never signed for by a local key; which addresses can be signed
for is told without asking anybody, so that a signer that does not answer delays its own wallets only; certificates,
key files and extras are looked at before the first signature is needed.
Not guaranteed: that a remote signer has the key, until `prove` asked it.
"""

import asyncio
import importlib.util
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, assert_never

from chains.errors import SigningError
from chains.signing.kms import BotoKms, KmsSigner
from chains.signing.signer import RemoteSigner
from chains.signing.web3signer import SignerTls, Web3Signer
from chains.types import Address, SignedTx, UnsignedTx
from service.private_files import read_private
from service.signer_settings import LOCAL, KmsSettings, SignerSettings, Web3SignerSettings
from service.workers.keyring import Keyring

KMS_EXTRA: Final = "boto3"
"""The module that the extra `aws` brings."""


class SignerUnusable(Exception):
    """A signer cannot work as it is set: a file, a password or an extra is missing."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"signer {name}: {problem}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """A remote signer, and the addresses that are set for it."""

    name: str
    signer: RemoteSigner
    addresses: tuple[Address, ...]


class Signers:
    """`Signer` over the keyring and any number of remote signers."""

    def __init__(self, keyring: Keyring, remotes: Sequence[Remote] = ()) -> None:
        self._keyring = keyring
        self._remotes = tuple(remotes)
        self._by_address = {address: remote for remote in remotes for address in remote.addresses}

    def __repr__(self) -> str:
        return f"Signers(keyring={self._keyring!r}, remotes={[remote.name for remote in self._remotes]})"

    def name_of(self, address: Address) -> str:
        """Which signer signs for the address: that of the settings, else the local keystore."""
        remote = self._by_address.get(address)
        return LOCAL if remote is None else remote.name

    async def addresses(self) -> Sequence[Address]:
        """Those set for remote signers and those of unlocked keys."""
        return tuple({**dict.fromkeys(self._by_address), **dict.fromkeys(await self._keyring.addresses())})

    async def sign(self, sender: Address, tx: UnsignedTx) -> SignedTx:
        """Raises: SigningError, SignerUnavailable."""
        remote = self._by_address.get(sender)
        return await (self._keyring if remote is None else remote.signer).sign(sender, tx)

    async def prove(self, address: Address) -> None:
        """Ask the address's signer whether it has the key. Raises: SignerUnavailable, SigningError."""
        remote = self._by_address.get(address)
        if remote is not None:
            await remote.signer.prove(address)
        elif address not in await self._keyring.addresses():
            raise SigningError(f"no key is unlocked for {address}")

    async def close(self) -> None:
        for remote in self._remotes:
            await remote.signer.close()


async def open_signers(settings: Mapping[str, SignerSettings], keyring: Keyring) -> Signers:
    """The signers as they are set; nothing is asked over the network.

    Raises: SignerUnusable.
    """
    remotes = [await asyncio.to_thread(open_remote, name, one) for name, one in settings.items()]
    return Signers(keyring, remotes)


def open_remote(name: str, settings: SignerSettings) -> Remote:
    """One remote signer, its files read. Raises: SignerUnusable."""
    match settings:
        case Web3SignerSettings():
            signer: RemoteSigner = _web3signer(name, settings)
        case KmsSettings():
            if importlib.util.find_spec(KMS_EXTRA) is None:
                raise SignerUnusable(name, "AWS KMS needs boto3: install cambist with the extra `aws`")
            client = BotoKms(
                region=settings.region, endpoint_url=settings.endpoint_url, timeout_s=max(1, settings.timeout_s // 2)
            )
            signer = KmsSigner(client, settings.keys, timeout_s=settings.timeout_s)
        case _ as never:
            assert_never(never)
    return Remote(name=name, signer=signer, addresses=settings.addresses)


def _web3signer(name: str, settings: Web3SignerSettings) -> Web3Signer:
    password_file, path = settings.client_key_password_file, settings.client_key
    try:
        read_private(path)
        # Without a password a TLS library asks for one on the terminal: an empty one is refused instead.
        password = "" if password_file is None else read_private(password_file)
        tls = SignerTls(
            client_cert_file=settings.client_certificate,
            client_key_file=path,
            client_key_password=password,
            ca_file=settings.ca_certificate,
        )
        tls.context()
    except PermissionError as exc:
        raise SignerUnusable(name, str(exc)) from exc
    except (ssl.SSLError, ValueError) as exc:
        # OpenSSL's texts name no file.
        raise SignerUnusable(
            name, "its certificate, key and key password do not fit each other, or one is not PEM"
        ) from exc
    except OSError as exc:
        missing = [
            str(file)
            for file in (settings.client_certificate, path, password_file, settings.ca_certificate)
            if file is not None and not file.is_file()
        ]
        raise SignerUnusable(name, f"cannot read {', '.join(missing) or 'its files'} ({exc.strerror})") from exc
    return Web3Signer(settings.url.get_secret_value(), tls=tls, name=name, timeout_s=settings.timeout_s)
