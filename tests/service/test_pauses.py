"""The panic switch: what a pause covers, what it asks for, and that it is a row."""

from collections.abc import Sequence

import pytest
from sqlalchemy import Connection

from chains.tx.model import OpenTx, Outcome, Tx, Wish
from chains.tx.store import PreSignPaused
from chains.types import ChainId
from service import pauses
from service.db.engine import Database
from service.errors import ApiError
from service.pauses import EVERYTHING, Scope, Target
from tests.service.books_seed import ETHEREUM, NOW_MS, address_of
from tests.service.trading_seed import MASTER, STORE, Seeded, mine, reserve, seed_withdrawal_of, send
from tests.service.workers.test_presign import presign, seed_authority

WALLET = address_of(0xA11CE)


async def a_withdrawal(db: Database) -> tuple[Seeded, str, Tx]:
    """One that was sent, its key, and its slot."""

    def work(c: Connection) -> tuple[Seeded, str, Tx]:
        owner, key_id = seed_authority(c)
        seeded = seed_withdrawal_of(c, owner, key_id=key_id, master=MASTER)
        (tx,) = reserve(c, seeded.plan)
        send(c, tx, number=1)
        return seeded, key_id, tx

    return await db.run(work)


async def open_slots(db: Database) -> Sequence[OpenTx]:
    return await db.read(lambda c: STORE.open_txs(c, ETHEREUM))


def covering(key_id: str) -> list[Target]:
    return [
        EVERYTHING,
        Target(scope=Scope.CHAIN, subject=str(ETHEREUM)),
        Target(scope=Scope.WALLET, subject=WALLET),
        Target(scope=Scope.KEY, subject=key_id),
    ]


@pytest.mark.parametrize("number", range(4), ids=["all", "chain", "wallet", "key"])
async def test_a_pause_refuses_requests_forbids_signing_and_closes_what_is_open(db: Database, number: int) -> None:
    seeded, key_id, _ = await a_withdrawal(db)
    target = covering(key_id)[number]
    assert await db.run(lambda c: pauses.pause(c, target, reason="strange", now_ms=NOW_MS)) == 1
    (slot,) = await open_slots(db)
    assert (slot.tx.wish, slot.tx.wish_reason) == (Wish.CANCEL, "paused: strange")
    with pytest.raises(PreSignPaused, match="strange"):
        await presign(db).check(seeded.plan.intents[0])
    with pytest.raises(ApiError) as refused:
        await db.run(lambda c: pauses.refuse_if_paused(c, chain_id=ETHEREUM, wallet=WALLET, key_id=key_id))
    assert refused.value.code == "paused"


async def test_a_pause_of_something_else_changes_nothing_here(db: Database) -> None:
    _, key_id, _ = await a_withdrawal(db)
    others = (
        Target(scope=Scope.CHAIN, subject="137"),
        Target(scope=Scope.WALLET, subject=address_of(0xBAD)),
        Target(scope=Scope.KEY, subject="ck_other"),
    )
    for target in others:
        assert await db.run(lambda c, t=target: pauses.pause(c, t, reason="x", now_ms=NOW_MS)) == 0  # type: ignore[misc]
    (slot,) = await open_slots(db)
    assert slot.tx.wish is None
    await presign(db).check(slot.intent)
    await db.run(lambda c: pauses.refuse_if_paused(c, chain_id=ETHEREUM, wallet=WALLET, key_id=key_id))


async def test_a_pause_ends_by_its_scope_and_what_it_closed_stays_so(db: Database) -> None:
    await a_withdrawal(db)
    await db.run(lambda c: pauses.pause(c, EVERYTHING, reason="first", now_ms=NOW_MS))
    assert await db.run(lambda c: pauses.pause(c, EVERYTHING, reason="second", now_ms=NOW_MS + 1)) == 0
    (found,) = await db.read(pauses.list_pauses)
    assert (found.target, found.reason, found.since_ms) == (EVERYTHING, "first", NOW_MS)
    assert await db.run(lambda c: pauses.resume(c, Target(scope=Scope.CHAIN, subject="1"))) is False
    assert await db.run(lambda c: pauses.resume(c, EVERYTHING)) is True
    (slot,) = await open_slots(db)
    await presign(db).check(slot.intent)
    assert slot.tx.wish is Wish.CANCEL


async def test_what_is_mined_is_left_alone(db: Database) -> None:
    _, _, tx = await a_withdrawal(db)
    (slot,) = await open_slots(db)
    await db.run(lambda c: mine(c, tx, slot.attempts[0].hash, outcome=Outcome.SUCCEEDED))
    assert await db.run(lambda c: pauses.pause(c, EVERYTHING, reason="x", now_ms=NOW_MS)) == 0


async def test_the_widest_pause_is_the_one_that_is_told(db: Database) -> None:
    def work(c: Connection) -> str:
        pauses.pause(c, Target(scope=Scope.KEY, subject="ck"), reason="narrow", now_ms=NOW_MS)
        pauses.pause(c, Target(scope=Scope.CHAIN, subject="1"), reason="wide", now_ms=NOW_MS)
        found = pauses.in_force(c, chain_id=ChainId(1), wallet=WALLET, key_id="ck")
        return "" if found is None else found.reason

    assert await db.run(work) == "wide"
