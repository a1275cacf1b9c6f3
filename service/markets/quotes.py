"""A trade priced from the pools in memory at one block: the route, what it costs in gas, the limits a swap would carry.

Guarantees: route, amounts and limits are of the block named, equal to what the swap would move in the next one; gas is
charged in the choice of the route; nothing here writes or sends. Not guaranteed: that the price holds. A trade carries
its limits on-chain for that reason.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from chains.tx.simulation import padded_gas
from chains.tx.store import Clock
from chains.types import Address, Fees, Header
from chains.units import format_units, mul_div_up
from contracts.assets import Asset
from contracts.errors import InvalidTradeAmount, UnlistedAsset
from contracts.routing.explain import Explanation, explain
from contracts.routing.gas import GasPricing, judged_asset
from contracts.routing.graph import PoolGraph
from contracts.routing.model import Leg, RoutedSwap
from contracts.routing.search import find_route
from service.markets.fees import expected_price_wei
from service.markets.needs import QuotedChain
from service.markets.prices import price_text
from service.markets.state.model import MarketView
from service.markets.trades import Limits, Trade, in_base_and_quote, limits

ESTIMATE_PERCENT: Final = 125
"""What a swap may use, in percent of the estimate: estimates are within 20 % of what was measured."""
APPROVE_GAS: Final = 65_000
"""An approval through a proxy (USDC) takes about 56,000."""
BPS_OF_ALL: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedTrade:
    """A trade with what the chain says about it at the view's block. `swap_gas` is an upper estimate, in gas.

    `gas_value` is what that gas is worth in the market's quote asset at the highest fee it offers, base units;
    None when no pool says.
    """

    trade: Trade
    slippage_bps: int
    quote: RoutedSwap
    limits: Limits
    fees: Fees
    swap_gas: int
    gas_value: int | None
    view: MarketView

    @property
    def header(self) -> Header:
        return self.view.header


async def price_trade(
    chain: QuotedChain,
    trade: Trade,
    *,
    slippage_bps: int,
    max_age_s: float | None = None,
    routed_by: GasPricing | None = None,
) -> PricedTrade:
    """Quote the trade at the head, looked at `max_age_s` ago at most (as `PoolStates.view`); `routed_by` as `price_at`.

    Raises:
        QuoteError: no route, no liquidity, an amount too small.
        StaleMarket: the pools' state is too old.
        ChainError: the node did not answer, or fees are above the caps.
    """
    tokens = tokens_of(chain, trade)
    view = await chain.states.view(tokens, max_age_s=max_age_s)
    fees = await chain.fees.suggested(chain.client, block=view.block)

    def work(view: MarketView) -> PricedTrade:
        return price_at(chain, trade, view, fees=fees, slippage_bps=slippage_bps, routed_by=routed_by)

    # That look is the newest there is, so that this is of it, or of a newer one.
    return await chain.states.ask(tokens, work)


async def explain_trade(chain: QuotedChain, trade: Trade) -> tuple[Explanation, MarketView]:
    """The ways that the trade could go at the head, and why the best one is. Raises: as `price_trade`."""
    tokens = tokens_of(chain, trade)
    fees = await chain.fees.suggested(chain.client, block=(await chain.states.view(tokens)).block)

    def work(view: MarketView) -> tuple[Explanation, MarketView]:
        graph = PoolGraph.of(view.pools.values())
        gas = _gas_pricing(chain, trade, graph, fees=fees, header=view.header)
        found = explain(
            graph,
            assets=chain.assets,
            deployments=chain.deployments,
            sold=trade.sold,
            bought=trade.bought,
            amount=trade.amount,
            exact=trade.exact,
            gas=gas,
            block=view.block,
            venue=trade.venue,
        )
        return found, view

    return await chain.states.ask(tokens, work)


def price_at(
    chain: QuotedChain,
    trade: Trade,
    view: MarketView,
    *,
    fees: Fees,
    slippage_bps: int,
    routed_by: GasPricing | None = None,
) -> PricedTrade:
    """Quote the trade on the pools of a view, whoever made it. `routed_by`: what gas counts for in the choice of the
    route; None: what it costs.

    Raises: QuoteError: as `price_trade`. TicksNotLoaded: the amount leaves the loaded words of a pool.
    """
    graph = PoolGraph.of(view.pools.values())
    gas = _gas_pricing(chain, trade, graph, fees=fees, header=view.header) if routed_by is None else routed_by
    quote = find_route(
        graph,
        assets=chain.assets,
        deployments=chain.deployments,
        sold=trade.sold,
        bought=trade.bought,
        amount=trade.amount,
        exact=trade.exact,
        gas=gas,
        block=view.block,
        venue=trade.venue,
    )
    # What is fixed is what was asked for; with exact output the pools may give a few base units more.
    fixed_in, fixed_out = (trade.amount, quote.amount_out) if trade.exact == "in" else (quote.amount_in, trade.amount)
    swap_gas = padded_gas(mul_div_up(quote.gas_estimate, ESTIMATE_PERCENT, 100))
    return PricedTrade(
        trade=trade,
        slippage_bps=slippage_bps,
        quote=quote,
        limits=limits(trade.exact, amount_in=fixed_in, amount_out=fixed_out, slippage_bps=slippage_bps),
        fees=fees,
        swap_gas=swap_gas,
        gas_value=_gas_value(chain, trade, graph, gas=swap_gas, fees=fees),
        view=view,
    )


def _gas_pricing(chain: QuotedChain, trade: Trade, graph: PoolGraph, *, fees: Fees, header: Header) -> GasPricing:
    judged = judged_asset(trade.sold, trade.bought, trade.exact)
    price_wei = expected_price_wei(fees, base_fee_wei=header.base_fee_wei)
    return GasPricing.of(graph, assets=chain.assets, judged=judged, price_wei=price_wei)


def _gas_value(chain: QuotedChain, trade: Trade, graph: PoolGraph, *, gas: int, fees: Fees) -> int | None:
    pricing = GasPricing.of(graph, assets=chain.assets, judged=trade.market.quote, price_wei=fees.max_fee_wei)
    return pricing.cost(gas) if pricing.price_wei else None


def tokens_of(chain: QuotedChain, trade: Trade) -> tuple[Address, Address]:
    """The tokens between which pools are looked at. Raises: UnlistedAsset, InvalidTradeAmount."""
    for asset in (trade.sold, trade.bought):
        if asset not in chain.assets:
            raise UnlistedAsset(chain.assets.chain_id, asset.symbol)
    if trade.amount < 1:
        raise InvalidTradeAmount("an amount to trade is at least one base unit")
    sold, bought = (chain.assets.token_of(asset).token_address for asset in (trade.sold, trade.bought))
    return sold, bought


def quote_document(chain: QuotedChain, priced: PricedTrade, *, firm: bool | None, clock: Clock) -> dict[str, Any]:
    """The quote as clients see it. `firm`: whether it was simulated from the caller's wallet."""
    trade, quote, now_ms = priced.trade, priced.quote, clock.now_ms()
    wei = priced.swap_gas * priced.fees.max_fee_wei
    native, in_quote = chain.assets.native, trade.market.quote
    return {
        "chain": chain.config.key,
        "market": trade.market.symbol,
        "side": trade.side.value,
        "exact": "sell" if trade.exact == "in" else "buy",
        "sell": amount_document(trade.sold, quote.amount_in),
        "buy": amount_document(trade.bought, quote.amount_out),
        "max_sell": amount_document(trade.sold, priced.limits.max_sold),
        "min_buy": amount_document(trade.bought, priced.limits.min_bought),
        **price_document(priced),
        "slippage_bps": priced.slippage_bps,
        "route": route_document(chain, quote),
        "gas": {
            "units": str(priced.swap_gas),
            "native": amount_document(native, wei),
            "quote": None if priced.gas_value is None else amount_document(in_quote, priced.gas_value),
        },
        "firm": firm,
        "block": block_document(priced.header, now_ms),
        "checked_ms": priced.view.checked_ms,
        "expires_ms": now_ms + chain.config.block_time_ms,
    }


