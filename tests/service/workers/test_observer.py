"""What the engine tells, seen in orders, withdrawals, fills, books, reservations and events; on both databases."""

import pytest
from sqlalchemy import Connection

from chains.tx.model import AttemptKind, Intent, Outcome, Tx
from chains.types import TxHash
from contracts.assets import AssetId
from service.audit.acts import SIGNING_REFUSED
from service.audit.model import INSTALLATION
from service.audit.reading import Wanted, newest
from service.db.engine import Database
from service.journal import books, reservations
from service.orders import fills
from service.orders import storage as orders
from service.orders.model import Order, OrderState
from service.plans import progress
from service.withdrawals import storage as withdrawals
from service.withdrawals.model import Withdrawal, WithdrawalState
from service.workers.observer import HELD_AFTER_FOREIGN, HELD_AFTER_REORG
from tests.clock import FakeClock
from tests.service.books_seed import ETHEREUM, NOW_MS, make_plan
from tests.service.trading_seed import (
    ASSETS,
    BOB,
    DEADLINE_S,
    FEE,
    SOLD,
    STORE,
    USDC,
    USDT,
    Seeded,
    confirm,
    mine,
    observer,
    receipt_of,
    reserve,
    seed_order,
    seed_withdrawal,
    send,
    swap_moves,
)

BOUGHT = 999_900_000
ETH = ASSETS.native.id


def order_of(c: Connection, seeded: Seeded) -> Order:
    order = orders.order_by_plan(c, seeded.plan.id)
    assert order is not None
    return order


def withdrawal_of(c: Connection, seeded: Seeded) -> Withdrawal:
    withdrawal = withdrawals.withdrawal_by_plan(c, seeded.plan.id)
    assert withdrawal is not None
    return withdrawal


def event_kinds(c: Connection, seeded: Seeded) -> list[str]:
    return [event.kind for event in books.events(c, seeded.owner.account_id)]


def held(c: Connection, seeded: Seeded) -> dict[AssetId, int]:
    return dict(reservations.held(c, seeded.owner.wallet_id, ETHEREUM))


def journal(c: Connection, seeded: Seeded) -> dict[AssetId, int]:
    return {asset: raw for asset, raw in books.totals(c, seeded.owner.wallet_id, chain_id=ETHEREUM).items() if raw}


def approve_confirmed(c: Connection, seeded: Seeded, tx: Tx, *, at: int = 100) -> None:
    mined = send(c, tx, number=1)
    mine(c, tx, mined, outcome=Outcome.SUCCEEDED, block=at)
    now, intent = confirm(c, tx)
    observer().on_confirmed(c, intent, now, receipt_of(now, intent))


def swap_confirmed(
    c: Connection, seeded: Seeded, tx: Tx, *, outcome: Outcome = Outcome.SUCCEEDED, clock: FakeClock | None = None
) -> tuple[Tx, Intent]:
    kind = AttemptKind.CANCEL if outcome is Outcome.CANCELLED else AttemptKind.REAL
    mined = send(c, tx, number=2, kind=kind)
    now, intent = mine(c, tx, mined, outcome=outcome, block=101)
    moves = swap_moves(seeded.owner, bought=BOUGHT) if outcome is Outcome.SUCCEEDED else ()
    receipt = receipt_of(now, intent, moves=moves)
    observer(clock).on_mined(c, intent, now, receipt)
    now, intent = confirm(c, tx)
    observer(clock).on_confirmed(c, intent, now, receipt)
    return now, intent


async def test_a_confirmed_swap_fills_the_order_from_its_logs(db: Database) -> None:
    def work(c: Connection) -> None:
        seeded = seed_order(c)
        approve, swap = reserve(c, seeded.plan)
        approve_confirmed(c, seeded, approve)
        assert order_of(c, seeded).state is OrderState.NEW
        assert held(c, seeded) == {USDC.id: SOLD, ETH: 3 * FEE}

        swap_confirmed(c, seeded, swap)
        order = order_of(c, seeded)
        assert (order.state, order.filled_base, order.filled_quote) == (OrderState.FILLED, SOLD, BOUGHT)
        assert order.gas_wei == 2 * FEE
        (fill,) = fills.list_fills(c, order.id)
        assert (fill.base, fill.quote, fill.gas_wei, fill.reverses) == (SOLD, BOUGHT, FEE, None)
        assert journal(c, seeded) == {USDC.id: -SOLD, USDT.id: BOUGHT, ETH: -2 * FEE}
        assert held(c, seeded) == {}
        assert event_kinds(c, seeded) == ["balance", "order", "balance", "order"]

    await db.run(work)


