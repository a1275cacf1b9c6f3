"""Which parameters of an order go together, and exact prices."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.units import format_units
from contracts.assets import Market, load_assets
from contracts.ratio import Ratio
from service.errors import ApiError
from service.markets.filters import Filters, tick_ratio
from service.markets.trades import Side, Trade
from service.orders.model import STOP_TYPES, OrderType, TimeInForce
from service.orders.terms import Asked, check_combination, check_filters, is_multiple, parse_price, terms_asked
from tests.service.books_seed import ETHEREUM

MARKET: Market = load_assets(ETHEREUM).markets["ETHUSDC"]
FILTERS = Filters(tick_places=2, step=10**10, least_quote=10**6, made_for=3)


def check(
    kind: OrderType,
    force: TimeInForce | None,
    *,
    price: bool = True,
    stop: bool = False,
    base: bool = True,
    quote: bool = False,
    expiry: bool = False,
    gas: bool = False,
) -> TimeInForce | None:
    return check_combination(
        type=kind,
        time_in_force=force,
        has_price=price,
        has_stop_price=stop,
        has_base_amount=base,
        has_quote_amount=quote,
        has_expiry=expiry,
        has_count_gas=gas,
    )


def is_allowed(
    kind: OrderType, force: TimeInForce | None, *, price: bool, stop: bool, base: bool, quote: bool, expiry: bool
) -> bool:
    """The table of the module's docstring, said once more."""
    if base == quote:
        return False
    if kind is OrderType.MARKET:
        return force is None and not (price or stop or expiry)
    if quote or not price or stop != (kind in STOP_TYPES):
        return False
    if kind is OrderType.LIMIT:
        return force is TimeInForce.GTC or (force is not None and not expiry)
    return force in (None, TimeInForce.GTC)


@given(
    kind=st.sampled_from(OrderType),
    force=st.sampled_from([None, *TimeInForce]),
    flags=st.tuples(*[st.booleans()] * 5),
)
def test_every_combination_is_allowed_as_the_table_says_or_refused_with_words(
    kind: OrderType, force: TimeInForce | None, flags: tuple[bool, bool, bool, bool, bool]
) -> None:
    price, stop, base, quote, expiry = flags
    if is_allowed(kind, force, price=price, stop=stop, base=base, quote=quote, expiry=expiry):
        meant = check(kind, force, price=price, stop=stop, base=base, quote=quote, expiry=expiry)
        assert meant == (None if kind is OrderType.MARKET else force or TimeInForce.GTC)
        return
    with pytest.raises(ApiError) as refused:
        check(kind, force, price=price, stop=stop, base=base, quote=quote, expiry=expiry)
    assert refused.value.code == "invalid_parameters"
    assert any(
        word in refused.value.message
        for word in ("amount", "price", "stop_price", "time_in_force", "expires_ms", "count_gas")
    )


def test_a_market_order_has_no_gas_to_count() -> None:
    with pytest.raises(ApiError, match="count_gas"):
        check(OrderType.MARKET, None, price=False, gas=True)


@given(raw=st.integers(min_value=1, max_value=10**24), places=st.integers(min_value=0, max_value=30))
def test_a_price_is_exact_and_keeps_its_text(raw: int, places: int) -> None:
    text = format_units(raw, places)
    price = parse_price(text, MARKET, field="price")
    assert price.text == text
    # USDC has 6 decimals, ETH 18: base units of quote for one of base.
    assert price.ratio == Ratio.of(raw * 10**6, 10 ** (places + 18))


@pytest.mark.parametrize("text", ["0", "0.000", "-1", "1e3", " 1", "1,5", "NaN", "", "1." + "3" * 61, "9" * 70])
def test_what_is_no_price_is_refused(text: str) -> None:
    with pytest.raises(ApiError) as refused:
        parse_price(text, MARKET, field="price")
    assert refused.value.code == "invalid_price"


@given(ticks=st.integers(min_value=1, max_value=10**12), places=st.integers(min_value=-3, max_value=18))
def test_whole_ticks_are_on_the_tick_and_what_is_between_is_not(ticks: int, places: int) -> None:
    tick = tick_ratio(MARKET, Filters(tick_places=places, step=1, least_quote=1, made_for=0))
    price = Ratio.of(tick.num * ticks, tick.den)
    assert is_multiple(price, tick)
    assert not is_multiple(Ratio.of(price.num * 2 * tick.den + tick.num * price.den, 2 * price.den * tick.den), tick)


def asked(*, price: str = "3000.01", base: int = 10**18, kind: OrderType = OrderType.LIMIT, stop: str = "") -> Asked:
    return Asked(
        trade=Trade(market=MARKET, side=Side.SELL, base_amount=base, quote_amount=None),
        slippage_bps=None,
        max_price_impact_bps=None,
        client_id=None,
        type=kind,
        time_in_force=TimeInForce.GTC,
        price=parse_price(price, MARKET, field="price"),
        stop_price=parse_price(stop, MARKET, field="stop_price") if stop else None,
    )


@pytest.mark.parametrize(
    ("order", "code"),
    [
        (asked(price="3000.001"), "price_not_on_tick"),
        (asked(kind=OrderType.STOP_LOSS_LIMIT, stop="2900.005"), "price_not_on_tick"),
        (asked(base=10**18 + 1), "amount_not_on_step"),
        (asked(base=10**14), "amount_too_small"),
    ],
)
def test_the_filters_of_the_market_hold(order: Asked, code: str) -> None:
    check_filters(asked(), FILTERS)
    with pytest.raises(ApiError) as refused:
        check_filters(order, FILTERS)
    assert refused.value.code == code


def test_a_market_that_never_had_a_price_takes_no_limit() -> None:
    with pytest.raises(ApiError) as refused:
        check_filters(asked(), None)
    assert refused.value.code == "no_liquidity"


@pytest.mark.parametrize(("kind", "side"), [*product(sorted(STOP_TYPES), Side)])
def test_stops_fire_in_the_direction_of_an_exchange(kind: OrderType, side: Side) -> None:
    order = Asked(
        trade=Trade(market=MARKET, side=side, base_amount=1, quote_amount=None),
        slippage_bps=None,
        max_price_impact_bps=None,
        client_id=None,
        type=kind,
        time_in_force=TimeInForce.GTC,
        price=parse_price("1", MARKET, field="price"),
        stop_price=parse_price("1", MARKET, field="stop_price"),
    )
    above = {("stop_loss_limit", "buy"), ("take_profit_limit", "sell")}
    assert terms_asked(order, counts_gas=False).fires_above is ((kind.value, side.value) in above)


def test_the_services_default_counts_gas_where_the_order_does_not_say() -> None:
    assert terms_asked(asked(), counts_gas=True).counts_gas is True
    assert terms_asked(asked(), counts_gas=False).counts_gas is False