def price_document(priced: PricedTrade) -> dict[str, Any]:
    """Price and mid price in quote asset for one unit of base, and the impact between them."""
    market, quote = priced.trade.market, priced.quote
    decimals = {"base_decimals": market.base.decimals, "quote_decimals": market.quote.decimals}
    base, in_quote = in_base_and_quote(priced.trade.side, sold_raw=quote.amount_in, bought_raw=quote.amount_out)
    # The route's ratio is out per in.
    mid_base, mid_quote = in_base_and_quote(
        priced.trade.side, sold_raw=quote.mid_price.den, bought_raw=quote.mid_price.num
    )
    return {
        "price": price_text(base_raw=base, quote_raw=in_quote, **decimals),
        "mid_price": price_text(base_raw=mid_base, quote_raw=mid_quote, **decimals),
        "price_impact_bps": quote.price_impact_bps,
    }


def route_document(chain: QuotedChain, quote: RoutedSwap) -> dict[str, Any]:
    """The router, and each leg with its share; a hop's tokens by symbol where they are listed."""
    return {
        "venues": sorted({venue.value for leg in quote.legs for venue in leg.venues}),
        "router": quote.router.address,
        "lp_fee_pips": quote.lp_fee_pips,
        "legs": [
            {
                "share_bps": _share_bps(quote, leg),
                "sell": format_units(leg.amount_in, quote.sold.decimals),
                "buy": format_units(leg.amount_out, quote.bought.decimals),
                "hops": [
                    {
                        "venue": hop.venue.value,
                        "pool": hop.pool,
                        "token_in": token_name(chain, hop.token_in),
                        "token_out": token_name(chain, hop.token_out),
                        "fee_pips": hop.fee_pips,
                    }
                    for hop in leg.hops
                ],
            }
            for leg in quote.legs
        ],
    }