async def test_the_reservation_stays_until_every_transaction_of_the_plan_is_settled(db: Database) -> None:
    def work(c: Connection) -> None:
        seeded = seed_order(c)
        approve, swap = reserve(c, seeded.plan)
        swap_confirmed(c, seeded, swap)
        assert held(c, seeded) == {USDC.id: SOLD, ETH: 3 * FEE}
        approve_confirmed(c, seeded, approve)
        assert held(c, seeded) == {}

    await db.run(work)


async def test_a_reverted_swap_expires_the_order_and_books_its_gas(db: Database) -> None:
    def work(c: Connection) -> None:
        seeded = seed_order(c)
        approve, swap = reserve(c, seeded.plan)
        approve_confirmed(c, seeded, approve)
        swap_confirmed(c, seeded, swap, outcome=Outcome.REVERTED)
        order = order_of(c, seeded)
        assert (order.state, order.reason) == (OrderState.EXPIRED, "swap_reverted")
        assert order.gas_wei == 2 * FEE
        assert journal(c, seeded) == {ETH: -2 * FEE}
        assert held(c, seeded) == {}

    await db.run(work)


async def test_a_swap_that_reverted_after_its_deadline_expires_the_order(db: Database) -> None:
    def work(c: Connection) -> None:
        seeded = seed_order(c)
        approve, swap = reserve(c, seeded.plan)
        approve_confirmed(c, seeded, approve)
        late = FakeClock((DEADLINE_S + 5) * 1000)
        swap_confirmed(c, seeded, swap, outcome=Outcome.REVERTED, clock=late)
        order = order_of(c, seeded)
        assert (order.state, order.reason) == (OrderState.EXPIRED, "deadline_passed")

    await db.run(work)


async def test_a_swap_closed_by_a_self_send_cancels_the_order(db: Database) -> None:
    def work(c: Connection) -> None:
        seeded = seed_order(c)
        approve, swap = reserve(c, seeded.plan)
        approve_confirmed(c, seeded, approve)
        swap_confirmed(c, seeded, swap, outcome=Outcome.CANCELLED)
        assert order_of(c, seeded).state is OrderState.CANCELED
        assert journal(c, seeded) == {ETH: -2 * FEE}

    await db.run(work)


async def test_a_swap_that_succeeded_without_a_trade_is_no_fill(db: Database) -> None:
    def work(c: Connection) -> None:
        seeded = seed_order(c)
        _, swap = reserve(c, seeded.plan)
        mined = send(c, swap, number=2)
        mine(c, swap, mined, outcome=Outcome.SUCCEEDED)
        now, intent = confirm(c, swap)
        observer().on_confirmed(c, intent, now, receipt_of(now, intent))
        order = order_of(c, seeded)
        assert (order.state, order.reason) == (OrderState.REJECTED, "nothing_traded")
        assert fills.list_fills(c, order.id) == []

    await db.run(work)


async def test_a_plan_rejected_before_its_deadline_rejects_the_order_and_frees_its_funds(db: Database) -> None:
    def work(c: Connection) -> None:
        seeded = seed_order(c)
        STORE.reject_plan(c, seeded.plan.id, "Too little received")
        observer().on_rejected(c, seeded.plan, "Too little received")
        order = order_of(c, seeded)
        assert (order.state, order.reason) == (OrderState.REJECTED, "Too little received")
        assert held(c, seeded) == {}
        assert event_kinds(c, seeded) == ["order"]

    await db.run(work)


async def test_a_plan_rejected_after_its_deadline_expires_the_order(db: Database) -> None:
    def work(c: Connection) -> None:
        seeded = seed_order(c)
        observer(FakeClock((DEADLINE_S + 1) * 1000)).on_rejected(c, seeded.plan, "too late")
        assert order_of(c, seeded).state is OrderState.EXPIRED

    await db.run(work)


async def test_a_reorg_after_the_fill_appends_reversals_keeps_filled_and_holds_the_lane(db: Database) -> None:
    def work(c: Connection) -> None:
        seeded = seed_order(c)
        approve, swap = reserve(c, seeded.plan)
        approve_confirmed(c, seeded, approve)
        before, intent = swap_confirmed(c, seeded, swap)
        STORE.mark_reorged(c, swap.id, NOW_MS)
        observer().on_reorged(c, intent, before)
        order = order_of(c, seeded)
        assert order.state is OrderState.FILLED
        assert order.gas_wei == FEE
        first, reversal = fills.list_fills(c, order.id)
        assert reversal.reverses == first.id
        assert fills.standing_fills(c, order.id) == []
        assert journal(c, seeded) == {ETH: -FEE}
        state = STORE.lane(c, seeded.plan.lane)
        assert state is not None
        assert state.hold_reason == HELD_AFTER_REORG

    await db.run(work)


