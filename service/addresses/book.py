"""Changing an account's address book, each in the caller's unit of work, and who may: owners of the account.

    add       cools first; not an own wallet of the account, nor what the operator adds on the host
    rename    moves nothing, but is what people go by who approve: with a code, too
    remove    at once

An own wallet of the account needs no cooling: what is sent there stays in the account, and the service holds its key.

Guarantees: an address that looks like one the account knows (its book, own wallets, keys' destinations, addresses that
it withdrew to) is not added unless that was said; a book has at most `MAX_ENTRIES`; what another account has is not
looked at and not told.
Not here: confirming with a code (`service.accounts.confirming`) and the audit entry, which are the routes'.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Select, func, select
from sqlalchemy.exc import IntegrityError

from chains.types import ChainId
from service.accounts import names, wallets
from service.accounts.names import InvalidName
from service.addresses import cooling, lookalike, storage
from service.addresses.checking import Examined
from service.addresses.lookalike import Known
from service.addresses.storage import Entry, NewEntry
from service.auth.secrets import MasterKey
from service.db.models import api_keys, key_destinations, withdrawals
from service.errors import ApiError

MAX_ENTRIES: Final = 256
"""In the book of one account, over all chains."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be added. `added_by` is None for the operator on the host, whose entries do not cool."""

    account_id: int
    chain_id: ChainId
    name: str
    accept_look_alike: bool
    added_by: int | None


def add(c: Connection, asked: Asked, examined: Examined, *, now_ms: int, master: MasterKey) -> Entry:
    """Raises: ApiError: entry_exists, looks_alike, too_many, invalid_parameters. authority.Tampered."""
    if storage.count(c, asked.account_id) >= MAX_ENTRIES:
        raise ApiError("too_many", f"an address book has at most {MAX_ENTRIES} entries")
    name = _name(asked.name)
    _check_new(c, asked, examined, name=name, master=master)
    alike = lookalike.resembled(examined.address, known_addresses(c, asked.account_id, master=master))
    if alike and not asked.accept_look_alike:
        told = "; ".join(f"{one.address} ({one.what})" for one in alike)
        raise ApiError("looks_alike", f"{examined.address} begins and ends like another address: {told}")
    since_ms = cooling.latest_ms(c, now_ms)
    own = wallets.wallet_by_address(c, examined.address, master=master)
    stays = own is not None and own.account_id == asked.account_id
    is_cooling = asked.added_by is not None and not stays
    waits_ms = cooling.rule_of(c, asked.account_id, now_ms=now_ms, master=master).cooling_ms if is_cooling else 0
    new = NewEntry(
        account_id=asked.account_id,
        chain_id=asked.chain_id,
        address=examined.address,
        name=name,
        is_contract=examined.is_contract,
        added_by=asked.added_by,
        created_ms=now_ms,
        in_force_ms=since_ms + waits_ms if is_cooling else now_ms,
    )
    try:
        with c.begin_nested():
            return storage.insert_entry(c, new, master=master)
    except IntegrityError:
        raise ApiError("entry_exists", "the address or the name was added at the same moment") from None


def rename(c: Connection, account_id: int, *, entry_id: int, name: str, master: MasterKey) -> Entry:
    """Raises: ApiError: entry_not_found, entry_exists, invalid_parameters, try_again. authority.Tampered."""
    entry = find(c, account_id, entry_id=entry_id, master=master)
    if entry.removed_ms is not None:
        raise _not_found()
    name = _name(name)
    if any(one.name == name and one.id != entry.id for one in _beside(c, entry, master)):
        raise ApiError("entry_exists", f"there is an entry called {name!r} on this chain")
    try:
        with c.begin_nested():
            return storage.rename(c, entry, name=name, master=master)
    except IntegrityError:
        raise ApiError("entry_exists", "an entry of that name was added at the same moment") from None


def remove(c: Connection, account_id: int, *, entry_id: int, now_ms: int, master: MasterKey) -> Entry:
    """Raises: ApiError: entry_not_found, try_again. authority.Tampered."""
    entry = find(c, account_id, entry_id=entry_id, master=master)
    return storage.remove(c, entry, now_ms=now_ms, master=master)


def find(c: Connection, account_id: int, *, entry_id: int, master: MasterKey) -> Entry:
    """The account's entry, removed ones included. Raises: ApiError: entry_not_found. authority.Tampered."""
    found = storage.entry_of(c, account_id, entry_id=entry_id, master=master)
    if found is None:
        raise _not_found()
    return found


def known_addresses(c: Connection, account_id: int, *, master: MasterKey) -> Sequence[Known]:
    """What the account knows, with what it knows it as. Raises: authority.Tampered."""
    found = [
        Known(address=entry.address, what=f"{entry.name!r} in the address book")
        for entry in storage.entries_of(c, account_id, master=master)
    ]
    found += [
        Known(address=wallet.address, what=f"own wallet {wallet.label!r}")
        for wallet in wallets.intact_wallets(c, account_id, master=master)
    ]
    # These two only warn: a row that was written into the database here grants nothing.
    of_keys = select(key_destinations.c.address).join(api_keys).where(api_keys.c.account_id == account_id).distinct()
    found += [Known(address=address, what="a key's destination") for address in c.execute(of_keys).scalars()]
    found += [
        Known(address=address, what="withdrawn to before") for address in c.execute(paid_once(account_id)).scalars()
    ]
    return found


def paid_once(account_id: int) -> Select[Any]:
    """Every address that the account withdrew to, once, each by one step in the index: however many withdrawals there
    are to it, none of them is read."""
    w = withdrawals.alias("w")
    first = select(func.min(w.c.destination).label("address")).where(w.c.account_id == account_id)
    paid = first.cte("paid", recursive=True)
    after = select(func.min(w.c.destination)).where(w.c.account_id == account_id, w.c.destination > paid.c.address)
    step = select(after.scalar_subquery()).where(paid.c.address.is_not(None))
    steps = paid.union_all(step)
    return select(steps.c.address).where(steps.c.address.is_not(None))


def _check_new(c: Connection, asked: Asked, examined: Examined, *, name: str, master: MasterKey) -> None:
    for entry in storage.entries_of(c, asked.account_id, chain_id=asked.chain_id, master=master):
        if entry.address == examined.address:
            raise ApiError("entry_exists", f"{entry.address} is in the book as {entry.name!r} (id {entry.id})")
        if entry.name == name:
            raise ApiError("entry_exists", f"there is an entry called {name!r} on this chain (id {entry.id})")


def _beside(c: Connection, entry: Entry, master: MasterKey) -> Sequence[Entry]:
    return storage.entries_of(c, entry.account_id, chain_id=entry.chain_id, master=master)


def _name(text: str) -> str:
    try:
        return names.checked(text)
    except InvalidName as exc:
        raise ApiError("invalid_parameters", str(exc)) from exc


def _not_found() -> ApiError:
    return ApiError("entry_not_found", "there is no such entry")
