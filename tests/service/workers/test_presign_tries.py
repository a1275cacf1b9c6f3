"""A try of an order is signed only if it is no looser than the order itself."""

from dataclasses import replace

import pytest

from chains.tx.model import PlanId
from chains.tx.store import PreSignRefused
from contracts.ratio import Ratio
from service.markets.trades import Side
from service.orders.model import Order, OrderState, OrderTry, OrderType, TimeInForce
from service.workers.presign import check_try
from tests.service.books_seed import ETHEREUM, NOW_MS
from tests.service.trading_seed import SNAPSHOT, USDC, USDT

SIZE = 1_000_003
PRICE = Ratio.of(997, 1_000)
PLAN = PlanId("order:1")


def order(side: Side, *, force: TimeInForce | None = TimeInForce.GTC, price: Ratio | None = PRICE) -> Order:
    """It sells or buys so many base units; by its price 997,003 (rounded up) arrive, or 997,002 leave at most."""
    sells = side is Side.SELL
    return Order(
        id=1,
        account_id=1,
        wallet_id=1,
        key_id="key",
        client_id="one",
        params_hash="0x" + "11" * 32,
        chain_id=ETHEREUM,
        market="USDCUSDT",
        base_asset=USDC.id,
        quote_asset=USDT.id,
        side=side,
        type=OrderType.MARKET if price is None else OrderType.LIMIT,
        base_amount=SIZE,
        quote_amount=None,
        slippage_bps=50,
        max_sold=SIZE if sells else 997_002,
        min_bought=997_003 if sells else SIZE,
        quote=SNAPSHOT,
        plan_id=PLAN,
        time_in_force=force,
        price=price,
        price_text="0.997",
        stop_price=None,
        stop_price_text=None,
        count_gas=False,
        max_price_impact_bps=None,
        venue=None,
        expires_ms=None,
        triggered_ms=None,
        tries=1,
        retry_after_ms=None,
        state=OrderState.NEW,
        reason=None,
        filled_base=0,
        filled_quote=0,
        gas_wei=0,
        created_ms=NOW_MS,
        updated_ms=NOW_MS,
    )


def tried(max_sold: int, min_bought: int) -> OrderTry:
    return OrderTry(plan_id=PLAN, order_id=1, max_sold=max_sold, min_bought=min_bought, deadline_s=1, created_ms=NOW_MS)


@pytest.mark.parametrize(
    ("side", "max_sold", "min_bought"),
    [(Side.SELL, SIZE, 997_003), (Side.SELL, SIZE, 998_000), (Side.BUY, 997_002, SIZE), (Side.BUY, 990_000, SIZE)],
)
def test_at_the_limit_and_stricter_passes(side: Side, max_sold: int, min_bought: int) -> None:
    check_try(order(side), tried(max_sold, min_bought))


@pytest.mark.parametrize(
    ("side", "max_sold", "min_bought"),
    [
        (Side.SELL, SIZE, 997_002),
        (Side.SELL, SIZE + 1, 998_000),
        (Side.SELL, SIZE - 1, 998_000),
        (Side.BUY, 997_003, SIZE),
        (Side.BUY, 990_000, SIZE - 1),
        (Side.BUY, 990_000, SIZE + 1),
    ],
)
def test_a_base_unit_looser_or_of_another_size_is_refused(side: Side, max_sold: int, min_bought: int) -> None:
    with pytest.raises(PreSignRefused):
        check_try(order(side), tried(max_sold, min_bought))


@pytest.mark.parametrize(("side", "max_sold", "min_bought"), [(Side.SELL, 1_000, 997), (Side.BUY, 997, 1_000)])
def test_a_part_is_signed_for_an_order_that_takes_parts_only(side: Side, max_sold: int, min_bought: int) -> None:
    part = tried(max_sold, min_bought)
    check_try(order(side, force=TimeInForce.IOC), part)
    for looser in (replace(part, min_bought=part.min_bought - 1), replace(part, max_sold=part.max_sold + 2)):
        with pytest.raises(PreSignRefused):
            check_try(order(side, force=TimeInForce.IOC), looser)
    with pytest.raises(PreSignRefused):
        check_try(order(side, force=TimeInForce.FOK), part)


def test_a_market_order_is_held_to_the_limits_that_it_was_accepted_with() -> None:
    market = order(Side.SELL, force=None, price=None)
    check_try(market, tried(SIZE, 997_003))
    with pytest.raises(PreSignRefused):
        check_try(market, tried(SIZE, 997_002))
