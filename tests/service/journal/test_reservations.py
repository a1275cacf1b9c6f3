"""Holding and releasing amounts, on both databases."""

import asyncio
from collections.abc import Mapping

import pytest
from sqlalchemy import Connection

from chains.tx.model import Lane, Outcome, PlanId
from chains.tx.store import StaleState
from contracts.assets import AssetId
from service.db.engine import Database
from service.db.txstore import SqlTxStore
from service.journal import reservations
from service.journal.reservations import AlreadyHeld, NotEnoughFree
from tests.service.books_seed import ETH, ETHEREUM, NOW_MS, POLYGON, USDC, Owner, make_plan, seed_owner, seed_plan
from tests.service.trading_seed import Seeded, mine, reserve, seed_order, send


def hold(
    c: Connection,
    owner: Owner,
    plan_id: PlanId,
    *,
    amounts: Mapping[AssetId, int],
    available: Mapping[AssetId, int] | None = None,
    available_at: int | None = None,
) -> None:
    reservations.hold(
        c,
        account_id=owner.account_id,
        wallet_id=owner.wallet_id,
        chain_id=ETHEREUM,
        plan_id=plan_id,
        amounts=amounts,
        now_ms=NOW_MS,
        available=available,
        available_at=available_at,
    )


async def test_held_adds_up_open_plans_by_asset_and_chain(db: Database) -> None:
    def work(c: Connection) -> Owner:
        owner = seed_owner(c)
        hold(c, owner, seed_plan(c, "a", owner), amounts={ETH: 2**200, USDC: 5})
        hold(c, owner, seed_plan(c, "b", owner), amounts={ETH: 1, USDC: 0})
        return owner

    owner = await db.run(work)
    assert await db.read(lambda c: reservations.held(c, owner.wallet_id, ETHEREUM)) == {ETH: 2**200 + 1, USDC: 5}
    assert await db.read(lambda c: reservations.held(c, owner.wallet_id, POLYGON)) == {}


async def test_a_release_happens_once_and_says_so(db: Database) -> None:
    def work(c: Connection) -> Owner:
        owner = seed_owner(c)
        hold(c, owner, seed_plan(c, "a", owner), amounts={ETH: 3, USDC: 5})
        return owner

    owner = await db.run(work)
    assert await db.run(lambda c: reservations.release(c, PlanId("a"), NOW_MS)) is True
    assert await db.run(lambda c: reservations.release(c, PlanId("a"), NOW_MS + 1)) is False
    assert await db.run(lambda c: reservations.release(c, PlanId("never"), NOW_MS)) is False
    assert await db.read(lambda c: reservations.held(c, owner.wallet_id, ETHEREUM)) == {}


async def test_a_plan_holds_once_even_after_its_release(db: Database) -> None:
    owner = await db.run(seed_owner)
    await db.run(lambda c: hold(c, owner, seed_plan(c, "a", owner), amounts={ETH: 3}))
    with pytest.raises(AlreadyHeld):
        await db.run(lambda c: hold(c, owner, PlanId("a"), amounts={USDC: 3}))
    await db.run(lambda c: reservations.release(c, PlanId("a"), NOW_MS))
    with pytest.raises(AlreadyHeld):
        await db.run(lambda c: hold(c, owner, PlanId("a"), amounts={ETH: 3}))


async def test_more_than_is_free_is_refused_and_nothing_is_held(db: Database) -> None:
    owner = await db.run(seed_owner)
    balance = {ETH: 10, USDC: 5}
    await db.run(lambda c: hold(c, owner, seed_plan(c, "a", owner), amounts={ETH: 7}, available=balance))
    with pytest.raises(NotEnoughFree) as refused:
        await db.run(lambda c: hold(c, owner, seed_plan(c, "b", owner), amounts={USDC: 5, ETH: 4}, available=balance))
    assert (refused.value.asset_id, refused.value.wanted, refused.value.free) == (ETH, 4, 3)
    assert await db.read(lambda c: reservations.held(c, owner.wallet_id, ETHEREUM)) == {ETH: 7}
    await db.run(lambda c: hold(c, owner, seed_plan(c, "b", owner), amounts={USDC: 5, ETH: 3}, available=balance))


async def test_free_is_never_negative_when_the_chain_has_less_than_is_held(db: Database) -> None:
    owner = await db.run(seed_owner)
    await db.run(lambda c: hold(c, owner, seed_plan(c, "a", owner), amounts={ETH: 7}))
    with pytest.raises(NotEnoughFree) as refused:
        await db.run(lambda c: hold(c, owner, seed_plan(c, "b", owner), amounts={ETH: 1}, available={ETH: 2}))
    assert refused.value.free == 0


async def test_concurrent_holds_never_add_up_to_more_than_there_is(db: Database) -> None:
    owner = await db.run(seed_owner)

    async def try_one(name: str) -> bool:
        def work(c: Connection) -> None:
            hold(c, owner, seed_plan(c, name, owner), amounts={ETH: 4}, available={ETH: 10})

        try:
            await db.run(work)
        except NotEnoughFree:
            return False
        return True

    assert sum(await asyncio.gather(*(try_one(f"plan {n}") for n in range(5)))) == 2
    assert await db.read(lambda c: reservations.held(c, owner.wallet_id, ETHEREUM)) == {ETH: 8}