async def test_a_fill_that_is_mined_again_after_a_reorg_is_booked_again_once(db: Database) -> None:
    def work(c: Connection) -> None:
        seeded = seed_order(c)
        approve, swap = reserve(c, seeded.plan)
        approve_confirmed(c, seeded, approve)
        before, intent = swap_confirmed(c, seeded, swap)
        STORE.mark_reorged(c, swap.id, NOW_MS)
        observer().on_reorged(c, intent, before)
        mine(c, swap, TxHash(before.mined_hash or ""), outcome=Outcome.SUCCEEDED, block=105)
        now, intent = confirm(c, swap)
        worse = swap_moves(seeded.owner, bought=BOUGHT - 7)
        observer().on_confirmed(c, intent, now, receipt_of(now, intent, moves=worse))
        order = order_of(c, seeded)
        assert (order.filled_quote, order.gas_wei) == (BOUGHT - 7, 2 * FEE)
        assert [fill.quote for fill in fills.standing_fills(c, order.id)] == [BOUGHT - 7]
        assert journal(c, seeded) == {USDC.id: -SOLD, USDT.id: BOUGHT - 7, ETH: -2 * FEE}

    await db.run(work)


async def test_a_reorg_of_what_was_only_mined_changes_nothing_for_clients(db: Database) -> None:
    def work(c: Connection) -> None:
        seeded = seed_order(c)
        approve, _ = reserve(c, seeded.plan)
        before, intent = mine(c, approve, send(c, approve, number=1), outcome=Outcome.SUCCEEDED)
        STORE.mark_reorged(c, approve.id, NOW_MS)
        observer().on_reorged(c, intent, before)
        assert event_kinds(c, seeded) == []
        state = STORE.lane(c, seeded.plan.lane)
        assert state is not None
        assert state.hold_reason is None

    await db.run(work)


async def test_a_foreign_transaction_at_the_nonce_leaves_the_order_open_and_holds_the_lane(db: Database) -> None:
    def work(c: Connection) -> None:
        seeded = seed_order(c)
        approve, _ = reserve(c, seeded.plan)
        STORE.mark_superseded(c, approve.id, NOW_MS)
        observer().on_superseded(c, seeded.plan.intents[0], approve)
        order = order_of(c, seeded)
        assert (order.state, order.reason) == (OrderState.NEW, "nonce_taken")
        assert held(c, seeded) != {}
        state = STORE.lane(c, seeded.plan.lane)
        assert state is not None
        assert state.hold_reason == HELD_AFTER_FOREIGN

    await db.run(work)


async def test_a_token_withdrawal_goes_through_sent_confirmed_and_final(db: Database) -> None:
    def work(c: Connection) -> None:
        seeded = seed_withdrawal(c)
        (tx,) = reserve(c, seeded.plan)
        mined = send(c, tx, number=7)
        observer().on_sent(c, [(seeded.plan.intents[0], tx)])
        assert (withdrawal_of(c, seeded).state, withdrawal_of(c, seeded).tx_hash) == (WithdrawalState.SENT, mined)
        now, intent = mine(c, tx, mined, outcome=Outcome.SUCCEEDED)
        receipt = receipt_of(now, intent, moves=((USDC, seeded.owner.address, BOB, 5_000_000),))
        observer().on_mined(c, intent, now, receipt)
        now, intent = confirm(c, tx)
        observer().on_confirmed(c, intent, now, receipt)
        withdrawal = withdrawal_of(c, seeded)
        assert (withdrawal.state, withdrawal.reason, withdrawal.gas_wei) == (WithdrawalState.CONFIRMED, None, FEE)
        assert journal(c, seeded) == {USDC.id: -5_000_000, ETH: -FEE}
        assert held(c, seeded) == {}
        observer().on_final(c, intent, now)
        assert withdrawal_of(c, seeded).state is WithdrawalState.FINAL
        assert event_kinds(c, seeded) == ["withdrawal", "balance", "withdrawal", "withdrawal"]

    await db.run(work)


async def test_a_native_withdrawal_is_booked_with_its_gas_apart(db: Database) -> None:
    def work(c: Connection) -> None:
        seeded = seed_withdrawal(c, asset=ASSETS.native, amount=10**17)
        (tx,) = reserve(c, seeded.plan)
        mine(c, tx, send(c, tx, number=7), outcome=Outcome.SUCCEEDED)
        now, intent = confirm(c, tx)
        observer().on_confirmed(c, intent, now, receipt_of(now, intent))
        assert withdrawal_of(c, seeded).state is WithdrawalState.CONFIRMED
        lines = [(entry.raw, entry.cause) for entry in books.entries(c, seeded.owner.account_id)]
        assert lines == [(-(10**17), "withdrawal"), (-FEE, "gas")]

    await db.run(work)


