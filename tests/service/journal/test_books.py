"""Appending to the books, on both databases."""

import asyncio
from collections.abc import Sequence

import pytest
from sqlalchemy import Connection, select

from chains.units import MAX_UINT256
from contracts.assets import AssetId
from service.db.engine import Database
from service.db.models import journal_entries, outbox
from service.journal import books
from service.journal.books import Cause, Change, UnknownAccount
from tests.service.books_seed import (
    ETH,
    ETHEREUM,
    NOW_MS,
    POL,
    POLYGON,
    USDC,
    Owner,
    block_at,
    seed_owner,
    tx_hash,
)


def book(c: Connection, owner: Owner, changes: Sequence[Change], *, cause: Cause = "trade", tx: int = 1) -> int:
    return books.record(
        c,
        account_id=owner.account_id,
        wallet_id=owner.wallet_id,
        changes=changes,
        cause=cause,
        cause_id="7",
        tx_hash=tx_hash(tx),
        block=block_at(100),
        event_kind="order_filled",
        event_payload={"order": 7},
        now_ms=NOW_MS,
    )


async def test_a_record_appends_its_entries_and_exactly_one_event(db: Database) -> None:
    def work(c: Connection) -> Owner:
        owner = seed_owner(c)
        assert book(c, owner, [Change(asset_id=USDC, raw=3_000), Change(asset_id=ETH, raw=-5, cause="gas")]) == 1
        return owner

    owner = await db.run(work)
    entries = await db.read(lambda c: books.entries(c, owner.account_id))
    assert [(e.asset_id, e.raw, e.cause, e.cause_id, e.event_seq) for e in entries] == [
        (USDC, 3_000, "trade", "7", 1),
        (ETH, -5, "gas", "7", 1),
    ]
    assert all(e.block == block_at(100) and e.tx_hash == tx_hash(1) and e.chain_id == ETHEREUM for e in entries)
    events = await db.read(lambda c: books.events(c, owner.account_id))
    assert [(e.seq, e.kind, e.payload) for e in events] == [(1, "order_filled", {"order": 7})]


async def test_an_amount_is_kept_unsigned_with_a_direction(db: Database) -> None:
    await db.run(lambda c: book(c, seed_owner(c), [Change(asset_id=ETH, raw=-5), Change(asset_id=USDC, raw=6)]))
    columns = (journal_entries.c.raw, journal_entries.c.direction)
    rows = await db.read(lambda c: c.execute(select(*columns).order_by(journal_entries.c.id)).all())
    assert [tuple(row) for row in rows] == [(5, "out"), (6, "in")]


async def test_a_change_of_zero_leaves_no_entry_but_the_event_stays(db: Database) -> None:
    def work(c: Connection) -> Owner:
        owner = seed_owner(c)
        book(c, owner, [Change(asset_id=ETH, raw=0)])
        return owner

    owner = await db.run(work)
    assert await db.read(lambda c: books.entries(c, owner.account_id)) == []
    assert len(await db.read(lambda c: books.events(c, owner.account_id))) == 1


async def test_the_event_sequence_of_an_account_has_no_gaps_under_concurrency(db: Database) -> None:
    one, two = await db.run(lambda c: (seed_owner(c, 1), seed_owner(c, 2)))

    def refused(c: Connection) -> int:
        book(c, one, [Change(asset_id=ETH, raw=1)])
        raise LookupError("rolled back after taking a number")

    async def fail() -> None:
        with pytest.raises(LookupError):
            await db.run(refused)

    async def succeed(owner: Owner) -> int:
        return await db.run(lambda c: book(c, owner, [Change(asset_id=ETH, raw=1)]))

    # Few at once: PostgreSQL repeats conflicting units of work only so often.
    numbers: dict[int, list[int]] = {one.account_id: [], two.account_id: []}
    for _ in range(5):
        first, second, other, _nothing = await asyncio.gather(succeed(one), succeed(one), succeed(two), fail())
        numbers[one.account_id] += [first, second]
        numbers[two.account_id].append(other)
    assert sorted(numbers[one.account_id]) == list(range(1, 11))
    assert numbers[two.account_id] == [1, 2, 3, 4, 5]
    events = await db.read(lambda c: books.events(c, one.account_id))
    assert [event.seq for event in events] == list(range(1, 11))


