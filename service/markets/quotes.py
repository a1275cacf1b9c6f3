"""A trade priced on the chain at one block: the route, what it costs in gas, and the limits a swap would carry.

Guarantees: quote, fees and limits belong to the block named; nothing here writes or sends.
Not guaranteed: that the price holds. A trade carries its limits on-chain for that reason.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from chains import fees as fee_rules
from chains.tx.store import Clock
from chains.types import Fees, Header
from chains.units import format_units, mul_div_up
from contracts.assets import Asset
from contracts.errors import QuoteError
from contracts.quoting import SwapQuote, best_quote
from service.markets.needs import QuotedChain
from service.markets.prices import price_text
from service.markets.trades import Limits, Trade, in_base_and_quote, limits

GAS_HEADROOM_PERCENT: Final = 130
"""Gas set aside for a swap, in percent of the quoter's estimate: the quoter leaves out the router and transfers."""
SWAP_BASE_GAS: Final = 60_000
"""Router, token transfers and the transaction itself, which quoters do not count."""
APPROVE_GAS: Final = 65_000
"""An approval through a proxy (USDC) takes about 56,000."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedTrade:
    """A trade with what the chain says about it at `header`'s block. `swap_gas` is an upper estimate, in gas."""

    trade: Trade
    slippage_bps: int
    quote: SwapQuote
    limits: Limits
    fees: Fees
    swap_gas: int
    header: Header


async def price_trade(runtime: QuotedChain, trade: Trade, *, slippage_bps: int) -> PricedTrade:
    """Quote the trade at the head.

    Raises:
        QuoteError: no route, no liquidity, an amount too small.
        ChainError: the node did not answer, or fees are above the caps.
    """
    header, fees = await asyncio.gather(runtime.client.head(), suggested_fees(runtime))
    quote = await best_quote(
        runtime.client,
        assets=runtime.assets,
        deployments=runtime.deployments,
        sold=trade.sold,
        bought=trade.bought,
        amount=trade.amount,
        exact=trade.exact,
        venue=trade.venue,
        pools=runtime.pools,
        block=header.ref,
    )
    return PricedTrade(
        trade=trade,
        slippage_bps=slippage_bps,
        quote=quote,
        limits=limits(trade.exact, amount_in=quote.amount_in, amount_out=quote.amount_out, slippage_bps=slippage_bps),
        fees=fees,
        swap_gas=SWAP_BASE_GAS + mul_div_up(quote.gas_estimate, GAS_HEADROOM_PERCENT, 100),
        header=header,
    )


async def suggested_fees(runtime: QuotedChain) -> Fees:
    """Raises: FeeCapExceeded: the chain asks more than its configured caps."""
    history = await runtime.client.fee_history(fee_rules.HISTORY_BLOCKS, [fee_rules.TIP_PERCENTILE])
    return fee_rules.suggest(history, runtime.config.fees)


async def gas_in_quote(runtime: QuotedChain, priced: PricedTrade) -> int | None:
    """What the gas is worth in the market's quote asset, at the same block; None when no pool says."""
    wei = priced.swap_gas * priced.fees.max_fee_wei
    quote_asset = priced.trade.market.quote
    if runtime.assets.token_of(quote_asset) == runtime.assets.wrapped:
        return wei
    try:
        found = await best_quote(
            runtime.client,
            assets=runtime.assets,
            deployments=runtime.deployments,
            sold=runtime.assets.native,
            bought=quote_asset,
            amount=wei,
            exact="in",
            pools=runtime.pools,
            block=priced.header.ref,
        )
    except QuoteError:
        return None
    return found.amount_out


