"""What an order request asks for, parsed: which parameters go together, and exact prices.

    type                 time_in_force     price   stop_price   amount          expires_ms   count_gas
    market               -                 -       -            base or quote   -            -
    limit                gtc, ioc, fok     yes     -            base            gtc only     may
    limit_maker          gtc or none       yes     -            base            may          may
    stop_loss_limit,     gtc or none       yes     yes          base            may          may
    take_profit_limit

Guarantees: pure; what does not go together is refused with a message that names it; a price is exact, and on the
market's tick where one is published. Not here: whether a price is a good one (`service.orders.pricing`).
"""

from dataclasses import dataclass
from typing import Final

from chains.units import InvalidAmount, format_units, parse_units
from contracts.assets import Market
from contracts.ratio import Ratio
from service.errors import ApiError
from service.markets.filters import Filters, tick_ratio
from service.markets.trades import Side, Trade
from service.orders.keeper.deciding import Terms
from service.orders.model import STOP_TYPES, OrderType, TimeInForce

PRICE_PLACES: Final = 30
"""Digits behind the point of a price at most; a tick allows 18 of them."""
MAX_PRICE_TEXT: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Quote base units for one of base, and the text that it was given as."""

    ratio: Ratio
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A parsed order request. `client_id` None lets the service choose one, and then nothing is idempotent.

    What is None was not given; `time_in_force` and `price` are there for every type but market.
    """

    trade: Trade
    slippage_bps: int | None
    max_price_impact_bps: int | None
    client_id: str | None
    type: OrderType = OrderType.MARKET
    time_in_force: TimeInForce | None = None
    price: Price | None = None
    stop_price: Price | None = None
    expires_ms: int | None = None
    count_gas: bool | None = None
    replaces: int | None = None
    """The id of the order in whose place it comes."""

    @property
    def market(self) -> Market:
        return self.trade.market

    @property
    def rests(self) -> bool:
        """Whether it may wait in the service's book."""
        return self.time_in_force is TimeInForce.GTC


def check_combination(
    *,
    type: OrderType,
    time_in_force: TimeInForce | None,
    has_price: bool,
    has_stop_price: bool,
    has_base_amount: bool,
    has_quote_amount: bool,
    has_expiry: bool,
    has_count_gas: bool,
) -> TimeInForce | None:
    """The time in force that is meant, None for a market order.

    Raises: ApiError: invalid_parameters.
    """
    if has_base_amount == has_quote_amount:
        raise _wrong("give exactly one of base_amount and quote_amount")
    if type is OrderType.MARKET:
        others = {
            "time_in_force": time_in_force is not None,
            "price": has_price,
            "stop_price": has_stop_price,
            "expires_ms": has_expiry,
            "count_gas": has_count_gas,
        }
        for name, is_there in others.items():
            if is_there:
                raise _wrong(f"a market order has no {name}")
        return None
    if has_quote_amount:
        raise _wrong(f"a {type} order has a base_amount: its quote amount follows from its price")
    if not has_price:
        raise _wrong(f"a {type} order needs a price")
    if has_stop_price != (type in STOP_TYPES):
        raise _wrong(f"a {type} order {'needs a' if type in STOP_TYPES else 'has no'} stop_price")
    if type is OrderType.LIMIT:
        if time_in_force is None:
            raise _wrong("a limit order needs time_in_force: gtc, ioc or fok")
    elif time_in_force not in (None, TimeInForce.GTC):
        raise _wrong(f"a {type} order rests: its time_in_force is gtc, or left out")
    meant = time_in_force or TimeInForce.GTC
    if has_expiry and meant is not TimeInForce.GTC:
        raise _wrong(f"an order that is {meant} does not rest: it has no expires_ms")
    return meant


def parse_price(text: str, market: Market, *, field: str) -> Price:
    """Raises: ApiError: invalid_price: no plain decimal number above zero."""
    try:
        raw = parse_units(text, PRICE_PLACES)
    except InvalidAmount as exc:
        raise ApiError("invalid_price", f"{field}: {exc}") from exc
    if raw == 0 or len(text) > MAX_PRICE_TEXT:
        raise ApiError(
            "invalid_price", f"{field}: a price is more than zero, and of {MAX_PRICE_TEXT} characters at most"
        )
    ratio = Ratio.of(raw * 10**market.quote.decimals, 10 ** (PRICE_PLACES + market.base.decimals))
    return Price(ratio=ratio, text=format_units(raw, PRICE_PLACES))


def check_filters(asked: Asked, filters: Filters | None) -> None:
    """That price, size and worth are what the market's filters allow. A market order has the last one only, elsewhere.

    Raises: ApiError: price_not_on_tick, amount_not_on_step, amount_too_small; no_liquidity: there are no filters, as
    the market never had a price here.
    """
    market, size = asked.market, asked.trade.base_amount
    if asked.price is None or size is None:
        return
    if filters is None:
        raise ApiError("no_liquidity", f"{market.symbol} has no price here that a limit could be held against")
    for field, price in (("price", asked.price), ("stop_price", asked.stop_price)):
        if price is not None and not is_multiple(price.ratio, tick_ratio(market, filters)):
            raise ApiError(
                "price_not_on_tick", f"{field}: prices of {market.symbol} are multiples of {filters.tick_text()}"
            )
    if size % filters.step:
        step = format_units(filters.step, market.base.decimals)
        raise ApiError("amount_not_on_step", f"amounts on {market.symbol} are multiples of {step} {market.base.symbol}")
    if asked.price.ratio.times(size) < filters.least_quote:
        least = format_units(filters.least_quote, market.quote.decimals)
        raise ApiError(
            "amount_too_small", f"an order on {market.symbol} is worth {least} {market.quote.symbol} or more"
        )


def is_multiple(price: Ratio, tick: Ratio) -> bool:
    """Whether a price is a whole number of ticks, exactly."""
    return price.num * tick.den % (price.den * tick.num) == 0


def terms_asked(asked: Asked, *, counts_gas: bool) -> Terms:
    """What its limit price asks for, as the keeper judges it; `counts_gas` where the order does not say.

    Raises: ValueError: it has no limit price.
    """
    if asked.price is None:
        raise ValueError("a market order has no limit price")
    return Terms(
        side=asked.trade.side,
        exact=asked.trade.exact,
        amount=asked.trade.amount,
        price=asked.price.ratio,
        stop=None if asked.stop_price is None else asked.stop_price.ratio,
        fires_above=(asked.type is OrderType.TAKE_PROFIT_LIMIT) == (asked.trade.side is Side.SELL),
        counts_gas=counts_gas if asked.count_gas is None else asked.count_gas,
    )


def _wrong(message: str) -> ApiError:
    return ApiError("invalid_parameters", message)