async def test_what_is_mined_by_the_block_of_a_balance_is_not_taken_from_it_again(db: Database) -> None:
    def work(c: Connection) -> Owner:
        owner = seed_owner(c)
        plan = make_plan("a", Lane(chain_id=ETHEREUM, wallet=owner.address), intents=2)
        SqlTxStore().open_lane(c, Lane(chain_id=ETHEREUM, wallet=owner.address), 0)
        SqlTxStore().add_plan(c, plan)
        hold(c, owner, plan.id, amounts={USDC: 60})
        first, second = reserve(c, plan)
        mine(c, first, send(c, first, number=1), outcome=Outcome.SUCCEEDED, block=100)
        # Half of a plan may have moved nothing yet.
        assert left(c, owner, at=101) == {USDC: 60}
        mine(c, second, send(c, second, number=2), outcome=Outcome.SUCCEEDED, block=101)
        return owner

    def left(c: Connection, owner: Owner, *, at: int | None) -> Mapping[AssetId, int]:
        return reservations.still_held(reservations.holds(c, owner.wallet_id, ETHEREUM), at=at)

    owner = await db.run(work)
    assert await db.read(lambda c: left(c, owner, at=100)) == {USDC: 60}
    assert await db.read(lambda c: left(c, owner, at=101)) == {}
    assert await db.read(lambda c: left(c, owner, at=None)) == {USDC: 60}
    rest = {USDC: 40}
    with pytest.raises(NotEnoughFree):
        await db.run(lambda c: hold(c, owner, seed_plan(c, "b", owner), amounts=rest, available=rest, available_at=100))
    await db.run(lambda c: hold(c, owner, seed_plan(c, "b", owner), amounts=rest, available=rest, available_at=101))


def hold_at_rest(c: Connection, seeded: Seeded, *, amounts: Mapping[AssetId, int]) -> None:
    reservations.hold_for_order(
        c,
        account_id=seeded.owner.account_id,
        wallet_id=seeded.owner.wallet_id,
        chain_id=ETHEREUM,
        order_id=seeded.id,
        amounts=amounts,
        now_ms=NOW_MS,
    )


def seed_resting(c: Connection) -> tuple[Seeded, PlanId]:
    """An order that holds 5 USDC and 3 wei itself, and a plan that it may get."""
    seeded = seed_order(c)
    reservations.release(c, seeded.plan.id, NOW_MS)
    hold_at_rest(c, seeded, amounts={USDC: 5, ETH: 3})
    return seeded, seed_plan(c, "try", seeded.owner)


def held_now(c: Connection, seeded: Seeded) -> Mapping[AssetId, int]:
    return reservations.held(c, seeded.owner.wallet_id, ETHEREUM)


def trigger(c: Connection, seeded: Seeded, plan_id: PlanId, *, amounts: Mapping[AssetId, int], balance: int) -> None:
    reservations.move_to_plan(
        c,
        seeded.id,
        plan_id,
        amounts=amounts,
        available={USDC: balance, ETH: balance},
        available_at=None,
        now_ms=NOW_MS,
    )


async def test_a_hold_goes_from_its_order_to_a_plan_and_back_and_is_released_once(db: Database) -> None:
    def work(c: Connection) -> None:
        seeded, plan_id = seed_resting(c)
        trigger(c, seeded, plan_id, amounts={USDC: 5, ETH: 2}, balance=10)
        # Never less than the order held.
        assert held_now(c, seeded) == {USDC: 5, ETH: 3}
        assert reservations.release_order(c, seeded.id, NOW_MS) is False
        assert reservations.move_to_order(c, plan_id, seeded.id) is True
        assert reservations.move_to_order(c, plan_id, seeded.id) is False
        assert reservations.release(c, plan_id, NOW_MS) is False
        assert held_now(c, seeded) == {USDC: 5, ETH: 3}
        assert reservations.release_order(c, seeded.id, NOW_MS) is True
        assert reservations.release_order(c, seeded.id, NOW_MS) is False
        assert held_now(c, seeded) == {}
        with pytest.raises(StaleState):
            trigger(c, seeded, plan_id, amounts={USDC: 5}, balance=10)

    await db.run(work)


async def test_a_plan_that_takes_more_than_its_order_held_raises_the_hold_where_there_is_enough(db: Database) -> None:
    def work(c: Connection) -> None:
        seeded, plan_id = seed_resting(c)
        hold(c, seeded.owner, seed_plan(c, "other", seeded.owner), amounts={ETH: 4})
        with pytest.raises(NotEnoughFree) as refused:
            # 10 are there, 4 of them another's.
            trigger(c, seeded, plan_id, amounts={USDC: 5, ETH: 7}, balance=10)
        assert (refused.value.asset_id, refused.value.wanted, refused.value.free) == (ETH, 7, 6)
        assert reservations.move_to_order(c, plan_id, seeded.id) is False
        trigger(c, seeded, plan_id, amounts={USDC: 5, ETH: 6}, balance=10)
        assert held_now(c, seeded) == {USDC: 5, ETH: 10}

    await db.run(work)


async def test_an_order_holds_once_and_what_it_holds_counts_at_any_height(db: Database) -> None:
    def work(c: Connection) -> None:
        seeded, _ = seed_resting(c)
        with pytest.raises(AlreadyHeld):
            hold_at_rest(c, seeded, amounts={ETH: 1})
        found = reservations.holds(c, seeded.owner.wallet_id, ETHEREUM)
        assert reservations.still_held(found, at=10**9) == {USDC: 5, ETH: 3}

    await db.run(work)
