"""Routes of the address book: owners change it, every member sees it.

Guarantees: adding, renaming (people approve what goes to a name) and the cooling time are confirmed with a code
(shortening waits besides), removing needs none; each change and its audit entry are one unit of work; of another
account's entries nothing is told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, status
from sqlalchemy import Connection, select

from chains.types import Address, ChainId
from service.accounts import confirming, memberships, people, wallets
from service.accounts.schemas import AccountName
from service.addresses import book, checking, cooling, storage
from service.addresses.cooling import HOUR_MS, Rule
from service.addresses.schemas import AddressBook, AddressIn, AddressOut, CoolingIn, CoolingOut, RenameIn
from service.addresses.storage import Entry, EntryState
from service.audit.model import Subject
from service.audit.recording import record_by_person
from service.auth.authority import Sifted
from service.auth.callers import PersonCaller
from service.auth.session_caller import SessionCaller
from service.build import Services
from service.db.models import users
from service.markets.lookup import Here, chain_named

MAX_REMOVED: Final = 256
"""How many removed entries are shown."""

router = APIRouter(prefix="/v1", tags=["address book"])
EntryId = Annotated[int, Path(ge=1, lt=2**53, examples=[7])]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Names:
    """What the ids of entries are called."""

    chains: Mapping[ChainId, str]
    wallets: Mapping[Address, str]
    users: Mapping[int, str]


@router.get("/addresses")
async def list_addresses(
    caller: PersonCaller,
    services: Here,
    account: AccountName | None = None,
    include_removed: Annotated[bool, Query(description="Also the newest 256 that were removed.")] = False,
) -> AddressBook:
    """The account's address book, by name, and how long a new entry cools."""
    now_ms, master = services.clock.now_ms(), services.master

    def read(c: Connection) -> tuple[AddressBook, Sifted[Entry], int]:
        mine = memberships.require_role(c, caller, account, one_of=memberships.ANYONE, master=master)
        sifted = storage.sift_entries(c, mine.account_id, master=master)
        if include_removed:
            gone = storage.sift_removed(c, mine.account_id, limit=MAX_REMOVED, master=master)
            sifted = replace(sifted, intact=[*sifted.intact, *gone.intact], unusable=[*sifted.unusable, *gone.unusable])
        named = people.get_account(c, mine.account_id)
        assert named is not None  # a membership's foreign key
        rule = cooling.rule_of(c, mine.account_id, now_ms=now_ms, master=master)
        shown = AddressBook(
            account=named.name,
            cooling=_cooling(rule),
            addresses=_shown(services, c, sifted.intact, now_ms=now_ms),
            unusable=list(sifted.unusable),
        )
        return shown, sifted, mine.account_id

    shown, sifted, account_id = await services.db.read(read)
    services.refusals.note_unusable(sifted, account_id=account_id)
    return shown


@router.post("/addresses", status_code=status.HTTP_201_CREATED)
async def add_address(body: AddressIn, caller: PersonCaller, services: Here) -> AddressOut:
    """Add a destination, with a code of the authenticator. It cools before withdrawals may go to it."""
    runtime = chain_named(services, body.chain)
    # Who may not is told nothing of the chain, and asks no node.
    await services.db.read(lambda c: _owned(services, c, caller, body.account))
    examined = await checking.examine(runtime, body.address)
    offered = await confirming.offer(services, caller, body.totp_code)
    now_ms, master = services.clock.now_ms(), services.master

    def write(c: Connection) -> AddressOut:
        account_id = _owned(services, c, caller, body.account)
        asked = book.Asked(
            account_id=account_id,
            chain_id=runtime.config.chain_id,
            name=body.name,
            accept_look_alike=body.accept_look_alike,
            added_by=caller.user_id,
        )
        entry = book.add(c, asked, examined, now_ms=now_ms, master=master)
        confirming.confirm(c, caller, offered, master=master, now_ms=now_ms)
        details = {
            **_details(runtime.config.key, entry),
            "is_contract": entry.is_contract,
            "accept_look_alike": body.accept_look_alike or None,
            "in_force_ms": entry.in_force_ms,
        }
        _record(services, c, caller, act="address.add", entry=entry, details=details, now_ms=now_ms)
        return _shown(services, c, [entry], now_ms=now_ms)[0]

    return await services.db.run(write)


@router.put("/address-cooling")
async def set_cooling(body: CoolingIn, caller: PersonCaller, services: Here) -> CoolingOut:
    """Another cooling time, with a code: a longer one at once, a shorter one after the time of before has passed.

    Within 24 hours, back from a longer one to the time before it waits as long as that one.

    Entries that cool already are not changed.
    """
    offered = await confirming.offer(services, caller, body.totp_code)
    now_ms, master = services.clock.now_ms(), services.master

    def write(c: Connection) -> CoolingOut:
        account_id = _owned(services, c, caller, body.account)
        before = cooling.rule_of(c, account_id, now_ms=now_ms, master=master)
        cooling_ms = body.cooling_hours * HOUR_MS
        if cooling_ms >= before.cooling_ms:
            # At once, and back it waits: for who is new, too long a way to keep others' funds where they are.
            mine = people.membership_of(c, caller.user_id, account_id=account_id, master=master)
            assert mine is not None  # `_owned` saw it, in this unit of work
            memberships.require_seasoned(c, mine, master=master, now_ms=now_ms)
        rule = cooling.set_cooling(c, account_id, cooling_ms=cooling_ms, now_ms=now_ms, master=master)
        confirming.confirm(c, caller, offered, master=master, now_ms=now_ms)
        record_by_person(
            c,
            caller,
            act="address.cooling",
            details={
                "cooling_hours": body.cooling_hours,
                "was_hours": before.cooling_ms // HOUR_MS,
                "from_ms": rule.next_from_ms or now_ms,
            },
            account_id=account_id,
            master=master,
            now_ms=now_ms,
        )
        return _cooling(rule)

    return await services.db.run(write)


