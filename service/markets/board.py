"""What a market shows right now, worked out from the pools in memory: filters, book, ticker, pools.

    look(market) -> Look: the market's direct pools at the view's block, what one unit trades at, and its filters

Guarantees: everything of one answer is of one block; a book that is asked for again at the same block comes from
memory, of which there is a bounded amount; a tick once published stays as `service.markets.filters` says, for as long
as the process runs. Not guaranteed: the same tick in two processes between two ticks.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from chains.errors import ChainError
from chains.types import Address, BlockHash, BlockRef
from contracts.assets import Asset, Market
from contracts.chainlink import FeedAnswer, latest_answers
from contracts.deployments import MULTICALL3
from contracts.errors import AbiError, InsufficientLiquidity, TicksNotLoaded
from contracts.ratio import Ratio
from contracts.routing.model import GraphPool
from service.markets.book import MAX_LEVELS, Book, best_of, build_book, building, first_prices
from service.markets.filters import Filters, coarser, derive
from service.markets.needs import QuotedChain
from service.markets.probing import probe, probe_size
from service.markets.state.model import MarketView, StaleMarket
from service.markets.ticker import Ticker

MAX_BOOKS: Final = 256
"""Books remembered, of the newest blocks asked about: each market at a few depths."""
DEPTHS: Final = (20, 100, 500, MAX_LEVELS)
"""Books are built this deep and cut: who asks for 997 levels, then for 998, costs one book."""
MOST_LOADS: Final = 16
"""Loads of more ticks for one book."""
TRIES: Final = 3
"""All markets are looked at again when a block came between them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A market's direct pools, and what they say of its price.

    `bid`, `ask`: quote for base base units, the first unit's price with the fee, of pools that hold enough to say so
    (`book.first_prices`); None when nobody buys or sells.
    `filters` is None for a market that never had a price here.
    """

    market: Market
    pools: tuple[GraphPool, ...]
    view: MarketView
    bid: Ratio | None
    ask: Ratio | None
    filters: Filters | None

    @property
    def mid(self) -> Ratio | None:
        """The middle of bid and ask."""
        if self.bid is None or self.ask is None:
            return None
        bid, ask = self.bid, self.ask
        return Ratio.of(bid.num * ask.den + ask.num * bid.den, 2 * bid.den * ask.den)


class MarketBoard:
    """One chain's markets. Remembers published ticks and the newest books."""

    def __init__(self) -> None:
        self._filters: dict[str, Filters] = {}
        self._building = asyncio.Lock()
        """Who asks for a book that is being built waits for it."""
        self._books: OrderedDict[tuple[BlockHash, str, int, int], Book] = OrderedDict()
        self._feeds: tuple[BlockRef, dict[Address, FeedAnswer | None]] | None = None

    async def look(self, chain: QuotedChain, market: Market) -> Look:
        """The market at the newest block. Raises: StaleMarket, ChainError."""
        view = await chain.states.view(_tokens(chain, market))
        feeds = await self._answers(chain, [market.quote], block=view.header.ref)
        return self._look(chain, market, view, feeds)

    async def filters(self, chain: QuotedChain, wanted: Sequence[Market]) -> dict[str, Filters | None]:
        """By symbol; None where there is no price, or no node to ask for one, and nothing was published before."""
        for market in wanted:
            if market.symbol not in self._filters:
                with contextlib.suppress(ChainError, StaleMarket):
                    await self.look(chain, market)
        return {market.symbol: self._filters.get(market.symbol) for market in wanted}

    async def book(self, chain: QuotedChain, market: Market, *, levels: int, ticks_a_level: int) -> tuple[Book, Look]:
        """The market's book at the newest block; empty where the market has no pool.

        Raises: StaleMarket, ChainError, InsufficientLiquidity.
        """
        for _ in range(MOST_LOADS):
            look = await self.look(chain, market)
            try:
                async with self._building:
                    return await self._built(chain, look, levels=levels, ticks_a_level=ticks_a_level), look
            except TicksNotLoaded as exc:
                await chain.states.more(exc.pool, exc.word)
        raise InsufficientLiquidity("the pools' ticks are not loaded so far")

    async def tickers(self, chain: QuotedChain, wanted: Sequence[Market]) -> tuple[list[Ticker], MarketView]:
        """Tickers of these markets at one block. Raises: StaleMarket, ChainError: there is no view at all."""
        view = await chain.states.view(_tokens(chain, wanted[0]) if wanted else ())
        if not wanted:
            return [], view
        for _ in range(TRIES):
            assets = [asset for market in wanted for asset in (market.base, market.quote)]
            feeds = await self._answers(chain, assets, block=view.header.ref)
            found = [await self._ticker(chain, market, feeds) for market in wanted]
            newest = max((seen for _, seen in found), key=lambda seen: seen.checked_s)
            if all(seen.header.hash == newest.header.hash for _, seen in found):
                break
            view = newest
        return [
            ticker if seen.header.hash == newest.header.hash else Ticker(market=ticker.market, problem="block_moved")
            for ticker, seen in found
        ], newest

    async def _ticker(
        self, chain: QuotedChain, market: Market, feeds: Mapping[str, FeedAnswer | None]
    ) -> tuple[Ticker, MarketView]:
        base_usd = feeds.get(market.base.id)
        reference = _pair(base_usd, feeds.get(market.quote.id))

        def work(view: MarketView) -> tuple[Ticker, MarketView]:
            look = self._look(chain, market, view, feeds)
            if not look.pools:
                routed = probe(chain, market, view, amount=probe_size(market.base, base_usd))
                return Ticker(market=market, routed=routed, reference=reference, problem="no_pool"), view
            book = self._top(chain, look)
            problem = None if book.bids and book.asks else "no_liquidity"
            return Ticker(market=market, book=book, mid=look.mid, reference=reference, problem=problem), view

        return await chain.states.ask(_tokens(chain, market), work)

    def _look(
        self, chain: QuotedChain, market: Market, view: MarketView, feeds: Mapping[str, FeedAnswer | None]
    ) -> Look:
        base, quote = _tokens(chain, market)
        pools = tuple(pool for _, pool in sorted(view.pools.items()) if pool.key.pair == {base, quote})
        ask = best_of(first_prices(pools, quote, quote=quote).values())
        look = Look(
            market=market,
            pools=pools,
            view=view,
            bid=best_of(first_prices(pools, base, quote=quote).values()),
            ask=None if ask is None else ask.inverse,
            filters=self._filters.get(market.symbol),
        )
        if (mid := look.mid) is None:
            return look
        filters = derive(market, price=mid, quote_usd=feeds.get(market.quote.id), before=look.filters)
        self._filters[market.symbol] = filters
        return Look(market=market, pools=pools, view=view, bid=look.bid, ask=look.ask, filters=filters)

    async def _built(self, chain: QuotedChain, look: Look, *, levels: int, ticks_a_level: int) -> Book:
        """With a pause for others now and then. Raises: TicksNotLoaded."""
        if look.filters is None:
            return Book(market=look.market, filters=_NO_PRICE, bids=(), asks=())
        filters = coarser(look.filters, ticks_a_level)
        depth = next(each for each in DEPTHS if levels <= each)
        key = (look.view.header.hash, look.market.symbol, depth, filters.tick_places)
        if (found := self._books.get(key)) is None:
            routers = chain.deployments.routers(chain.config.chain_id)
            work = building(
                look.market, look.pools, assets=chain.assets, routers=routers, filters=filters, levels=depth
            )
            while found is None:
                try:
                    next(work)
                except StopIteration as done:
                    found = done.value
                else:
                    await asyncio.sleep(0)
            self._books[key] = found
            if len(self._books) > MAX_BOOKS:
                self._books.popitem(last=False)
        return found.cut(levels)

    def _top(self, chain: QuotedChain, look: Look) -> Book:
        """The first level of each side. Raises: TicksNotLoaded."""
        if look.filters is None:
            return Book(market=look.market, filters=_NO_PRICE, bids=(), asks=())
        routers = chain.deployments.routers(chain.config.chain_id)
        return build_book(look.market, look.pools, assets=chain.assets, routers=routers, filters=look.filters, levels=1)

    async def _answers(
        self, chain: QuotedChain, wanted: Sequence[Asset], *, block: BlockRef
    ) -> dict[str, FeedAnswer | None]:
        """Feeds' answers by asset id, asked once a block. A feed that does not answer is None, no more than that."""
        if self._feeds is None or self._feeds[0] != block:
            self._feeds = (block, {})
        known = self._feeds[1]
        missing = [feed for asset in wanted if (feed := _feed(chain, asset)) is not None and feed not in known]
        if missing:
            multicall = chain.deployments.address(chain.config.chain_id, MULTICALL3)
            asked = list(dict.fromkeys(missing))
            try:
                known.update(await latest_answers(chain.client, asked, multicall=multicall, block=block))
            except (ChainError, AbiError):
                # Prices are from memory: what only accompanies them must not take them away.
                return _by_asset(chain, wanted, known)
        return _by_asset(chain, wanted, known)


_NO_PRICE: Final = Filters(tick_places=0, step=1, least_quote=1, made_for=0)


def _tokens(chain: QuotedChain, market: Market) -> tuple[Address, Address]:
    base, quote = (chain.assets.token_of(asset).token_address for asset in (market.base, market.quote))
    return base, quote


def _feed(chain: QuotedChain, asset: Asset) -> Address | None:
    contracts = chain.deployments.contracts(chain.config.chain_id)
    return contracts.get(asset.usd_feed) if asset.usd_feed is not None else None


def _by_asset(
    chain: QuotedChain, wanted: Sequence[Asset], answers: Mapping[Address, FeedAnswer | None]
) -> dict[str, FeedAnswer | None]:
    return {asset.id: answers.get(feed) for asset in wanted if (feed := _feed(chain, asset)) is not None}


def _pair(base: FeedAnswer | None, quote: FeedAnswer | None) -> tuple[FeedAnswer, FeedAnswer] | None:
    return None if base is None or quote is None else (base, quote)
