"""Keys to test with: an account, a wallet with its MAC, and keys of every kind."""

from ipaddress import ip_network

from sqlalchemy import Connection

from chains.types import ChainId
from service.accounts.people import ensure_account
from service.accounts.wallets import Wallet, insert_wallet
from service.auth import keys
from service.auth.keys import Created, Destination, NewKey, Permission
from service.auth.secrets import MasterKey
from tests.service.books_seed import NOW_MS, address_of

DAY_MS = 24 * 3_600_000
HERE = ip_network("127.0.0.1/32")
BOB = Destination(chain_id=ChainId(1), address=address_of(77))


def seed_wallet(c: Connection, master: MasterKey) -> Wallet:
    account = ensure_account(c, "main", owner="ada", master=master, now_ms=NOW_MS)
    return insert_wallet(
        c,
        account_id=account.id,
        address=address_of(1),
        label="main",
        signer="keystore",
        master=master,
        now_ms=NOW_MS,
    )


def new_key(wallet: Wallet, *permissions: Permission, label: str = "bot") -> NewKey:
    """A key that obeys all rules for its permissions."""
    withdraws = Permission.WITHDRAW in permissions
    return NewKey(
        account_id=wallet.account_id,
        wallet_id=wallet.id,
        label=label,
        permissions=frozenset(permissions or {Permission.READ}),
        ip_allowlist=(HERE,) if withdraws else (),
        destinations=(BOB,) if withdraws else (),
        expires_ms=NOW_MS + DAY_MS if withdraws else None,
    )


def seed_key(c: Connection, master: MasterKey, *permissions: Permission) -> Created:
    """A wallet and one key of it."""
    return keys.create_key(c, new_key(seed_wallet(c, master), *permissions), master=master, now_ms=NOW_MS)
