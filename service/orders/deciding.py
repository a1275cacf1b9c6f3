"""What becomes of an order as it is asked for, at the head: it trades now, rests, or has expired already.

    market           trades now, or is refused
    limit fok        trades now as a whole inside its limit, or expires
    limit ioc        trades now as much as fits inside its limit, or expires
    limit gtc        trades now as a whole inside its limit, or rests
    limit_maker      is refused if it would trade now as a whole, else rests
    stops            are refused if the stop price is reached now, else rest

Guarantees: nothing is written here; what trades carries the stricter of its limit price and the quote less the
slippage bound (rule 9); a limit price is judged against the guarded price, and a guard that refuses refuses the order,
of whatever type. An order that expires here has no transaction and holds nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from chains.units import format_units
from contracts.routing.gas import GasPricing
from service.auth.callers import Caller
from service.build import ChainRuntime, Services
from service.errors import ApiError
from service.markets.filters import base_step
from service.markets.quotes import APPROVE_GAS, PricedTrade, snapshot
from service.markets.trades import Limits, in_base_and_quote
from service.markets.usd import order_worth
from service.orders import reasons
from service.orders.keeper.deciding import Execute, Terms, allowed, fires, judge
from service.orders.model import OrderType, TimeInForce
from service.orders.partial import largest_part
from service.orders.pricing import (
    Ready,
    Seen,
    check_band,
    check_trade,
    impact_bound,
    look,
    offer_of,
    paid,
    priced_whole,
    ready,
    slippage_of,
)
from service.orders.terms import Asked, check_filters, terms_asked
from service.orders.view import unquoted
from service.plans.accepting import Funds
from service.plans.funds import balances_at, needs

RESTING_SWAP_GAS: Final = 600_000
"""What a resting order holds for its swap, where no route says what it may take: several legs with their ticks."""
RESTING_APPROVALS: Final = 2
"""What it holds for approvals of a token: a reset and an approval."""
MIN_REST_MS: Final = 60_000
"""The nearest `expires_ms`: below it a swap's own deadline would not fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is to be written. Exactly one of `now`, `rests` and `expired` is there.

    `limits` are the order's own, by its limit price for the whole size; those of a market order are its calldata's.
    """

    asked: Asked
    slippage_bps: int
    limits: Limits
    quote: Mapping[str, Any]
    priced: PricedTrade | None
    now: Ready | None
    rests: Funds | None
    expired: str | None
    usd: int | None
    count_gas: bool | None
    expires_ms: int | None


async def decide(services: Services, runtime: ChainRuntime, caller: Caller, *, asked: Asked) -> Decision:
    """Price the order at the head and judge it.

    Raises:
        ApiError: refused. QuoteError, ChainError, BalanceUnknown, StaleMarket: it cannot be judged now.
    """
    slippage_bps = slippage_of(services.settings, asked)
    if asked.price is None:
        return await _market(services, runtime, caller, asked=asked, slippage_bps=slippage_bps)
    return await _limit(services, runtime, caller, asked=asked, slippage_bps=slippage_bps)


async def _market(
    services: Services, runtime: ChainRuntime, caller: Caller, *, asked: Asked, slippage_bps: int
) -> Decision:
    priced = await priced_whole(runtime, asked, slippage_bps=slippage_bps)
    if priced is None:
        raise ApiError("no_liquidity", f"the pools of {asked.market.symbol} cannot fill this amount")
    seen = await look(services, runtime, asked.market, priced=priced)
    check_trade(services.settings, priced, seen, max_price_impact_bps=asked.max_price_impact_bps)
    await _check_least(runtime, priced)
    sent = await ready(services, runtime, priced, limits=priced.limits, wallet=caller.wallet.address)
    return Decision(
        asked=asked,
        slippage_bps=slippage_bps,
        limits=priced.limits,
        quote=snapshot(runtime, priced, deadline_s=sent.deadline_s),
        priced=priced,
        now=sent,
        rests=None,
        expired=None,
        usd=await _usd(services, runtime, caller, asked=asked, seen=seen, raw=priced.limits.max_sold),
        count_gas=None,
        expires_ms=None,
    )


async def _limit(
    services: Services, runtime: ChainRuntime, caller: Caller, *, asked: Asked, slippage_bps: int
) -> Decision:
    settings = services.settings
    terms = terms_asked(asked, counts_gas=settings.count_gas)
    expires_ms = _expiry(services, asked)
    check_filters(asked, (await runtime.board.filters(runtime, [asked.market]))[asked.market.symbol])
    limits = allowed(terms, gas_value=0)
    if limits is None:
        raise ApiError("amount_too_small", "at this price the amount costs or brings nothing")
    whole = await _whole(runtime, asked, terms=terms, slippage_bps=slippage_bps)
    seen = await look(services, runtime, asked.market, priced=whole)
    check_band(settings, asked, seen)
    refused = _refusal(services, whole, seen, asked=asked)
    carried = None if whole is None or refused is not None else _inside(whole, terms)
    if asked.type is OrderType.LIMIT_MAKER and carried is not None:
        raise ApiError("would_take", f"the pools of {asked.market.symbol} would fill it at once at this price")
    # By the price that the keeper goes by later: the ticker's, not that of this trade's own route.
    if terms.stop is not None and fires(terms, (await runtime.board.look(runtime, asked.market)).mid or seen.mid):
        raise ApiError("would_trigger", f"the price of {asked.market.symbol} has reached the stop price already")
    priced, expired = whole, None
    if asked.type is not OrderType.LIMIT:
        carried = None
    elif carried is None and asked.time_in_force is TimeInForce.IOC:
        priced = await _part(services, runtime, asked=asked, terms=terms, seen=seen, slippage_bps=slippage_bps)
        carried = None if priced is None else _inside(priced, terms)
    if carried is None and not asked.rests:
        # Of parts each has its own reason, and the whole size's says little.
        whole_only = asked.time_in_force is TimeInForce.FOK
        expired = (refused if whole_only else None) or reasons.unfilled(asked.time_in_force)
    sent, rests = None, None
    if carried is not None and priced is not None:
        sent = await ready(
            services, runtime, priced, limits=carried, wallet=caller.wallet.address, expires_ms=expires_ms
        )
    elif expired is None:
        rests = await _held_at_rest(runtime, caller, asked=asked, seen=seen, limits=limits, priced=whole)
    return Decision(
        asked=asked,
        slippage_bps=slippage_bps,
        limits=limits,
        quote=unquoted(runtime.config.key, asked.market, runtime.assets.native)
        if sent is None
        else snapshot(runtime, sent.priced, deadline_s=sent.deadline_s),
        priced=priced,
        now=sent,
        rests=rests,
        expired=expired,
        usd=await _usd(services, runtime, caller, asked=asked, seen=seen, raw=limits.max_sold),
        count_gas=terms.counts_gas,
        expires_ms=expires_ms,
    )


async def _whole(runtime: ChainRuntime, asked: Asked, *, terms: Terms, slippage_bps: int) -> PricedTrade | None:
    """The whole size by the best way net of gas; where gas does not count and that one is outside the limit, by the way
    that pays most, if that one is inside. So the keeper has it, and what it would send at once does not rest first."""
    whole = await priced_whole(runtime, asked, slippage_bps=slippage_bps)
    if whole is None or terms.counts_gas or _inside(whole, terms) is not None:
        return whole
    # The head was looked at a moment ago.
    best = await priced_whole(runtime, asked, slippage_bps=slippage_bps, max_age_s=None, routed_by=GasPricing.free())
    return whole if best is None or _inside(best, terms) is None else best


def _inside(priced: PricedTrade, terms: Terms) -> Limits | None:
    """The limits that the swap carries; None: it is not inside the limit price."""
    # A part is judged by its own size.
    found = judge(replace(terms, amount=priced.trade.amount), [offer_of(priced)])
    return found.limits if isinstance(found, Execute) else None


def _refusal(services: Services, whole: PricedTrade | None, seen: Seen, *, asked: Asked) -> str | None:
    """Why the whole size may not trade now, whatever its limit: the word for it; None: it may."""
    if whole is None:
        return reasons.NO_LIQUIDITY
    if whole.quote.price_impact_bps > impact_bound(services.settings, asked.max_price_impact_bps):
        return reasons.IMPACT_TOO_HIGH
    try:
        check_trade(services.settings, whole, seen, max_price_impact_bps=asked.max_price_impact_bps)
    except ApiError as refused:
        return refused.code
    return None


async def _part(
    services: Services, runtime: ChainRuntime, *, asked: Asked, terms: Terms, seen: Seen, slippage_bps: int
) -> PricedTrade | None:
    least = (await runtime.board.filters(runtime, [asked.market]))[asked.market.symbol]

    def fits(priced: PricedTrade) -> bool:
        if _refusal(services, priced, seen, asked=asked) is not None or _inside(priced, terms) is None:
            return False
        base, _ = in_base_and_quote(
            asked.trade.side, sold_raw=priced.quote.amount_in, bought_raw=priced.quote.amount_out
        )
        return least is None or paid(priced).times(base) >= least.least_quote

    return await largest_part(
        runtime,
        asked.trade,
        seen.view,
        terms=terms,
        slippage_bps=slippage_bps,
        step=base_step(asked.market),
        fits=fits,
    )


async def _held_at_rest(
    runtime: ChainRuntime,
    caller: Caller,
    *,
    asked: Asked,
    seen: Seen,
    limits: Limits,
    priced: PricedTrade | None,
) -> Funds:
    """The most that it may sell, and the gas of its transactions by today's fees; looked at again when it is sent."""
    sold, native = asked.trade.sold, runtime.assets.native
    fees = await runtime.fees.suggested(runtime.client, block=seen.view.block)
    gas = RESTING_SWAP_GAS if priced is None else priced.swap_gas
    gas += 0 if sold.is_native else RESTING_APPROVALS * APPROVE_GAS
    return Funds(
        wanted=needs((sold.id, limits.max_sold), (native.id, gas * fees.max_fee_wei)),
        balances=await balances_at(runtime, caller.wallet.address, [sold, native], block=seen.header.ref),
        height=seen.header.number,
    )


