"""Tickers: bid, ask and mid price of the chain's markets at one block, asked of the pools themselves.

The bid is what the probe (a small, named amount of base worth about 100 USD) brings when sold, the ask what it costs
when bought, both by the best route and with the pools' fees; the mid price is the pools' own without fee. The
reference is Chainlink's, with its age, where both assets have a feed.

Guarantees: all numbers of an answer belong to the block it names; a market that could not be read is `unknown` with
a reason, never left out and never zero. A head that is asked for again is answered from memory.
Not guaranteed: that the probe's price holds for more than the probe.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from chains.errors import ChainError
from chains.types import Address, BlockRef, Header
from chains.units import format_units, mul_div, parse_units
from contracts.assets import Asset, Market
from contracts.chainlink import FeedAnswer, latest_answers
from contracts.deployments import MULTICALL3
from contracts.errors import ContractError
from contracts.quoting import SwapQuote, best_quote
from service.markets.needs import QuotedChain
from service.markets.prices import price_text, ratio_text

PROBE_USD: Final = 100
CONCURRENCY: Final = 6
"""Markets quoted at the same time; each takes a few node calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticker:
    """One market at a block. `problem` is set, and the prices are not, when it could not be read."""

    market: Market
    probe: int
    bid: SwapQuote | None = None
    ask: SwapQuote | None = None
    reference: tuple[FeedAnswer, FeedAnswer] | None = None
    problem: str | None = None


class TickerBoard:
    """The tickers of one chain's newest head, quoted at most once a block."""

    def __init__(self) -> None:
        self._block: BlockRef | None = None
        self._tickers: dict[str, Ticker] = {}
        self._lock = asyncio.Lock()

    async def read(self, runtime: QuotedChain, wanted: Sequence[Market], *, header: Header) -> list[Ticker]:
        """Tickers of the wanted markets at the header's block, in their order.

        Raises:
            ChainError: the node did not answer at all.
        """
        async with self._lock:
            if self._block != header.ref:
                self._block, self._tickers = header.ref, {}
            missing = [market for market in wanted if market.symbol not in self._tickers]
            if missing:
                for ticker in await _read_all(runtime, missing, block=header.ref):
                    self._tickers[ticker.market.symbol] = ticker
            return [self._tickers[market.symbol] for market in wanted]


async def _read_all(runtime: QuotedChain, wanted: Sequence[Market], *, block: BlockRef) -> list[Ticker]:
    feeds = await _feeds(runtime, wanted, block=block)
    gate = asyncio.Semaphore(CONCURRENCY)

    async def read(market: Market) -> Ticker:
        async with gate:
            return await _read(runtime, market, feeds=feeds, block=block)

    return list(await asyncio.gather(*(read(market) for market in wanted)))


async def _read(runtime: QuotedChain, market: Market, *, feeds: Mapping[str, FeedAnswer], block: BlockRef) -> Ticker:
    probe = probe_size(market.base, feeds.get(market.base.usd_feed or ""))
    base_usd, quote_usd = feeds.get(market.base.usd_feed or ""), feeds.get(market.quote.usd_feed or "")
    reference = None if base_usd is None or quote_usd is None else (base_usd, quote_usd)
    try:
        bid = await _probe(runtime, market.base, bought=market.quote, amount=probe, exact="in", block=block)
        ask = await _probe(runtime, market.quote, bought=market.base, amount=probe, exact="out", block=block)
    except (ContractError, ChainError) as exc:
        return Ticker(market=market, probe=probe, reference=reference, problem=type(exc).__name__)
    return Ticker(market=market, probe=probe, bid=bid, ask=ask, reference=reference)


async def _probe(
    runtime: QuotedChain, sold: Asset, *, bought: Asset, amount: int, exact: Literal["in", "out"], block: BlockRef
) -> SwapQuote:
    return await best_quote(
        runtime.client,
        assets=runtime.assets,
        deployments=runtime.deployments,
        sold=sold,
        bought=bought,
        amount=amount,
        exact=exact,
        pools=runtime.pools,
        block=block,
    )


async def _feeds(runtime: QuotedChain, wanted: Sequence[Market], *, block: BlockRef) -> dict[str, FeedAnswer]:
    """USD feeds by name. A feed that does not answer is left out; its markets have no reference then."""
    contracts = runtime.deployments.contracts(runtime.config.chain_id)
    names = {asset.usd_feed for market in wanted for asset in (market.base, market.quote) if asset.usd_feed}
    found: dict[str, Address] = {name: contracts[name] for name in sorted(names) if name in contracts}
    if not found:
        return {}
    multicall = runtime.deployments.address(runtime.config.chain_id, MULTICALL3)
    addresses = list(dict.fromkeys(found.values()))
    answers = await latest_answers(runtime.client, addresses, multicall=multicall, block=block)
    return {name: answer for name, address in found.items() if (answer := answers[address]) is not None}


def probe_size(base: Asset, usd: FeedAnswer | None) -> int:
    """About `PROBE_USD` worth of base, as one digit and zeros; one whole unit where no feed says what it is worth."""
    if usd is None:
        return parse_units("1", base.decimals)
    worth = mul_div(parse_units(str(PROBE_USD), base.decimals), 10**usd.decimals, usd.answer)
    if worth <= 0:
        return 1
    digits = str(worth)
    return int(digits[0] + "0" * (len(digits) - 1))


def ticker_document(ticker: Ticker, *, now_ms: int) -> dict[str, Any]:
    """The ticker as clients see it."""
    market = ticker.market
    decimals = {"base_decimals": market.base.decimals, "quote_decimals": market.quote.decimals}
    bid, ask = ticker.bid, ticker.ask
    document: dict[str, Any] = {
        "market": market.symbol,
        "status": "ok" if ticker.problem is None else "unknown",
        "problem": ticker.problem,
        "probe": {"asset": market.base.symbol, "amount": format_units(ticker.probe, market.base.decimals)},
        "bid": None,
        "ask": None,
        "mid": None,
        "reference": None if ticker.reference is None else _reference(ticker.reference, now_ms=now_ms),
    }
    if bid is not None and ask is not None:
        document["bid"] = price_text(base_raw=bid.amount_in, quote_raw=bid.amount_out, **decimals)
        document["ask"] = price_text(base_raw=ask.amount_out, quote_raw=ask.amount_in, **decimals)
        document["mid"] = price_text(base_raw=bid.mid_price.den, quote_raw=bid.mid_price.num, **decimals)
    return document


def _reference(feeds: tuple[FeedAnswer, FeedAnswer], *, now_ms: int) -> dict[str, Any]:
    base, quote = feeds
    oldest_ms = min(base.updated_at_s, quote.updated_at_s) * 1000
    return {
        "source": "chainlink",
        "price": ratio_text(base.answer * 10**quote.decimals, quote.answer * 10**base.decimals),
        "age_ms": max(0, now_ms - oldest_ms),
    }
