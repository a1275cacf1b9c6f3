"""An order that rests in the database, and its tries."""

from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import Connection

from chains.tx.model import Lane, Outcome, Plan, PlanId
from contracts.assets import AssetId
from contracts.ratio import Ratio
from service.auth.secrets import MasterKey
from service.ids import order_plan_id
from service.journal import reservations
from service.orders import storage
from service.orders.model import Order, OrderType, TimeInForce
from service.orders.storage import insert_order
from service.orders.view import unquoted
from service.plans.building import queued_plan
from tests.clock import FakeClock
from tests.service.books_seed import ETHEREUM, NOW_MS, Owner, seed_owner
from tests.service.trading_seed import (
    ASSETS,
    DEADLINE_S,
    FEE,
    MASTER,
    MIN_BOUGHT,
    SNAPSHOT,
    SOLD,
    STORE,
    USDC,
    USDT,
    confirm,
    first_try,
    mine,
    observer,
    order_calls,
    order_draft,
    receipt_of,
    reserve,
    seed_key,
    send,
    swap_moves,
)

PRICE: Final = Ratio.of(MIN_BOUGHT, SOLD)
HELD: Final = {USDC.id: SOLD, ASSETS.native.id: 3 * FEE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rests:
    owner: Owner
    key_id: str
    order: Order


def seed_rest(
    c: Connection,
    *,
    number: int = 0xA11CE,
    kind: OrderType = OrderType.LIMIT,
    force: TimeInForce = TimeInForce.GTC,
    expires_ms: int | None = NOW_MS + 10**9,
    of: tuple[Owner, str] | None = None,
    master: MasterKey = MASTER,
) -> Rests:
    """A limit order that sells 1,000 USDC for USDT at 0.995, with its hold. `of` an owner and a key that are there."""
    owner = seed_owner(c, number) if of is None else of[0]
    key_id = seed_key(c, owner, f"key-{number}") if of is None else of[1]
    draft = replace(
        order_draft(owner, key_id=key_id, client_id=f"rest-{number}"),
        type=kind,
        time_in_force=force,
        price=PRICE,
        price_text="0.995",
        stop_price=PRICE if kind in (OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT_LIMIT) else None,
        stop_price_text="0.995",
        count_gas=False,
        expires_ms=expires_ms,
        quote=unquoted("ethereum", ASSETS.markets["USDCUSDT"], ASSETS.native),
    )
    STORE.open_lane(c, Lane(chain_id=ETHEREUM, wallet=owner.address), 0)
    order = insert_order(c, draft, master=master, now_ms=NOW_MS)
    reservations.hold_for_order(
        c,
        account_id=owner.account_id,
        wallet_id=owner.wallet_id,
        chain_id=ETHEREUM,
        order_id=order.id,
        amounts=HELD,
        now_ms=NOW_MS,
    )
    return Rests(owner=owner, key_id=key_id, order=order)


def start(c: Connection, rests: Rests, *, seen: Order | None = None, master: MasterKey = MASTER) -> tuple[Order, Plan]:
    """Its next try: approval and swap queued, the hold the plan's. `seen`: the order as it is believed to be."""
    lane = Lane(chain_id=ETHEREUM, wallet=rests.owner.address)
    now = seen or order_now(c, rests)
    number = now.tries + 1
    plan_id = order_plan_id(now.id, number)
    calls = order_calls(rests.owner)
    plan = queued_plan(plan_id, lane, calls=calls, created_ms=NOW_MS, valid_until_ms=DEADLINE_S * 1000)
    STORE.add_plan(c, plan)
    tried = first_try(plan, now.id, number=number)
    order = storage.start_try(c, now, tried, quote=SNAPSHOT, master=master, now_ms=NOW_MS)
    reservations.move_to_plan(
        c,
        order.id,
        plan_id,
        amounts=HELD,
        available={USDC.id: SOLD, ASSETS.native.id: 10**18},
        available_at=None,
        now_ms=NOW_MS,
    )
    return order, plan


def settle(c: Connection, rests: Rests, plan_id: PlanId, *, outcome: Outcome, number: int = 1) -> None:
    """Approval and swap of its try, mined and confirmed; the swap ended so."""
    plan, told = STORE.plan(c, plan_id), observer(FakeClock(NOW_MS))
    assert plan is not None
    approval, swap = reserve(c, plan)
    for tx, what, at in ((approval, Outcome.SUCCEEDED, number), (swap, outcome, number + 1)):
        mined_tx, intent = mine(c, tx, send(c, tx, number=at), outcome=what)
        moves = swap_moves(rests.owner) if tx is swap and what is Outcome.SUCCEEDED else ()
        receipt = receipt_of(mined_tx, intent, moves=moves)
        told.on_mined(c, intent, mined_tx, receipt)
        done, intent = confirm(c, tx)
        told.on_confirmed(c, intent, done, receipt)


def order_now(c: Connection, rests: Rests) -> Order:
    found = storage.order_by_id(c, rests.order.id, wallet_id=rests.owner.wallet_id)
    if found is None:
        raise AssertionError(rests.order.id)
    return found


def held_now(c: Connection, rests: Rests) -> dict[AssetId, int]:
    return dict(reservations.held(c, rests.owner.wallet_id, ETHEREUM))


__all__ = ["HELD", "PRICE", "USDT", "Rests", "held_now", "order_now", "seed_rest", "settle", "start"]
