"""Owner's acts on wallets: make, import, register, list.

A wallet whose key is elsewhere is registered only after its signer, asked now, has said that it has the key.

Guarantees: a private key goes into an encrypted file before the wallet exists, and out of this process never; all key
files of an installation open with one password, so that a restart needs one; repeating an act that failed half-way
(the key is stored, a chain did not answer) finishes it.
"""

import asyncio
from typing import Any, Literal

from pydantic import Field, SecretStr
from sqlalchemy import Connection

from chains.errors import SignerUnavailable, SigningError
from chains.signing import mnemonic
from chains.signing.keystore import decrypt_keyfile
from chains.signing.signer import UnlockedKey
from chains.types import Address, InvalidAddress, parse_address
from service.accounts import wallets
from service.accounts.names import InvalidName
from service.accounts.people import list_accounts
from service.accounts.registration import RegistrationFailed, register_wallet
from service.accounts.wallets import AddressTaken, LabelTaken, Wallet
from service.build import Services
from service.control.params import Params
from service.control.protocol import ActFailed
from service.signer_settings import LOCAL


class OfAccount(Params):
    """For an account by its name; the installation's first one where none is named."""

    account: str | None = Field(default=None, max_length=64)


class CreateWallet(OfAccount):
    label: str = Field(max_length=64)
    password: SecretStr | None = None


class ImportWallet(OfAccount):
    label: str = Field(max_length=64)
    kind: Literal["private-key", "mnemonic", "keystore"]
    secret: SecretStr
    secret_password: SecretStr | None = None
    index: int = Field(default=0, ge=0, lt=2**31)
    password: SecretStr | None = None


class RegisterWallet(OfAccount):
    label: str = Field(max_length=64)
    address: str
    password: SecretStr | None = None


async def create(services: Services, params: CreateWallet) -> dict[str, Any]:
    """A new key and its wallet."""
    password = await keystore_password(services, params.password)
    account_id = await the_account(services, params.account)
    await _check_label(services, account_id, params.label)
    try:
        address = await asyncio.to_thread(services.keystore.create, password)
    except SigningError as exc:
        raise ActFailed("keystore_refused", str(exc)) from exc
    return await _register(services, account_id, address, label=params.label, password=password)


async def import_(services: Services, params: ImportWallet) -> dict[str, Any]:
    """An existing key and its wallet. The key may be in the keystore already."""
    password = await keystore_password(services, params.password)
    account_id = await the_account(services, params.account)
    await _check_label(services, account_id, params.label)
    try:
        private_key = await asyncio.to_thread(_private_key, params)
        address = UnlockedKey(private_key).address
        _check_local(services, address)
        if address not in services.keystore.list():
            await asyncio.to_thread(services.keystore.import_key, private_key, password)
    except SigningError as exc:
        raise ActFailed("bad_secret", str(exc)) from exc
    return await _register(services, account_id, address, label=params.label, password=password)


async def register(services: Services, params: RegisterWallet) -> dict[str, Any]:
    """The wallet of a key that is in the keystore already, or that a remote signer holds."""
    try:
        address = parse_address(params.address)
    except InvalidAddress as exc:
        raise ActFailed("bad_address", str(exc)) from exc
    if services.signers.name_of(address) != LOCAL:
        account_id = await the_account(services, params.account)
        return await _register_remote(services, account_id, address, label=params.label)
    if address not in services.keystore.list():
        raise ActFailed(
            "no_such_key",
            f"{address} has no key file in the keystore, and no signer is set for it",
            hint="cambist wallet import; for a key elsewhere, see signers in docs/operations.md",
        )
    password = await keystore_password(services, params.password)
    account_id = await the_account(services, params.account)
    return await _register(services, account_id, address, label=params.label, password=password)


async def list_(services: Services, params: Params) -> dict[str, Any]:
    """All wallets."""

    def read(c: Connection) -> tuple[list[tuple[Wallet, str]], list[str]]:
        names = {account.id: account.name for account in list_accounts(c)}
        sifted = wallets.sift_wallets(c, master=services.master)
        return [(wallet, names[wallet.account_id]) for wallet in sifted.intact], list(sifted.unusable)

    found, unusable = await services.db.read(read)
    unlocked = set(await services.signers.addresses())
    return {
        "wallets": [
            {**document(wallet), "account": account, "unlocked": wallet.address in unlocked}
            for wallet, account in found
        ],
        "unusable": unusable,
    }


async def find_wallet(services: Services, named: str) -> Wallet:
    """A wallet by label or address. Raises: ActFailed: there is none, or several accounts have one of that label."""
    every = await services.db.read(lambda c: wallets.intact_wallets(c, master=services.master))
    found = [wallet for wallet in every if wallet.label == named or wallet.address.lower() == named.lower()]
    if len(found) > 1:
        raise ActFailed(
            "ambiguous_wallet",
            f"several accounts have a wallet {named!r}",
            hint="Give its address: cambist wallet list",
        )
    if not found:
        raise ActFailed("no_such_wallet", f"there is no wallet {named!r}", hint="cambist wallet list")
    return found[0]