@pytest.mark.parametrize(
    ("outcome", "moved", "state", "reason"),
    [
        (Outcome.REVERTED, 0, WithdrawalState.FAILED, "transfer_reverted"),
        (Outcome.CANCELLED, 0, WithdrawalState.CANCELLED, "cancelled"),
        (Outcome.SUCCEEDED, 0, WithdrawalState.FAILED, "nothing_moved"),
        (Outcome.SUCCEEDED, 4_000_000, WithdrawalState.CONFIRMED, "other_amount_moved"),
    ],
)
async def test_a_withdrawal_that_went_otherwise_says_so(
    sqlite_db: Database, outcome: Outcome, moved: int, state: WithdrawalState, reason: str
) -> None:
    def work(c: Connection) -> None:
        seeded = seed_withdrawal(c)
        (tx,) = reserve(c, seeded.plan)
        kind = AttemptKind.CANCEL if outcome is Outcome.CANCELLED else AttemptKind.REAL
        mine(c, tx, send(c, tx, number=7, kind=kind), outcome=outcome)
        now, intent = confirm(c, tx)
        moves = ((USDC, seeded.owner.address, BOB, moved),) if moved else ()
        observer().on_confirmed(c, intent, now, receipt_of(now, intent, moves=moves))
        withdrawal = withdrawal_of(c, seeded)
        assert (withdrawal.state, withdrawal.reason) == (state, reason)
        assert journal(c, seeded).get(ETH) == -FEE
        assert held(c, seeded) == {}

    await sqlite_db.run(work)


async def test_a_withdrawal_whose_nonce_a_foreign_transaction_took_is_unknown_not_failed(db: Database) -> None:
    def work(c: Connection) -> None:
        seeded = seed_withdrawal(c)
        (tx,) = reserve(c, seeded.plan)
        observer().on_superseded(c, seeded.plan.intents[0], tx)
        assert withdrawal_of(c, seeded).state is WithdrawalState.UNKNOWN
        assert held(c, seeded) != {}

    await db.run(work)


async def test_a_reorg_takes_a_confirmed_withdrawal_back_to_sent_and_out_of_the_books(db: Database) -> None:
    def work(c: Connection) -> None:
        seeded = seed_withdrawal(c)
        (tx,) = reserve(c, seeded.plan)
        mine(c, tx, send(c, tx, number=7), outcome=Outcome.SUCCEEDED)
        now, intent = confirm(c, tx)
        moves = ((USDC, seeded.owner.address, BOB, 5_000_000),)
        observer().on_confirmed(c, intent, now, receipt_of(now, intent, moves=moves))
        observer().on_reorged(c, intent, now)
        withdrawal = withdrawal_of(c, seeded)
        assert (withdrawal.state, withdrawal.gas_wei) == (WithdrawalState.SENT, 0)
        assert journal(c, seeded) == {}

    await db.run(work)


async def test_sending_the_same_bytes_again_is_no_news(sqlite_db: Database) -> None:
    def work(c: Connection) -> None:
        seeded = seed_withdrawal(c)
        (tx,) = reserve(c, seeded.plan)
        send(c, tx, number=7)
        observer().on_sent(c, [(seeded.plan.intents[0], tx)])
        observer().on_sent(c, [(seeded.plan.intents[0], tx)])
        assert event_kinds(c, seeded) == ["withdrawal"]

    await sqlite_db.run(work)


async def test_a_plan_that_nobody_asked_for_ends_no_worker_and_is_told_to_the_operator(sqlite_db: Database) -> None:
    def work(c: Connection) -> None:
        seeded = seed_withdrawal(c)
        stray = make_plan("stray", seeded.plan.lane)
        STORE.add_plan(c, stray)
        STORE.reject_plan(c, stray.id, "presign_refused: nobody asked for it")
        observer().on_rejected(c, stray, "presign_refused: nobody asked for it")
        [entry] = newest(c, Wanted(act=SIGNING_REFUSED), limit=9)
        assert (entry.subject, entry.account_id, entry.chain) == ("stray", None, INSTALLATION)
        assert withdrawal_of(c, seeded).state is WithdrawalState.PROCESSING

    await sqlite_db.run(work)


async def test_the_steps_of_a_plan_show_nonce_hash_and_state(sqlite_db: Database) -> None:
    def work(c: Connection) -> None:
        seeded = seed_order(c)
        assert [step.state for step in progress.steps(c, seeded.plan.id)] == ["queued", "queued"]
        approve, _ = reserve(c, seeded.plan)
        mined = send(c, approve, number=1)
        first, second = progress.steps(c, seeded.plan.id)
        assert (first.state, first.nonce, first.tx_hash) == ("broadcast", 0, mined)
        assert (second.state, second.nonce, second.tx_hash) == ("reserved", 1, None)

    await sqlite_db.run(work)