async def _usd(
    services: Services, runtime: ChainRuntime, caller: Caller, *, asked: Asked, seen: Seen, raw: int
) -> int | None:
    """What it sells at most, in micro-dollars; None: not known, or no limit asks for it."""
    if not caller.key.restrictions.needs_order_usd:
        return None
    return order_worth(
        asked.market,
        asked.trade.sold,
        raw,
        guarded=seen.guarded,
        reading=await runtime.opinions.reading(runtime, asked.market, header=seen.header),
        assets=runtime.assets,
        now_s=services.clock.now_ms() // 1000,
    )


def _expiry(services: Services, asked: Asked) -> int | None:
    """When it stops resting: what was asked for, else the longest. Raises: ApiError: invalid_parameters."""
    if not asked.rests:
        return None
    now_ms, longest_ms = services.clock.now_ms(), services.settings.max_rest_hours * 3_600_000
    if asked.expires_ms is None:
        return now_ms + longest_ms
    if not now_ms + MIN_REST_MS <= asked.expires_ms <= now_ms + longest_ms:
        raise ApiError(
            "invalid_parameters",
            f"expires_ms is at least {MIN_REST_MS // 1000} seconds from now, and at most"
            f" {services.settings.max_rest_hours} hours",
        )
    return asked.expires_ms


async def _check_least(runtime: ChainRuntime, priced: PricedTrade) -> None:
    """That the order is worth what the market's filters ask for. Raises: ApiError: amount_too_small."""
    market, quote = priced.trade.market, priced.quote
    filters = (await runtime.board.filters(runtime, [market]))[market.symbol]
    _, worth = in_base_and_quote(priced.trade.side, sold_raw=quote.amount_in, bought_raw=quote.amount_out)
    if filters is not None and worth < filters.least_quote:
        least = format_units(filters.least_quote, market.quote.decimals)
        raise ApiError(
            "amount_too_small", f"an order on {market.symbol} is worth {least} {market.quote.symbol} or more"
        )
