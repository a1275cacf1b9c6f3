"""Where a key's withdrawals may go, over restarts and in both databases."""

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from chains.types import Address
from service.accounts.people import ensure_account
from service.addresses import reach, storage
from service.addresses.storage import Entry, EntryState, NewEntry
from service.auth import keys
from service.auth.caveats import Target, caveats_of, require
from service.auth.keys import ApiKey, Destination, Permission
from service.auth.secrets import MasterKey
from service.db.engine import Database
from service.errors import ApiError
from tests.service.auth.seed import BOB, DAY_MS, new_key, seed_wallet
from tests.service.books_seed import ETHEREUM, NOW_MS, POLYGON, address_of

MASTER = MasterKey()
EXCHANGE = address_of(0xE8)


def entry(c: Connection, *, account_id: int = 1, address: Address = EXCHANGE, name: str = "exchange") -> Entry:
    new = NewEntry(
        account_id=account_id,
        chain_id=ETHEREUM,
        address=address,
        name=name,
        is_contract=False,
        added_by=None,
        created_ms=NOW_MS,
        in_force_ms=NOW_MS + DAY_MS,
    )
    return storage.insert_entry(c, new, master=MASTER)


def key_of(c: Connection, *, own: bool) -> ApiKey:
    """A key with destinations of its own, or one that has none since its owner made it."""
    new = new_key(seed_wallet(c, MASTER), Permission.WITHDRAW)
    if not own:
        new = replace(new, destinations=(), made_by=1)
    return keys.create_key(c, new, master=MASTER, now_ms=NOW_MS).key


def reached(c: Connection, key: ApiKey, now_ms: int) -> frozenset[Destination]:
    return reach.destinations_of(c, key, chain_id=ETHEREUM, now_ms=now_ms, master=MASTER)


async def test_a_key_without_destinations_of_its_own_reaches_what_has_cooled(db: Database) -> None:
    def work(c: Connection) -> None:
        key = key_of(c, own=False)
        made = entry(c)
        assert reached(c, key, NOW_MS + DAY_MS - 1) == frozenset()
        there = frozenset({Destination(chain_id=ETHEREUM, address=EXCHANGE)})
        assert reached(c, key, NOW_MS + DAY_MS) == there
        assert reach.destinations_of(c, key, chain_id=POLYGON, now_ms=NOW_MS + DAY_MS, master=MASTER) == frozenset()
        storage.remove(c, made, now_ms=NOW_MS, master=MASTER)
        assert reached(c, key, NOW_MS + DAY_MS) == frozenset()

    await db.run(work)


async def test_a_key_with_destinations_of_its_own_reaches_no_book(sqlite_db: Database) -> None:
    def work(c: Connection) -> None:
        key = key_of(c, own=True)
        entry(c)
        assert reached(c, key, NOW_MS + DAY_MS) == frozenset({BOB})

    await sqlite_db.run(work)


async def test_the_refusal_says_that_it_cools_and_until_when_or_that_it_is_in_no_book(sqlite_db: Database) -> None:
    """F64: refused at acceptance."""

    def work(c: Connection) -> None:
        key = key_of(c, own=False)
        entry(c)

        def ask(address: Address, now_ms: int) -> None:
            reach.check_cooled(c, key, chain_id=ETHEREUM, address=address, now_ms=now_ms, master=MASTER)
            target = Target(
                wallet_id=key.wallet_id, chain_id=ETHEREUM, assets=frozenset(), market=None, destination=address
            )
            require(caveats_of(key, reached(c, key, now_ms)), target)

        with pytest.raises(ApiError, match=rf"cools until {NOW_MS + DAY_MS}.* 1 s from now") as cooling:
            ask(EXCHANGE, NOW_MS + DAY_MS - 1)
        assert cooling.value.code == "destination_cooling"
        with pytest.raises(ApiError) as unknown:
            ask(address_of(0x99), NOW_MS + DAY_MS)
        assert unknown.value.code == "destination_not_allowed"
        ask(EXCHANGE, NOW_MS + DAY_MS)

    await sqlite_db.run(work)


async def test_another_accounts_book_is_not_reached(sqlite_db: Database) -> None:
    def work(c: Connection) -> None:
        key = key_of(c, own=False)
        other = ensure_account(c, "second", owner="eve", master=MASTER, now_ms=NOW_MS)
        entry(c, account_id=other.id)
        assert reached(c, key, NOW_MS + DAY_MS) == frozenset()

    await sqlite_db.run(work)


async def test_a_restart_loses_no_cooling_time(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path}/book.sqlite"

    def work(c: Connection) -> ApiKey:
        made = key_of(c, own=False)
        entry(c)
        return made

    database = await Database.open(address)
    await database.migrate()
    key = await database.run(work)
    await database.close()
    database = await Database.open(address)
    try:
        assert await database.read(lambda c: reached(c, key, NOW_MS + DAY_MS - 1)) == frozenset()
        assert len(await database.read(lambda c: reached(c, key, NOW_MS + DAY_MS))) == 1
    finally:
        await database.close()


async def test_a_rename_that_was_read_before_a_removal_does_not_undo_it(db: Database) -> None:
    def work(c: Connection) -> None:
        seed_wallet(c, MASTER)
        made = entry(c)
        storage.remove(c, made, now_ms=NOW_MS, master=MASTER)
        with pytest.raises(ApiError, match="same moment"):
            storage.rename(c, made, name="back", master=MASTER)
        found = storage.entry_of(c, made.account_id, entry_id=made.id, master=MASTER)
        assert found is not None
        assert found.state(NOW_MS) is EntryState.REMOVED

    await db.run(work)


@pytest.mark.parametrize(("address", "name"), [(EXCHANGE, "other"), (address_of(0x99), "exchange")])
async def test_the_database_has_an_address_and_a_name_once(db: Database, address: Address, name: str) -> None:
    def work(c: Connection) -> None:
        seed_wallet(c, MASTER)
        entry(c)
        with pytest.raises(IntegrityError), c.begin_nested():
            entry(c, address=address, name=name)

    await db.run(work)