async def the_account(services: Services, named: str | None = None) -> int:
    """The account of that name, or the installation's first. Raises: ActFailed: there is none."""
    accounts = await services.db.read(list_accounts)
    if not accounts:
        raise ActFailed("no_account", "this installation has no account yet", hint="cambist init")
    for account in accounts:
        if named is None or account.name == named:
            return account.id
    raise ActFailed("unknown_account", f"there is no account {named!r}")


async def keystore_password(services: Services, given: SecretStr | None) -> str:
    """The one password of all key files. Raises: ActFailed: none is known, or it is another one."""
    configured = services.settings.keystore_password()
    password = given.get_secret_value() if given is not None else configured
    if not password:
        raise ActFailed(
            "keystore_password_needed",
            "no keystore password is configured and none was given",
            hint="Give --password-file, or set CAMBIST_KEYSTORE_PASSWORD_FILE.",
        )
    known = services.keystore.list()
    if known:
        try:
            await services.keystore.unlock(known[0], password)
        except SigningError as exc:
            raise ActFailed(
                "keystore_password_wrong",
                "the key files of this installation open with another password, and they share one",
            ) from exc
    return password


def document(wallet: Wallet) -> dict[str, Any]:
    """A wallet as the owner sees it."""
    return {"label": wallet.label, "address": wallet.address, "signer": wallet.signer, "created_ms": wallet.created_ms}


async def _check_label(services: Services, account_id: int, label: str) -> None:
    """Before a key is made for it."""
    found = await services.db.read(lambda c: wallets.list_wallets(c, account_id, master=services.master))
    if any(wallet.label == label for wallet in found):
        raise ActFailed("label_taken", f"there is a wallet called {label!r} already")


async def _register(
    services: Services, account_id: int, address: Address, *, label: str, password: str
) -> dict[str, Any]:
    """With a key file that is there by now."""
    try:
        key = await services.keystore.unlock(address, password)
    except SigningError as exc:
        raise ActFailed("keystore_refused", str(exc)) from exc
    wallet = await _registered(services, account_id, address, label=label)
    services.keyring.add(key)
    return wallet


async def _register_remote(services: Services, account_id: int, address: Address, *, label: str) -> dict[str, Any]:
    name = services.signers.name_of(address)
    try:
        await services.signers.prove(address)
    except SignerUnavailable as exc:
        raise ActFailed("signer_unreachable", f"signer {name}: {exc}", hint="cambist config check") from exc
    except SigningError as exc:
        raise ActFailed("signer_refused", f"signer {name}: {exc}", hint="cambist config check") from exc
    return await _registered(services, account_id, address, label=label)


async def _registered(services: Services, account_id: int, address: Address, *, label: str) -> dict[str, Any]:
    signer = services.signers.name_of(address)
    try:
        wallet = await register_wallet(services, account_id=account_id, address=address, label=label, signer=signer)
    except AddressTaken as exc:
        raise ActFailed("wallet_exists", str(exc), hint="cambist wallet list") from exc
    except LabelTaken as exc:
        raise ActFailed("label_taken", str(exc)) from exc
    except InvalidName as exc:
        raise ActFailed("bad_label", str(exc)) from exc
    except RegistrationFailed as exc:
        raise ActFailed(
            "chain_in_the_way",
            f"{exc}; the key itself is safe with its signer ({signer})",
            hint=f"When the chain is back: cambist wallet register {label} {address}",
        ) from exc
    return document(wallet)


def _check_local(services: Services, address: Address) -> None:
    """A key that a remote signer is set for has no place in a file here. Raises: ActFailed."""
    name = services.signers.name_of(address)
    if name != LOCAL:
        raise ActFailed(
            "signed_elsewhere",
            f"the settings say that signer {name} signs for {address}",
            hint=f"cambist wallet register LABEL {address}",
        )


def _private_key(params: ImportWallet) -> bytes:
    """Raises: SigningError: not what `kind` says."""
    secret = params.secret.get_secret_value().strip()
    match params.kind:
        case "private-key":
            try:
                return bytes.fromhex(secret.removeprefix("0x"))
            except ValueError:
                # `from None`: the parser quotes the text.
                raise SigningError("a private key is 64 hex digits") from None
        case "mnemonic":
            return mnemonic.derive(secret, params.index)
        case "keystore":
            password = params.secret_password.get_secret_value() if params.secret_password else ""
            return decrypt_keyfile(secret.encode(), password)
