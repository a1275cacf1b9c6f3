"""The wallets of an installation: the queries, each inside the caller's unit of work.

Guarantees: an address belongs to one account; a wallet is answered only if its row's MAC is right, so that a row
moved to another account or another address in the database is refused.
Not guaranteed: that a key for the address is at hand (`signer` names where it should be), nor that the books of the
wallet are open; `service.accounts.registration` makes wallets whose books are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, insert, select

from chains.types import Address
from service.accounts import names
from service.auth import authority
from service.auth.authority import Sifted
from service.auth.secrets import MasterKey
from service.db.models import wallets


class AddressTaken(Exception):
    """The address belongs to a wallet of this installation already."""


class LabelTaken(Exception):
    """The account has a wallet with this label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wallet:
    """One address of one account. `signer` names what signs for it (`keystore`)."""

    id: int
    account_id: int
    address: Address
    label: str
    signer: str
    created_ms: int


def insert_wallet(
    c: Connection, *, account_id: int, address: Address, label: str, signer: str, master: MasterKey, now_ms: int
) -> Wallet:
    """Store a wallet with its MAC.

    Raises:
        AddressTaken, LabelTaken: another wallet has it.
        InvalidName: the label.
    """
    check_free(c, account_id=account_id, address=address, label=label)
    row = {
        "account_id": account_id,
        "address": address,
        "label": names.checked(label),
        "signer": signer,
        "created_ms": now_ms,
    }
    # The MAC covers the id, which the database gives out: hence the two steps.
    wallet_id = c.execute(insert(wallets).returning(wallets.c.id), {**row, "mac": bytes(32)}).scalar_one()
    mac = authority.mac(master, wallets, {"id": wallet_id, **row})
    c.execute(wallets.update().where(wallets.c.id == wallet_id).values(mac=mac))
    return Wallet(id=wallet_id, account_id=account_id, address=address, label=label, signer=signer, created_ms=now_ms)


def check_free(c: Connection, *, account_id: int, address: Address, label: str) -> None:
    """Raises: AddressTaken, LabelTaken."""
    if c.execute(select(wallets.c.id).where(wallets.c.address == address)).first() is not None:
        raise AddressTaken(f"{address} is a wallet of this installation already")
    same_label = (wallets.c.account_id == account_id, wallets.c.label == label)
    if c.execute(select(wallets.c.id).where(*same_label)).first() is not None:
        raise LabelTaken(f"the account has a wallet called {label!r} already")


def get_wallet(c: Connection, wallet_id: int, *, master: MasterKey) -> Wallet | None:
    """Raises: the authority's error for a row whose MAC is wrong; so do the other queries."""
    row = c.execute(select(wallets).where(wallets.c.id == wallet_id)).mappings().one_or_none()
    return None if row is None else _wallet(row, master)


def wallet_by_address(c: Connection, address: Address, *, master: MasterKey) -> Wallet | None:
    row = c.execute(select(wallets).where(wallets.c.address == address)).mappings().one_or_none()
    return None if row is None else _wallet(row, master)


def list_wallets(c: Connection, account_id: int | None = None, *, master: MasterKey) -> Sequence[Wallet]:
    """The wallets of an account, or of all accounts, oldest first."""
    statement = select(wallets).order_by(wallets.c.id)
    if account_id is not None:
        statement = statement.where(wallets.c.account_id == account_id)
    return [_wallet(row, master) for row in c.execute(statement).mappings()]


def intact_wallets(c: Connection, account_id: int | None = None, *, master: MasterKey) -> Sequence[Wallet]:
    """The same without those whose MAC is wrong: for looking, where one of them must not hide the others."""
    return sift_wallets(c, account_id, master=master).intact


def sift_wallets(c: Connection, account_id: int | None = None, *, master: MasterKey) -> Sifted[Wallet]:
    """The same, and the ids of those whose MAC is wrong: nothing is signed with their keys."""
    statement = select(wallets).order_by(wallets.c.id)
    if account_id is not None:
        statement = statement.where(wallets.c.account_id == account_id)
    return authority.sift(c, statement, table=wallets, id_=wallets.c.id, make=lambda row: _wallet(row, master))


def _wallet(row: RowMapping, master: MasterKey) -> Wallet:
    authority.verify(master, wallets, row)
    return Wallet(
        id=row["id"],
        account_id=row["account_id"],
        address=row["address"],
        label=row["label"],
        signer=row["signer"],
        created_ms=row["created_ms"],
    )