def quote_document(
    runtime: QuotedChain, priced: PricedTrade, *, gas_quote_raw: int | None, clock: Clock
) -> dict[str, Any]:
    """The quote as clients see it."""
    trade, quote, now_ms = priced.trade, priced.quote, clock.now_ms()
    wei = priced.swap_gas * priced.fees.max_fee_wei
    native, in_quote = runtime.assets.native, trade.market.quote
    return {
        "chain": runtime.config.key,
        "market": trade.market.symbol,
        "side": trade.side.value,
        "exact": "sell" if trade.exact == "in" else "buy",
        "sell": amount_document(trade.sold, quote.amount_in),
        "buy": amount_document(trade.bought, quote.amount_out),
        "max_sell": amount_document(trade.sold, priced.limits.max_sold),
        "min_buy": amount_document(trade.bought, priced.limits.min_bought),
        **price_document(priced),
        "slippage_bps": priced.slippage_bps,
        "route": route_document(runtime, quote),
        "gas": {
            "units": str(priced.swap_gas),
            "native": amount_document(native, wei),
            "quote": None if gas_quote_raw is None else amount_document(in_quote, gas_quote_raw),
        },
        "block": block_document(priced.header, now_ms),
        "expires_ms": now_ms + runtime.config.block_time_ms,
    }


def price_document(priced: PricedTrade) -> dict[str, Any]:
    """Price and mid price in quote asset for one unit of base, and the impact between them."""
    market, quote = priced.trade.market, priced.quote
    decimals = {"base_decimals": market.base.decimals, "quote_decimals": market.quote.decimals}
    base, in_quote = in_base_and_quote(priced.trade.side, sold_raw=quote.amount_in, bought_raw=quote.amount_out)
    # The quoter's ratio is out per in.
    mid_base, mid_quote = in_base_and_quote(
        priced.trade.side, sold_raw=quote.mid_price.den, bought_raw=quote.mid_price.num
    )
    return {
        "price": price_text(base_raw=base, quote_raw=in_quote, **decimals),
        "mid_price": price_text(base_raw=mid_base, quote_raw=mid_quote, **decimals),
        "price_impact_bps": quote.price_impact_bps,
    }


def route_document(runtime: QuotedChain, quote: SwapQuote) -> dict[str, Any]:
    """Venue and hops; a hop's tokens by symbol where they are listed."""
    return {
        "venue": quote.venue.value,
        "lp_fee_pips": quote.lp_fee_pips,
        "hops": [
            {
                "venue": hop.venue.value,
                "pool": hop.pool,
                "token_in": _name(runtime, hop.token_in),
                "token_out": _name(runtime, hop.token_out),
                "fee_pips": hop.fee_pips,
            }
            for hop in quote.hops
        ],
    }


def amount_document(asset: Asset, raw: int) -> dict[str, str]:
    return {"asset": asset.symbol, "amount": format_units(raw, asset.decimals)}


def block_document(header: Header, now_ms: int) -> dict[str, Any]:
    """Which block an answer was read at, and how old that block was then."""
    return {"number": header.number, "hash": header.hash, "age_ms": max(0, now_ms - header.timestamp_s * 1000)}


def snapshot(runtime: QuotedChain, priced: PricedTrade, *, deadline_s: int) -> Mapping[str, Any]:
    """What an order keeps of its quote: enough to show it for ever, and to compare the fill with."""
    market, native = priced.trade.market, runtime.assets.native
    return {
        "chain": runtime.config.key,
        "base": _label(market.base),
        "quote": _label(market.quote),
        "native": _label(native),
        "deadline_s": deadline_s,
        "quoted": {
            "sell": format_units(priced.quote.amount_in, priced.trade.sold.decimals),
            "buy": format_units(priced.quote.amount_out, priced.trade.bought.decimals),
            **price_document(priced),
            "route": route_document(runtime, priced.quote),
            "block": {"number": priced.header.number, "hash": priced.header.hash},
        },
    }


def _label(asset: Asset) -> dict[str, Any]:
    return {"symbol": asset.symbol, "decimals": asset.decimals}


def _name(runtime: QuotedChain, token: Any) -> str:
    listed = runtime.assets.find_address(token)
    return str(token) if listed is None else listed.symbol
