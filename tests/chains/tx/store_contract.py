"""What every `TxStore` must do, whatever it stores in. Subclass with fixtures `store` and `uow`."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from chains.tx.model import (
    Attempt,
    AttemptKind,
    AttemptState,
    Intent,
    IntentId,
    IntentState,
    Lane,
    Outcome,
    Plan,
    PlanId,
    Tx,
    TxId,
    TxState,
    Wish,
    payload_hash,
)
from chains.tx.store import DuplicateId, StaleState, TxStore, UnitOfWork
from chains.types import Address, BlockHash, BlockRef, CallRequest, ChainId, Fees, TxHash
from chains.units import MAX_UINT256

T = TypeVar("T")

CHAIN = ChainId(1)
LANE = Lane(chain_id=CHAIN, wallet=Address("0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2"))
OTHER = Lane(chain_id=CHAIN, wallet=Address("0x0d500B1d8E8eF31E21C99d1Db9A6444d3ADf1270"))
POLYGON_LANE = replace(LANE, chain_id=ChainId(137))
BLOCK = BlockRef(number=7, hash=BlockHash("0x" + "07" * 32))
NEXT_BLOCK = BlockRef(number=8, hash=BlockHash("0x" + "08" * 32))
NOW = 1_767_225_600_000


def plan_of(name: str, *, size: int = 1, lane: Lane = LANE, state: IntentState = IntentState.QUEUED) -> Plan:
    call = CallRequest(to=OTHER.wallet, data=b"\x01\x02", value_wei=MAX_UINT256)
    intents = tuple(
        Intent(
            id=IntentId(f"{name}/{position}"),
            plan_id=PlanId(name),
            position=position,
            lane=lane,
            call=call,
            payload_hash=payload_hash(lane, call),
            state=state,
        )
        for position in range(size)
    )
    return Plan(id=PlanId(name), lane=lane, intents=intents, created_ms=NOW, valid_until_ms=NOW + 60_000)


def attempt_of(tx: Tx, mark: int, *, kind: AttemptKind = AttemptKind.REAL) -> Attempt:
    return Attempt(
        hash=TxHash("0x" + mark.to_bytes(32, "big").hex()),
        tx_id=tx.id,
        kind=kind,
        raw=b"\x02" + bytes([mark]),
        fees=Fees(max_fee_wei=30 + mark, priority_fee_wei=3),
        gas_limit=21_000,
        state=AttemptState.SIGNED,
        created_ms=NOW + mark,
    )


def first_plan(store: TxStore[Any], u: Any) -> Plan | None:
    return next(iter(store.next_plans(u, LANE, 1)), None)


class TxStoreContract:
    """The tests. Nothing here knows what `U` is."""

    # -- helpers -----------------------------------------------------------------------------------------
    async def given(self, store: TxStore[Any], uow: UnitOfWork[Any], *plans: Plan, next_nonce: int = 0) -> None:
        def work(u: Any) -> None:
            for plan in plans:
                store.add_plan(u, plan)
                store.open_lane(u, plan.lane, next_nonce)

        await uow.run(work)

    async def placed(
        self, store: TxStore[Any], uow: UnitOfWork[Any], *, size: int = 1, lane: Lane = LANE, name: str = "p"
    ) -> Sequence[Tx]:
        plan = plan_of(name, size=size, lane=lane)
        await self.given(store, uow, plan)
        wanted = [(intent.id, 21_000) for intent in plan.intents]
        return await uow.run(lambda u: store.reserve(u, lane, wanted, first_nonce=0, now_ms=NOW))

    async def sent(self, store: TxStore[Any], uow: UnitOfWork[Any], *, attempts: int = 1) -> tuple[Tx, list[Attempt]]:
        (tx,) = await self.placed(store, uow)
        made = [attempt_of(tx, mark) for mark in range(1, attempts + 1)]
        for count, attempt in enumerate(made):
            known = [one.hash for one in made[:count]]
            await uow.run(lambda u, a=attempt, k=known: store.save_attempts(u, [a], NOW, after=k))  # type: ignore[misc]
            await uow.run(lambda u, a=attempt: store.mark_sent(u, [a.hash], NOW))  # type: ignore[misc]
        return tx, made

    async def mined(self, store: TxStore[Any], uow: UnitOfWork[Any], *, attempts: int = 1) -> tuple[Tx, list[Attempt]]:
        tx, made = await self.sent(store, uow, attempts=attempts)
        await uow.run(
            lambda u: store.mark_mined(u, tx.id, made[0].hash, block=BLOCK, outcome=Outcome.SUCCEEDED, now_ms=NOW)
        )
        return tx, made

    async def refused(self, uow: UnitOfWork[Any], work: Callable[[Any], object]) -> None:
        with pytest.raises(StaleState):
            await uow.run(work)

    async def tx(self, store: TxStore[Any], uow: UnitOfWork[Any], name: str = "p") -> Tx:
        return (await uow.read(lambda u: store.plan_txs(u, PlanId(name))))[0]

    # -- units of work -----------------------------------------------------------------------------------
    async def test_a_raise_inside_a_unit_of_work_leaves_nothing_behind(
        self, store: TxStore[Any], uow: UnitOfWork[Any]
    ) -> None:
        def work(u: Any) -> None:
            store.add_plan(u, plan_of("p"))
            store.open_lane(u, LANE, 3)
            raise RuntimeError("stop")

        with pytest.raises(RuntimeError, match="stop"):
            await uow.run(work)
        assert await uow.read(lambda u: store.plan(u, PlanId("p"))) is None
        assert await uow.read(lambda u: store.lane(u, LANE)) is None

    # -- plans -------------------------------------------------------------------------------------------
    async def test_a_plan_comes_back_as_it_was_stored(self, store: TxStore[Any], uow: UnitOfWork[Any]) -> None:
        plan = plan_of("p", size=3)
        await self.given(store, uow, plan)
        assert await uow.read(lambda u: store.plan(u, PlanId("p"))) == plan

    async def test_a_plan_id_is_unique_for_ever(self, store: TxStore[Any], uow: UnitOfWork[Any]) -> None:
        await self.given(store, uow, plan_of("p"))
        await uow.run(lambda u: store.reject_plan(u, PlanId("p"), "x: y"))
        with pytest.raises(DuplicateId):
            await uow.run(lambda u: store.add_plan(u, plan_of("p")))

    async def test_an_intent_id_is_unique_across_plans(self, store: TxStore[Any], uow: UnitOfWork[Any]) -> None:
        await self.given(store, uow, plan_of("p"))
        other = plan_of("q")
        stolen = replace(other, intents=(replace(other.intents[0], id=IntentId("p/0")),))
        with pytest.raises(DuplicateId):
            await uow.run(lambda u: store.add_plan(u, stolen))
        assert await uow.read(lambda u: store.plan(u, PlanId("q"))) is None

    async def test_plans_of_a_lane_come_first_in_first_out(self, store: TxStore[Any], uow: UnitOfWork[Any]) -> None:
        await self.given(store, uow, plan_of("z"), plan_of("a"), plan_of("o", lane=OTHER))
        first = await uow.read(lambda u: first_plan(store, u))
        assert first is not None
        assert first.id == "z"
        await uow.run(lambda u: store.reject_plan(u, PlanId("z"), "x: y"))
        second = await uow.read(lambda u: first_plan(store, u))
        assert second is not None
        assert second.id == "a"

    async def test_a_plan_that_is_only_accepted_is_not_next(self, store: TxStore[Any], uow: UnitOfWork[Any]) -> None:
        await self.given(store, uow, plan_of("p", state=IntentState.ACCEPTED))
        assert await uow.read(lambda u: first_plan(store, u)) is None
        assert await uow.read(lambda u: store.queued_lanes(u, CHAIN)) == []

    async def test_lanes_with_queued_plans_are_those_of_the_chain(
        self, store: TxStore[Any], uow: UnitOfWork[Any]
    ) -> None:
        await self.given(store, uow, plan_of("p"), plan_of("q", lane=POLYGON_LANE))
        assert list(await uow.read(lambda u: store.queued_lanes(u, CHAIN))) == [LANE]

    async def test_a_plan_that_is_only_accepted_is_no_lanes_until_it_is_queued(
        self, store: TxStore[Any], uow: UnitOfWork[Any]
    ) -> None:
        plan = plan_of("p", size=2)
        waits = replace(plan, intents=tuple(replace(i, state=IntentState.ACCEPTED) for i in plan.intents))
        await self.given(store, uow, waits)
        assert await uow.read(lambda u: first_plan(store, u)) is None
        assert await uow.read(lambda u: store.queued_lanes(u, CHAIN)) == []
        wanted = [(intent.id, 21_000) for intent in plan.intents]
        await self.refused(uow, lambda u: store.reserve(u, LANE, wanted, first_nonce=0, now_ms=NOW))
        await uow.run(lambda u: store.queue_plan(u, PlanId("p")))
        assert await uow.read(lambda u: first_plan(store, u)) == plan
        await self.refused(uow, lambda u: store.queue_plan(u, PlanId("p")))

    async def test_a_plan_that_was_rejected_or_does_not_exist_is_not_queued(
        self, store: TxStore[Any], uow: UnitOfWork[Any]
    ) -> None:
        plan = plan_of("p")
        waits = replace(plan, intents=tuple(replace(i, state=IntentState.ACCEPTED) for i in plan.intents))
        await self.given(store, uow, waits)
        await uow.run(lambda u: store.reject_plan(u, PlanId("p"), "code: text"))
        await self.refused(uow, lambda u: store.queue_plan(u, PlanId("p")))
        await self.refused(uow, lambda u: store.queue_plan(u, PlanId("q")))

    async def test_a_rejected_plan_keeps_its_reason_and_is_rejected_once(
        self, store: TxStore[Any], uow: UnitOfWork[Any]
    ) -> None:
        await self.given(store, uow, plan_of("p", size=2))
        await uow.run(lambda u: store.reject_plan(u, PlanId("p"), "code: text"))
        plan = await uow.read(lambda u: store.plan(u, PlanId("p")))
        assert plan is not None
        assert {(i.state, i.reject_reason) for i in plan.intents} == {(IntentState.REJECTED, "code: text")}
        await self.refused(uow, lambda u: store.reject_plan(u, PlanId("p"), "again: no"))

    async def test_a_placed_plan_cannot_be_rejected(self, store: TxStore[Any], uow: UnitOfWork[Any]) -> None:
        await self.placed(store, uow)
        await self.refused(uow, lambda u: store.reject_plan(u, PlanId("p"), "x: y"))
        await self.refused(uow, lambda u: store.reject_rest(u, PlanId("p"), "x: y"))

    async def test_a_plan_that_does_not_exist_cannot_be_rejected(
        self, store: TxStore[Any], uow: UnitOfWork[Any]
    ) -> None:
        await self.refused(uow, lambda u: store.reject_plan(u, PlanId("p"), "x: y"))

    # -- plans that are placed step by step --------------------------------------------------------------
    async def test_a_started_plan_is_found_until_its_rest_is_placed_or_rejected(
        self, store: TxStore[Any], uow: UnitOfWork[Any]
    ) -> None:
        plan = plan_of("p", size=3)
        await self.given(store, uow, plan)
        assert await uow.read(lambda u: store.started_plan(u, LANE)) is None
        first = [(plan.intents[0].id, 21_000)]
        await uow.run(lambda u: store.reserve(u, LANE, first, first_nonce=0, now_ms=NOW))
        started = await uow.read(lambda u: store.started_plan(u, LANE))
        assert started is not None
        assert [i.state for i in started.intents] == [IntentState.PLACED, IntentState.QUEUED, IntentState.QUEUED]
        assert await uow.read(lambda u: first_plan(store, u)) is None
        assert list(await uow.read(lambda u: store.queued_lanes(u, CHAIN))) == [LANE]
        await uow.run(lambda u: store.reject_rest(u, PlanId("p"), "x: y"))
        assert await uow.read(lambda u: store.started_plan(u, LANE)) is None
        ended = await uow.read(lambda u: store.plan(u, PlanId("p")))
        assert ended is not None
        assert [i.state for i in ended.intents] == [IntentState.PLACED, IntentState.REJECTED, IntentState.REJECTED]

    async def test_the_slots_of_a_plan_are_told_closed_ones_too(
        self, store: TxStore[Any], uow: UnitOfWork[Any]
    ) -> None:
        await self.mined(store, uow)
        tx = await self.tx(store, uow)
        await uow.run(lambda u: store.mark_confirmed(u, tx.id, NOW))
        await uow.run(lambda u: store.mark_final(u, tx.id, NOW))
        assert await uow.read(lambda u: store.open_txs(u, CHAIN)) == []
        assert (await self.tx(store, uow)).state is TxState.FINAL

    # -- lanes and nonces --------------------------------------------------------------------------------
    async def test_opening_a_lane_again_changes_nothing(self, store: TxStore[Any], uow: UnitOfWork[Any]) -> None:
        await uow.run(lambda u: store.open_lane(u, LANE, 5))
        again = await uow.run(lambda u: store.open_lane(u, LANE, 9))
        assert again.next_nonce == 5

    async def test_a_lane_is_held_and_released(self, store: TxStore[Any], uow: UnitOfWork[Any]) -> None:
        await uow.run(lambda u: store.open_lane(u, LANE, 5))
        for reason in ("code: text", None):
            await uow.run(lambda u, r=reason: store.hold_lane(u, LANE, r))  # type: ignore[misc]
            state = await uow.read(lambda u: store.lane(u, LANE))
            assert state is not None
            assert state.hold_reason == reason

    async def test_reserving_takes_adjacent_nonces_and_marks_the_intents_placed(
        self, store: TxStore[Any], uow: UnitOfWork[Any]
    ) -> None:
        plan = plan_of("p", size=3)
        await self.given(store, uow, plan, next_nonce=5)
        wanted = [(intent.id, 21_000 + intent.position) for intent in plan.intents]
        txs = await uow.run(lambda u: store.reserve(u, LANE, wanted, first_nonce=5, now_ms=NOW))
        assert [(tx.nonce, tx.gas_limit, tx.intent_id) for tx in txs] == [
            (5, 21_000, "p/0"),
            (6, 21_001, "p/1"),
            (7, 21_002, "p/2"),
        ]
        assert {tx.state for tx in txs} == {TxState.RESERVED}
        state = await uow.read(lambda u: store.lane(u, LANE))
        assert state is not None
        assert state.next_nonce == 8

    async def test_reserving_at_a_nonce_that_is_not_next_takes_nothing(
        self, store: TxStore[Any], uow: UnitOfWork[Any]
    ) -> None:
        await self.given(store, uow, plan_of("p"), next_nonce=5)
        wanted = [(IntentId("p/0"), 21_000)]
        for nonce in (4, 6):
            await self.refused(
                uow,
                lambda u, n=nonce: store.reserve(u, LANE, wanted, first_nonce=n, now_ms=NOW),  # type: ignore[misc]
            )
        plan = await uow.read(lambda u: store.plan(u, PlanId("p")))
        assert plan is not None
        assert plan.intents[0].state is IntentState.QUEUED

    async def test_an_intent_gets_one_slot(self, store: TxStore[Any], uow: UnitOfWork[Any]) -> None:
        await self.placed(store, uow)
        wanted = [(IntentId("p/0"), 21_000)]
        await self.refused(uow, lambda u: store.reserve(u, LANE, wanted, first_nonce=1, now_ms=NOW))
        state = await uow.read(lambda u: store.lane(u, LANE))
        assert state is not None
        assert state.next_nonce == 1

    async def test_an_intent_of_another_lane_gets_no_slot_here(self, store: TxStore[Any], uow: UnitOfWork[Any]) -> None:
        await self.given(store, uow, plan_of("p"), plan_of("o", lane=OTHER))
        wanted = [(IntentId("o/0"), 21_000)]
        await self.refused(uow, lambda u: store.reserve(u, LANE, wanted, first_nonce=0, now_ms=NOW))

    async def test_the_nonce_of_an_idle_lane_is_set_only_from_the_value_that_was_seen(
        self, store: TxStore[Any], uow: UnitOfWork[Any]
    ) -> None:
        await uow.run(lambda u: store.open_lane(u, LANE, 5))
        await self.refused(uow, lambda u: store.set_next_nonce(u, LANE, 4, 9))
        await uow.run(lambda u: store.set_next_nonce(u, LANE, 5, 9))
        state = await uow.read(lambda u: store.lane(u, LANE))
        assert state is not None
        assert state.next_nonce == 9

    async def test_the_nonce_of_a_busy_lane_is_not_set(self, store: TxStore[Any], uow: UnitOfWork[Any]) -> None:
        await self.placed(store, uow)
        await self.refused(uow, lambda u: store.set_next_nonce(u, LANE, 1, 9))

    async def test_a_counter_ahead_of_its_slots_is_taken_back_to_where_none_is(
        self, store: TxStore[Any], uow: UnitOfWork[Any]
    ) -> None:
        await self.placed(store, uow, size=2)
        await self.refused(uow, lambda u: store.take_back_nonce(u, LANE, 2, 1))
        await self.refused(uow, lambda u: store.take_back_nonce(u, LANE, 3, 2))
        await uow.run(lambda u: store.take_back_nonce(u, LANE, 2, 2))
        other = await uow.read(lambda u: store.lane_load(u, OTHER))
        assert ((await uow.read(lambda u: store.lane_load(u, LANE))).last_nonce, other.last_nonce) == (1, None)
        await uow.run(lambda u: store.open_lane(u, OTHER, 9))
        await uow.run(lambda u: store.take_back_nonce(u, OTHER, 9, 4))
        state = await uow.read(lambda u: store.lane(u, OTHER))
        assert state is not None
        assert state.next_nonce == 4

    # -- attempts ----------------------------------------------------------------------------------------
    async def test_a_saved_attempt_signs_the_slot_and_comes_back_as_it_was(
        self, store: TxStore[Any], uow: UnitOfWork[Any]
    ) -> None:
        (tx,) = await self.placed(store, uow)
        attempt = attempt_of(tx, 1)
        await uow.run(lambda u: store.save_attempts(u, [attempt], NOW))
        (slot,) = await uow.read(lambda u: store.open_txs(u, CHAIN))
        assert slot.tx.state is TxState.SIGNED
        assert slot.attempts == (attempt,)

    async def test_a_slot_has_at_most_one_unsent_attempt(self, store: TxStore[Any], uow: UnitOfWork[Any]) -> None:
        (tx,) = await self.placed(store, uow)
        await uow.run(lambda u: store.save_attempts(u, [attempt_of(tx, 1)], NOW))
        await self.refused(uow, lambda u: store.save_attempts(u, [attempt_of(tx, 2)], NOW))

    async def test_an_attempt_that_was_made_without_knowing_another_is_refused(
        self, store: TxStore[Any], uow: UnitOfWork[Any]
    ) -> None:
        # Another process had the lane meanwhile: an unsent attempt before a sent one would never be sent, and would be
        # in the way of every later one.
        tx, made = await self.sent(store, uow, attempts=2)
        late = attempt_of(tx, 9)
        await self.refused(uow, lambda u: store.save_attempts(u, [late], NOW))
        await self.refused(uow, lambda u: store.save_attempts(u, [late], NOW, after=[made[0].hash]))
        await uow.run(lambda u: store.save_attempts(u, [late], NOW, after=[one.hash for one in made]))

    async def test_two_unsent_attempts_of_a_slot_are_refused_together(
        self, store: TxStore[Any], uow: UnitOfWork[Any]
    ) -> None:
        (tx,) = await self.placed(store, uow)
        await self.refused(uow, lambda u: store.save_attempts(u, [attempt_of(tx, 1), attempt_of(tx, 2)], NOW))

    async def test_the_same_bytes_are_not_saved_twice(self, store: TxStore[Any], uow: UnitOfWork[Any]) -> None:
        _tx, made = await self.sent(store, uow)
        await self.refused(uow, lambda u: store.save_attempts(u, made, NOW))

    async def test_a_mined_slot_takes_no_attempt(self, store: TxStore[Any], uow: UnitOfWork[Any]) -> None:
        tx, _ = await self.mined(store, uow)
        await self.refused(uow, lambda u: store.save_attempts(u, [attempt_of(tx, 9)], NOW))

    async def test_sent_attempts_broadcast_their_slot_and_may_be_sent_again(
        self, store: TxStore[Any], uow: UnitOfWork[Any]
    ) -> None:
        _tx, (attempt,) = await self.sent(store, uow)
        await uow.run(lambda u: store.note_answer(u, attempt.hash, "unknown: what"))
        await uow.run(lambda u: store.mark_sent(u, [attempt.hash], NOW + 5))
        (slot,) = await uow.read(lambda u: store.open_txs(u, CHAIN))
        (stored,) = slot.attempts
        assert slot.tx.state is TxState.BROADCAST
        assert (stored.state, stored.sent_ms, stored.node_answer) == (AttemptState.SENT, NOW + 5, None)

    async def test_a_slot_becomes_broadcast_once_however_often_its_bytes_are_sent(
        self, store: TxStore[Any], uow: UnitOfWork[Any]
    ) -> None:
        (tx,) = await self.placed(store, uow)
        attempt = attempt_of(tx, 1)
        await uow.run(lambda u: store.save_attempts(u, [attempt], NOW))
        first = await uow.run(lambda u: store.mark_sent(u, [attempt.hash], NOW))
        again = await uow.run(lambda u: store.mark_sent(u, [attempt.hash], NOW + 5))
        assert (list(first), list(again)) == ([tx.id], [])

    async def test_an_answer_changes_no_state(self, store: TxStore[Any], uow: UnitOfWork[Any]) -> None:
        (tx,) = await self.placed(store, uow)
        attempt = attempt_of(tx, 1)
        await uow.run(lambda u: store.save_attempts(u, [attempt], NOW))
        await uow.run(lambda u: store.note_answer(u, attempt.hash, "pool_limit: full"))
        (slot,) = await uow.read(lambda u: store.open_txs(u, CHAIN))
        assert slot.tx.state is TxState.SIGNED
        assert slot.attempts == (replace(attempt, node_answer="pool_limit: full"),)

    async def test_an_attempt_that_nobody_saved_cannot_have_been_sent(
        self, store: TxStore[Any], uow: UnitOfWork[Any]
    ) -> None:
        (tx,) = await self.placed(store, uow)
        await self.refused(uow, lambda u: store.mark_sent(u, [attempt_of(tx, 1).hash], NOW))
        await self.refused(uow, lambda u: store.note_answer(u, attempt_of(tx, 1).hash, "x"))

    async def test_a_mined_attempt_is_not_marked_sent_any_more(self, store: TxStore[Any], uow: UnitOfWork[Any]) -> None:
        _, (attempt,) = await self.mined(store, uow)
        await self.refused(uow, lambda u: store.mark_sent(u, [attempt.hash], NOW))

    async def test_attempts_come_oldest_first(self, store: TxStore[Any], uow: UnitOfWork[Any]) -> None:
        _, made = await self.sent(store, uow, attempts=3)
        (slot,) = await uow.read(lambda u: store.open_txs(u, CHAIN))
        assert [attempt.hash for attempt in slot.attempts] == [attempt.hash for attempt in made]

    # -- confirmation ------------------------------------------------------------------------------------
    async def test_an_unsent_attempt_that_is_set_aside_makes_place_for_another_and_may_still_be_sent(
        self, store: TxStore[Any], uow: UnitOfWork[Any]
    ) -> None:
        (tx,) = await self.placed(store, uow)
        first, second = attempt_of(tx, 1), attempt_of(tx, 2)
        await uow.run(lambda u: store.save_attempts(u, [first], NOW))

        def replace_it(u: Any) -> None:
            store.set_aside(u, first.hash)
            store.save_attempts(u, [second], NOW, after=[first.hash])

        await uow.run(replace_it)
        (slot,) = await uow.read(lambda u: store.open_txs(u, CHAIN))
        assert [a.state for a in slot.attempts] == [AttemptState.REFUSED, AttemptState.SIGNED]
        await uow.run(lambda u: store.mark_sent(u, [first.hash], NOW))
        (slot,) = await uow.read(lambda u: store.open_txs(u, CHAIN))
        assert [a.state for a in slot.attempts] == [AttemptState.SENT, AttemptState.SIGNED]

    async def test_only_an_unsent_attempt_is_set_aside(self, store: TxStore[Any], uow: UnitOfWork[Any]) -> None:
        _, attempts = await self.sent(store, uow)
        with pytest.raises(StaleState):
            await uow.run(lambda u: store.set_aside(u, attempts[0].hash))

    async def test_a_wish_is_kept_with_its_first_reason_and_a_cancel_outlasts_a_bump(
        self, store: TxStore[Any], uow: UnitOfWork[Any]
    ) -> None:
        (tx,) = await self.placed(store, uow)

        async def wish(what: Wish, why: str) -> bool:
            return await uow.run(lambda u: store.wish(u, tx.id, what, reason=why, now_ms=NOW))

        async def kept() -> tuple[Wish | None, str | None]:
            (slot,) = await uow.read(lambda u: store.open_txs(u, CHAIN))
            return slot.tx.wish, slot.tx.wish_reason

        assert await kept() == (None, None)
        assert [await wish(Wish.BUMP, "a"), await wish(Wish.BUMP, "b")] == [True, False]
        assert await kept() == (Wish.BUMP, "a")
        await uow.run(lambda u: store.wish_granted(u, tx.id))
        assert await kept() == (None, None)
        assert [await wish(Wish.BUMP, "c"), await wish(Wish.CANCEL, "d"), await wish(Wish.BUMP, "e")] == [
            True,
            True,
            False,
        ]
        await uow.run(lambda u: store.wish_granted(u, tx.id))
        assert await kept() == (Wish.CANCEL, "d")
        (of_plan,) = await uow.read(lambda u: store.plan_txs(u, PlanId("p")))
        assert of_plan.wish is Wish.CANCEL

    async def test_wishes_are_those_of_the_chains_unmined_slots(
        self, store: TxStore[Any], uow: UnitOfWork[Any]
    ) -> None:
        tx, attempts = await self.sent(store, uow)

        async def seen(chain_id: ChainId = CHAIN) -> Collection[tuple[TxId, Wish]]:
            return await uow.read(lambda u: store.wishes(u, chain_id))

        assert await seen() == set()
        await uow.run(lambda u: store.wish(u, tx.id, Wish.CANCEL, reason="why", now_ms=NOW))
        assert await seen() == {(tx.id, Wish.CANCEL)}
        assert await seen(ChainId(CHAIN + 1)) == set()
        await uow.run(
            lambda u: store.mark_mined(u, tx.id, attempts[0].hash, block=BLOCK, outcome=Outcome.SUCCEEDED, now_ms=NOW)
        )
        assert await seen() == set()

    async def test_a_slot_to_be_cancelled_takes_a_self_send_and_no_payload(
        self, store: TxStore[Any], uow: UnitOfWork[Any]
    ) -> None:
        (tx,) = await self.placed(store, uow)
        await uow.run(lambda u: store.wish(u, tx.id, Wish.CANCEL, reason="why", now_ms=NOW))
        with pytest.raises(StaleState):
            await uow.run(lambda u: store.save_attempts(u, [attempt_of(tx, 1)], NOW))
        await uow.run(lambda u: store.save_attempts(u, [attempt_of(tx, 2, kind=AttemptKind.CANCEL)], NOW))

    async def test_nothing_is_wished_of_a_slot_that_is_mined_or_does_not_exist(
        self, store: TxStore[Any], uow: UnitOfWork[Any]
    ) -> None:
        tx, attempts = await self.sent(store, uow)
        await uow.run(
            lambda u: store.mark_mined(u, tx.id, attempts[0].hash, block=BLOCK, outcome=Outcome.SUCCEEDED, now_ms=NOW)
        )
        for tx_id in (tx.id, TxId(99)):
            with pytest.raises(StaleState):
                await uow.run(lambda u, t=tx_id: store.wish(u, t, Wish.CANCEL, reason="why", now_ms=NOW))  # type: ignore[misc]

    async def test_a_note_is_kept_changed_and_cleared(self, store: TxStore[Any], uow: UnitOfWork[Any]) -> None:
        (tx,) = await self.placed(store, uow)
        seen: list[str | None] = []
        for note in ("fee_cap: a", "fee_cap: b", None):
            await uow.run(lambda u, n=note: store.note_tx(u, tx.id, n))  # type: ignore[misc]
            (slot,) = await uow.read(lambda u: store.open_txs(u, CHAIN))
            seen.append(slot.tx.note)
        assert seen == ["fee_cap: a", "fee_cap: b", None]

    async def test_an_open_slot_knows_until_when_its_plan_is_valid(
        self, store: TxStore[Any], uow: UnitOfWork[Any]
    ) -> None:
        await self.placed(store, uow)
        (slot,) = await uow.read(lambda u: store.open_txs(u, CHAIN))
        assert slot.valid_until_ms == NOW + 60_000

    async def test_open_slots_come_by_lane_and_nonce_and_of_one_lane_when_asked(
        self, store: TxStore[Any], uow: UnitOfWork[Any]
    ) -> None:
        await self.placed(store, uow, size=2, name="p")
        await self.placed(store, uow, size=1, name="o", lane=OTHER)
        await self.placed(store, uow, size=1, name="x", lane=POLYGON_LANE)
        slots = await uow.read(lambda u: store.open_txs(u, CHAIN))
        assert [(s.tx.lane, s.tx.nonce) for s in slots] == sorted([(OTHER, 0), (LANE, 0), (LANE, 1)])
        own = await uow.read(lambda u: store.open_txs(u, CHAIN, lane=LANE))
        assert [(s.tx.lane, s.tx.nonce) for s in own] == [(LANE, 0), (LANE, 1)]

    async def test_a_mined_slot_knows_its_block_and_which_attempt_it_was(
        self, store: TxStore[Any], uow: UnitOfWork[Any]
    ) -> None:
        _, made = await self.mined(store, uow, attempts=2)
        (slot,) = await uow.read(lambda u: store.open_txs(u, CHAIN))
        assert (slot.tx.state, slot.tx.block, slot.tx.mined_hash, slot.tx.outcome) == (
            TxState.MINED,
            BLOCK,
            made[0].hash,
            Outcome.SUCCEEDED,
        )
        assert [attempt.state for attempt in slot.attempts] == [AttemptState.MINED, AttemptState.LOST]

    async def test_a_slot_is_not_mined_by_bytes_that_are_not_its_own(
        self, store: TxStore[Any], uow: UnitOfWork[Any]
    ) -> None:
        tx, _ = await self.sent(store, uow)
        foreign = TxHash("0x" + "ff" * 32)
        await self.refused(
            uow, lambda u: store.mark_mined(u, tx.id, foreign, block=BLOCK, outcome=Outcome.SUCCEEDED, now_ms=NOW)
        )
        assert (await self.tx(store, uow)).state is TxState.BROADCAST

    async def test_signed_may_be_mined_before_its_send_was_acknowledged(
        self, store: TxStore[Any], uow: UnitOfWork[Any]
    ) -> None:
        (tx,) = await self.placed(store, uow)
        attempt = attempt_of(tx, 1)
        await uow.run(lambda u: store.save_attempts(u, [attempt], NOW))
        await uow.run(
            lambda u: store.mark_mined(u, tx.id, attempt.hash, block=BLOCK, outcome=Outcome.REVERTED, now_ms=NOW)
        )
        assert (await self.tx(store, uow)).outcome is Outcome.REVERTED

    async def test_states_cannot_be_skipped_or_repeated(self, store: TxStore[Any], uow: UnitOfWork[Any]) -> None:
        tx, _ = await self.sent(store, uow)
        await self.refused(uow, lambda u: store.mark_confirmed(u, tx.id, NOW))
        await self.refused(uow, lambda u: store.mark_final(u, tx.id, NOW))
        await self.refused(uow, lambda u: store.mark_reorged(u, tx.id, NOW))

    async def test_a_final_slot_stays_so(self, store: TxStore[Any], uow: UnitOfWork[Any]) -> None:
        tx, made = await self.mined(store, uow)
        await self.refused(uow, lambda u: store.mark_final(u, tx.id, NOW))
        await uow.run(lambda u: store.mark_confirmed(u, tx.id, NOW))
        await self.refused(uow, lambda u: store.mark_superseded(u, tx.id, NOW))
        await uow.run(lambda u: store.mark_final(u, tx.id, NOW))
        works: list[Callable[[Any], object]] = [
            lambda u: store.mark_final(u, tx.id, NOW),
            lambda u: store.mark_reorged(u, tx.id, NOW),
            lambda u: store.mark_superseded(u, tx.id, NOW),
            lambda u: store.mark_mined(u, tx.id, made[0].hash, block=NEXT_BLOCK, outcome=Outcome.SUCCEEDED, now_ms=NOW),
        ]
        for work in works:
            await self.refused(uow, work)

    @pytest.mark.parametrize("confirmed", [False, True])
    async def test_a_reorg_clears_the_block_and_brings_all_attempts_back(
        self, store: TxStore[Any], uow: UnitOfWork[Any], confirmed: bool
    ) -> None:
        tx, made = await self.mined(store, uow, attempts=2)
        if confirmed:
            await uow.run(lambda u: store.mark_confirmed(u, tx.id, NOW))
        await uow.run(lambda u: store.mark_reorged(u, tx.id, NOW))
        (slot,) = await uow.read(lambda u: store.open_txs(u, CHAIN))
        assert (slot.tx.state, slot.tx.block, slot.tx.mined_hash, slot.tx.outcome) == (
            TxState.BROADCAST,
            None,
            None,
            Outcome.NONE,
        )
        assert [attempt.state for attempt in slot.attempts] == [AttemptState.SENT, AttemptState.SENT]
        await uow.run(
            lambda u: store.mark_mined(u, tx.id, made[1].hash, block=NEXT_BLOCK, outcome=Outcome.SUCCEEDED, now_ms=NOW)
        )
        assert (await self.tx(store, uow)).block == NEXT_BLOCK

    async def test_a_superseded_slot_is_closed_for_ever(self, store: TxStore[Any], uow: UnitOfWork[Any]) -> None:
        tx, _ = await self.sent(store, uow)
        await uow.run(lambda u: store.mark_superseded(u, tx.id, NOW))
        assert await uow.read(lambda u: store.open_txs(u, CHAIN)) == []
        assert (await self.tx(store, uow)).state is TxState.SUPERSEDED
        await self.refused(uow, lambda u: store.mark_superseded(u, tx.id, NOW))

    async def test_a_slot_that_does_not_exist_cannot_move(self, store: TxStore[Any], uow: UnitOfWork[Any]) -> None:
        await self.refused(uow, lambda u: store.mark_confirmed(u, TxId(404), NOW))

    # -- cursor ------------------------------------------------------------------------------------------
    async def test_each_chain_has_its_own_cursor(self, store: TxStore[Any], uow: UnitOfWork[Any]) -> None:
        assert await uow.read(lambda u: store.cursor(u, CHAIN)) is None
        await uow.run(lambda u: store.set_cursor(u, CHAIN, BLOCK))
        await uow.run(lambda u: store.set_cursor(u, CHAIN, NEXT_BLOCK))
        await uow.run(lambda u: store.set_cursor(u, ChainId(137), BLOCK))
        assert await uow.read(lambda u: store.cursor(u, CHAIN)) == NEXT_BLOCK
        assert await uow.read(lambda u: store.cursor(u, ChainId(137))) == BLOCK
