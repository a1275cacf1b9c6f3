"""An order's price, judged before anything is written: fresh pools, impact, second opinions, and what would be paid.

    guards     look(...) -> Seen          the market's mid price, and the guarded price that agrees with it
               check_trade(...)           a priced trade: impact, mid, and what it pays with all fees
    sending    ready(...) -> Ready        the very transaction of a priced trade, from the wallet that would send it

Guarantees: everything raises, so that what is not known refuses; a `Ready` has the limits that its calldata carries,
and was simulated where the wallet has what it sells. Not guaranteed: that the swap succeeds. The lane simulates it
again before it takes a nonce.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from chains.errors import ExecutionReverted, RpcRefused
from chains.types import Address, Header
from chains.units import mul_div_up
from contracts.assets import APPROVE_RESET, Asset, AssetId, Market
from contracts.errors import InsufficientLiquidity
from contracts.ratio import Ratio
from contracts.routing.gas import GasPricing
from contracts.swaps import SwapCall
from service.build import ChainRuntime, Services
from service.errors import ApiError
from service.markets.bounds import Bounds
from service.markets.firm import compiled, refuse_taxed, router_allowance, simulated
from service.markets.guards import Opinions, check_price, check_price_impact, deviates, guarded_price, market_price
from service.markets.prices import market_ratio_text
from service.markets.quotes import APPROVE_GAS, PricedTrade, price_trade
from service.markets.state.model import MarketView, require_fresh
from service.markets.trades import Limits, in_base_and_quote
from service.orders.keeper.deciding import Offer
from service.orders.terms import Asked
from service.plans.funds import balances_at
from service.settings import Settings

MIN_DEADLINE_S: Final = 30
"""A swap whose order expires before this is not sent any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is known of a market's price at one block. `guarded` is None for a market that needs no second opinion
    and has none."""

    view: MarketView
    opinions: Opinions
    mid: Ratio
    guarded: Ratio | None

    @property
    def header(self) -> Header:
        return self.view.header


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A trade that could be sent now. `priced.limits` are those of `swap`'s calldata."""

    priced: PricedTrade
    swap: SwapCall
    allowance: int
    balances: Mapping[AssetId, int]
    deadline_s: int

    def gas_wei(self, *, approvals: int) -> int:
        """What its transactions cost at most, with so many approvals before the swap."""
        return (self.priced.swap_gas + approvals * APPROVE_GAS) * self.priced.fees.max_fee_wei


def slippage_of(settings: Settings, asked: Asked) -> int:
    """In basis points. Raises: ApiError: slippage_too_high."""
    slippage_bps = settings.default_slippage_bps if asked.slippage_bps is None else asked.slippage_bps
    if slippage_bps > settings.max_slippage_bps:
        raise ApiError(
            "slippage_too_high",
            f"at most {settings.max_slippage_bps} basis points of slippage are allowed, not {slippage_bps}",
        )
    return slippage_bps


def impact_bound(settings: Settings, max_price_impact_bps: int | None) -> int:
    """The service's own, or the order's where that is tighter."""
    bound = settings.max_price_impact_bps
    return bound if max_price_impact_bps is None else min(bound, max_price_impact_bps)


async def priced_whole(
    runtime: ChainRuntime,
    asked: Asked,
    *,
    slippage_bps: int,
    max_age_s: float | None = 0,
    routed_by: GasPricing | None = None,
) -> PricedTrade | None:
    """The whole size on a head that is looked at now: allowance and balances are of its block, and the wallet may just
    have traded. None: the pools cannot fill it. `routed_by`: as `price_at` has it.

    Raises: QuoteError, StaleMarket, ChainError.
    """
    try:
        return await price_trade(
            runtime, asked.trade, slippage_bps=slippage_bps, max_age_s=max_age_s, routed_by=routed_by
        )
    except InsufficientLiquidity:
        return None


async def look(services: Services, runtime: ChainRuntime, market: Market, *, priced: PricedTrade | None) -> Seen:
    """The market's price by the trade's own route, or where there is none by the book's two best prices.

    Raises:
        ApiError: no_liquidity; price_deviates, no_second_opinion, stale_price_source, stale_market.
        ChainError, StaleMarket: the state cannot be read.
    """
    settings = services.settings
    if priced is not None:
        view, mid = priced.view, market_price(priced.trade.side, priced.quote.mid_price)
    else:
        seen = await runtime.board.look(runtime, market)
        if seen.mid is None:
            raise ApiError("no_liquidity", f"the pools of {market.symbol} have no price now")
        view, mid = seen.view, seen.mid
    require_fresh(view, services.clock, max_block_age_s=settings.max_block_age_s)
    opinions = await runtime.opinions.read(runtime, market, header=view.header)
    check_price(opinions, price=mid, bounds=settings.price_bounds)
    guarded = guarded_price(opinions, price=mid, bounds=settings.price_bounds)
    return Seen(view=view, opinions=opinions, mid=mid, guarded=guarded)