@router.patch("/addresses/{entry_id}")
async def rename_address(entry_id: EntryId, body: RenameIn, caller: PersonCaller, services: Here) -> AddressOut:
    """Call an entry something else, with a code: whoever approves a withdrawal goes by the name."""
    offered = await confirming.offer(services, caller, body.totp_code)
    now_ms, master = services.clock.now_ms(), services.master

    def write(c: Connection) -> AddressOut:
        account_id = _owned(services, c, caller, body.account)
        before = book.find(c, account_id, entry_id=entry_id, master=master)
        entry = book.rename(c, account_id, entry_id=entry_id, name=body.name, master=master)
        confirming.confirm(c, caller, offered, master=master, now_ms=now_ms)
        details = {"address": entry.address, "was": before.name, "name": entry.name}
        _record(services, c, caller, act="address.rename", entry=entry, details=details, now_ms=now_ms)
        return _shown(services, c, [entry], now_ms=now_ms)[0]

    return await services.db.run(write)


@router.delete("/addresses/{entry_id}")
async def remove_address(
    entry_id: EntryId, caller: PersonCaller, services: Here, account: AccountName | None = None
) -> AddressOut:
    """Take an entry out of the book at once: what is not signed yet is not sent there. Repeating it changes nothing."""
    now_ms, master = services.clock.now_ms(), services.master

    def write(c: Connection) -> AddressOut:
        caller.check_open(c)
        account_id = _owned(services, c, caller, account)
        before = book.find(c, account_id, entry_id=entry_id, master=master)
        entry = book.remove(c, account_id, entry_id=entry_id, now_ms=now_ms, master=master)
        if before.removed_ms is None:
            details = _details(_chains(services).get(entry.chain_id, str(entry.chain_id)), entry)
            _record(services, c, caller, act="address.remove", entry=entry, details=details, now_ms=now_ms)
        return _shown(services, c, [entry], now_ms=now_ms)[0]

    return await services.db.run(write)


def _owned(services: Services, c: Connection, caller: SessionCaller, account: str | None) -> int:
    mine = memberships.require_role(c, caller, account, one_of=memberships.OWNERS, master=services.master)
    return mine.account_id


def _record(
    services: Services,
    c: Connection,
    caller: SessionCaller,
    *,
    act: str,
    entry: Entry,
    details: Mapping[str, object],
    now_ms: int,
) -> None:
    record_by_person(
        c,
        caller,
        act=act,
        subject=Subject(kind="address", id=str(entry.id)),
        details={"entry": entry.id, **details},
        account_id=entry.account_id,
        master=services.master,
        now_ms=now_ms,
    )


def _details(chain: str, entry: Entry) -> dict[str, object]:
    return {"chain": chain, "address": entry.address, "name": entry.name}


def _cooling(rule: Rule) -> CoolingOut:
    return CoolingOut(
        cooling_hours=rule.cooling_ms // HOUR_MS,
        next_hours=None if rule.next_ms is None else rule.next_ms // HOUR_MS,
        next_from_ms=rule.next_from_ms,
    )


def _chains(services: Services) -> dict[ChainId, str]:
    return {runtime.config.chain_id: key for key, runtime in services.chains.items()}


def _shown(services: Services, c: Connection, entries: Sequence[Entry], *, now_ms: int) -> list[AddressOut]:
    """Entries of one account."""
    if not entries:
        return []
    own = wallets.intact_wallets(c, entries[0].account_id, master=services.master)
    adders = {entry.added_by for entry in entries if entry.added_by is not None}
    by_id = c.execute(select(users.c.id, users.c.name).where(users.c.id.in_(adders))).all()
    called = _Names(
        chains=_chains(services),
        wallets={wallet.address: wallet.label for wallet in own},
        users={row.id: row.name for row in by_id},
    )
    return [_document(entry, called, now_ms=now_ms) for entry in entries]


def _document(entry: Entry, called: _Names, *, now_ms: int) -> AddressOut:
    state = entry.state(now_ms)
    return AddressOut(
        id=entry.id,
        chain=called.chains.get(entry.chain_id, str(entry.chain_id)),
        address=entry.address,
        name=entry.name,
        state=state,
        cooling_until_ms=entry.in_force_ms if state is EntryState.COOLING else None,
        is_contract=entry.is_contract,
        own_wallet=called.wallets.get(entry.address),
        added_by=None if entry.added_by is None else called.users.get(entry.added_by),
        created_ms=entry.created_ms,
        removed_ms=entry.removed_ms,
    )