def legs_text(chain: QuotedChain, legs: Sequence[Leg]) -> str:
    """Legs in one line: `WETH -uniswap_v3/500-> USDC`, with the pools' fees in pips; several joined by `+`."""
    return " + ".join(
        token_name(chain, leg.hops[0].token_in)
        + "".join(f" -{hop.venue.value}/{hop.fee_pips}-> {token_name(chain, hop.token_out)}" for hop in leg.hops)
        for leg in legs
    )


def amount_document(asset: Asset, raw: int) -> dict[str, str]:
    return {"asset": asset.symbol, "amount": format_units(raw, asset.decimals)}


def block_document(header: Header, now_ms: int) -> dict[str, Any]:
    """Which block an answer was read at, and how old that block was then."""
    return {"number": header.number, "hash": header.hash, "age_ms": max(0, now_ms - header.timestamp_s * 1000)}


def snapshot(chain: QuotedChain, priced: PricedTrade, *, deadline_s: int) -> Mapping[str, Any]:
    """What an order keeps of its quote: enough to show it for ever, and to compare the fill with."""
    market, native = priced.trade.market, chain.assets.native
    return {
        "chain": chain.config.key,
        "base": _label(market.base),
        "quote": _label(market.quote),
        "native": _label(native),
        "deadline_s": deadline_s,
        "quoted": {
            "sell": format_units(priced.quote.amount_in, priced.trade.sold.decimals),
            "buy": format_units(priced.quote.amount_out, priced.trade.bought.decimals),
            **price_document(priced),
            "route": route_document(chain, priced.quote),
            "block": {"number": priced.header.number, "hash": priced.header.hash},
        },
    }


def token_name(chain: QuotedChain, token: Address) -> str:
    """A listed token's symbol, else its address."""
    listed = chain.assets.find_address(token)
    return str(token) if listed is None else listed.symbol


def _share_bps(quote: RoutedSwap, leg: Leg) -> int:
    """A leg's part of what is sold, in basis points, rounded to the nearest."""
    return (2 * BPS_OF_ALL * leg.amount_in + quote.amount_in) // (2 * quote.amount_in)


def _label(asset: Asset) -> dict[str, Any]:
    return {"symbol": asset.symbol, "decimals": asset.decimals}