def check_trade(settings: Settings, priced: PricedTrade, seen: Seen, *, max_price_impact_bps: int | None) -> None:
    """That the trade moves the price within its bound, and pays no price that is far from the second opinions: pool
    fees are not in the impact, and several of them add up.

    Raises: ApiError: price_impact_too_high, price_deviates.
    """
    check_price_impact(priced.quote.price_impact_bps, max_bps=impact_bound(settings, max_price_impact_bps))
    check_price(seen.opinions, price=paid(priced), bounds=paid_bounds(settings))


def paid_bounds(settings: Settings) -> Bounds:
    """How far what is paid may be from a second opinion."""
    return replace(
        settings.price_bounds, max_deviation_bps=settings.max_price_deviation_bps + settings.max_price_impact_bps
    )


def paid(priced: PricedTrade) -> Ratio:
    """What the trade pays or gets for one base unit of base, in quote base units, fees inside."""
    quote = priced.quote
    base, in_quote = in_base_and_quote(priced.trade.side, sold_raw=quote.amount_in, bought_raw=quote.amount_out)
    return Ratio.of(in_quote, base)


def offer_of(priced: PricedTrade) -> Offer:
    """As it is judged: with the gas of the approvals that will be needed. Allowances are exact: none is left over."""
    quote, value = priced.quote, priced.gas_value
    if value is not None:
        gas = priced.swap_gas + _approvals(quote.sold) * APPROVE_GAS
        value = mul_div_up(value, gas, priced.swap_gas)
    return Offer(amount_in=quote.amount_in, amount_out=quote.amount_out, guarded=priced.limits, gas_value=value)


def _approvals(sold: Asset) -> int:
    if sold.is_native:
        return 0
    return 2 if APPROVE_RESET in sold.flags else 1


def check_band(settings: Settings, asked: Asked, seen: Seen) -> None:
    """That limit and stop price are near the guarded price (the pools' own, where the market needs none).

    Raises: ApiError: price_outside_band.
    """
    market, reference = asked.market, seen.guarded or seen.mid
    for field, price in (("price", asked.price), ("stop_price", asked.stop_price)):
        if price is not None and deviates(price.ratio, reference, bps=settings.limit_price_band_bps):
            raise ApiError(
                "price_outside_band",
                f"{field} {price.text} is further than {settings.limit_price_band_bps} basis points from the"
                f" price of {market.symbol}, {market_ratio_text(reference, market)}",
            )


async def ready(
    services: Services,
    runtime: ChainRuntime,
    priced: PricedTrade,
    *,
    limits: Limits,
    wallet: Address,
    expires_ms: int | None = None,
) -> Ready:
    """The transaction with these limits, and what the wallet has at the quote's block. `expires_ms` shortens its
    deadline, to no less than `MIN_DEADLINE_S`.

    Raises:
        ApiError: taxed_transfer.
        ChainError, BalanceUnknown: the node did not answer.
    """
    carried = replace(priced, limits=limits)
    # Whichever is later: a local chain that stood still is behind, one whose time was moved is ahead.
    now_s = max(services.clock.now_ms() // 1000, priced.header.timestamp_s)
    deadline_s = now_s + services.settings.order_deadline_s
    if expires_ms is not None:
        deadline_s = max(now_s + MIN_DEADLINE_S, min(deadline_s, expires_ms // 1000))
    swap = compiled(runtime, carried, wallet=wallet, deadline_s=deadline_s)
    allowance = await router_allowance(runtime, carried, swap, wallet=wallet)
    sold = carried.trade.sold
    balances = await balances_at(runtime, wallet, [sold, runtime.assets.native], block=priced.header.ref)
    if balances[swap.spend.asset.id] >= swap.spend.raw:
        # What reverts is the lane's to judge, on the state that it is sent on.
        with contextlib.suppress(ExecutionReverted, RpcRefused):
            refuse_taxed(carried, await simulated(runtime, carried, swap, wallet=wallet, allowance=allowance))
    return Ready(priced=carried, swap=swap, allowance=allowance, balances=balances, deadline_s=deadline_s)