async def test_a_unit_of_work_that_raises_leaves_neither_entry_nor_event(db: Database) -> None:
    owner = await db.run(seed_owner)

    def work(c: Connection) -> None:
        book(c, owner, [Change(asset_id=ETH, raw=1)])
        raise LookupError("later")

    with pytest.raises(LookupError):
        await db.run(work)
    assert await db.read(lambda c: c.execute(select(journal_entries)).all()) == []
    assert await db.read(lambda c: c.execute(select(outbox)).all()) == []


async def test_totals_are_exact_beyond_every_machine_number(db: Database) -> None:
    def work(c: Connection) -> Owner:
        owner = seed_owner(c)
        book(c, owner, [Change(asset_id=USDC, raw=MAX_UINT256), Change(asset_id=USDC, raw=MAX_UINT256)])
        book(c, owner, [Change(asset_id=USDC, raw=-1), Change(asset_id=POL, raw=-9)])
        return owner

    owner = await db.run(work)
    assert await db.read(lambda c: books.totals(c, owner.wallet_id, chain_id=ETHEREUM)) == {USDC: 2 * MAX_UINT256 - 1}
    assert await db.read(lambda c: books.totals(c, owner.wallet_id, chain_id=POLYGON)) == {POL: -9}


async def test_a_reversal_appends_the_opposite_of_what_stands_and_repeating_it_does_nothing(db: Database) -> None:
    def reverse(c: Connection, owner: Owner) -> int | None:
        return books.reverse(
            c,
            account_id=owner.account_id,
            wallet_id=owner.wallet_id,
            tx_hash=tx_hash(1),
            cause_id="7",
            block=block_at(100),
            event_kind="order_reversed",
            event_payload={"order": 7},
            now_ms=NOW_MS + 1,
        )

    def work(c: Connection) -> Owner:
        owner = seed_owner(c)
        book(c, owner, [Change(asset_id=USDC, raw=3_000), Change(asset_id=ETH, raw=-5)])
        book(c, owner, [Change(asset_id=ETH, raw=-4)], tx=2)
        return owner

    owner = await db.run(work)
    assert await db.run(lambda c: reverse(c, owner)) == 3
    assert await db.run(lambda c: reverse(c, owner)) is None
    entries = await db.read(lambda c: books.entries(c, owner.account_id))
    assert [(e.asset_id, e.raw, e.cause) for e in entries] == [
        (USDC, 3_000, "trade"),
        (ETH, -5, "trade"),
        (ETH, -4, "trade"),
        (USDC, -3_000, "reversal"),
        (ETH, 5, "reversal"),
    ]
    # Mined again after the reorg, it is booked again and may be reversed again.
    await db.run(lambda c: book(c, owner, [Change(asset_id=USDC, raw=2_999)]))
    assert await db.read(lambda c: books.totals(c, owner.wallet_id, chain_id=ETHEREUM)) == {USDC: 2_999, ETH: -4}
    assert await db.run(lambda c: reverse(c, owner)) == 5


async def test_an_event_for_an_unknown_account_is_refused(db: Database) -> None:
    with pytest.raises(UnknownAccount):
        await db.run(lambda c: books.emit(c, account_id=404, kind="x", payload={}, now_ms=NOW_MS))


@pytest.mark.parametrize("text", ["", "eip155:/slip44:60", "solana:1/slip44:501", "eip155:x/erc20:0x00", "ETH"])
def test_an_asset_id_without_an_evm_chain_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an EVM asset id"):
        books.chain_of(AssetId(text))


def test_the_chain_of_an_asset_is_read_from_its_id() -> None:
    assert (books.chain_of(ETH), books.chain_of(POL)) == (1, 137)
