"""How each hot read is answered: the framework's documents, from the same functions, with less on the way.

Each method answers the bytes of a 200, or None where the framework shall answer (a parameter that is not in its plain
form). What a route raises, its method raises.

Its `..._at_hand` takes what was asked for once and gives what answers the same, for a wallet and from memory alone:
None where there is nothing in memory that may be answered now, or where the method would raise (`lane`).
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from chains.types import Address, Header
from contracts.assets import Asset, Market
from service.auth.callers import Caller
from service.auth.session_caller import SessionCaller
from service.balances.reading import MAX_HEAD_AGE_S, read_balances
from service.balances.schemas import balances_answer
from service.build import ChainRuntime, Services
from service.errors import ApiError
from service.hot.memory import Memory
from service.markets.book import MAX_LEVELS
from service.markets.documents import depth_document
from service.markets.history.days import day_documents
from service.markets.listing import block_of
from service.markets.lookup import chain_named, market_named
from service.markets.quotes import block_document
from service.markets.schemas import DepthOut
from service.markets.state.model import MarketView
from service.markets.ticker import ticker_document
from service.markets.ticker_schemas import TickerOut
from service.orders.routes import MAX_ID, read_order_page

MAX_TICKERS: Final = 512
MAX_SAID: Final = 512
MAX_DEPTHS: Final = 256
MAX_BALANCES: Final = 2_000
MAX_ORDERS: Final = 10_000
"""Each some 1 to 50 KB."""
MAX_DIGITS: Final = 16
MAX_MARKET_CHARS: Final = 48
"""As the route has it; a longer one is refused there."""
AGGREGATES: Final = frozenset({"1", "10", "100", "1000"})
_PING: Final = b'{"status":"ok"}'

BalanceParts = tuple[Header, bytes, bytes]
"""The block, and the document up to it and from it on."""
DepthKey = tuple[str, str, int, str]
TickerParts = tuple[MarketView, int, list[dict[str, Any]]]
"""Their block, when they were made, and the documents."""


AtHand = Callable[[int, int], bytes | None]
"""The body for a wallet's key, at that time in milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """`parts`: of the path, by their names in the template. `caller` None on a public path."""

    parts: Mapping[str, str]
    query: Mapping[str, str]
    caller: Caller | SessionCaller | None


class HotReads:
    """Used by one event loop."""

    def __init__(self, services: Services) -> None:
        self._services: Final = services
        self._tickers: Final[Memory[TickerParts]] = Memory(MAX_TICKERS)
        self._depths: Final[Memory[bytes]] = Memory(MAX_DEPTHS)
        self._balances: Final[Memory[BalanceParts]] = Memory(MAX_BALANCES)
        self._orders: Final[Memory[bytes]] = Memory(MAX_ORDERS)
        self._said: Final[Memory[bytes]] = Memory(MAX_SAID)
        """Whole answers of market data: ages are by the millisecond, and many ask within one."""
        self._making: Final = asyncio.Lock()

    async def ping(self, asked: Asked) -> bytes:
        return _PING

    async def time(self, asked: Asked) -> bytes:
        return b'{"server_time_ms":%d}' % self._services.clock.now_ms()

    async def ticker(self, asked: Asked) -> bytes | None:
        services, symbol = self._services, asked.query.get("market")
        if symbol is not None and len(symbol) > MAX_MARKET_CHARS:
            return None
        runtime = chain_named(services, asked.parts["chain"])
        wanted = list(runtime.assets.markets.values()) if symbol is None else [market_named(runtime, symbol)]
        if not wanted:
            return None
        now_ms = services.clock.now_ms()
        view = await runtime.states.view(_tokens(runtime, wanted[0].base, wanted[0].quote))
        token = (view.header.hash, view.checked_ms, now_ms // 1_000)
        key = (runtime.config.key, symbol)
        if (said := self._tickers_said(key, view, now_ms)) is not None:
            return said
        async with self._making:
            # All who came meanwhile wait for the first.
            made = self._tickers.get(key, token) or await self._tickers_now(runtime, wanted, key, now_ms)
        return self._say_tickers(key, token, made, now_ms=now_ms)

    def ticker_at_hand(self, parts: Mapping[str, str], query: Mapping[str, str]) -> AtHand | None:
        symbol = query.get("market")
        runtime = self._active(parts["chain"])
        market = None if runtime is None or symbol is None else runtime.assets.markets.get(symbol)
        if runtime is None or symbol is None or market is None or len(symbol) > MAX_MARKET_CHARS:
            return None
        key, states = (runtime.config.key, symbol), runtime.states
        tokens = frozenset(_tokens(runtime, market.base, market.quote))

        def answer(_: int, now_ms: int) -> bytes | None:
            view = states.view_at_hand(tokens)
            return None if view is None else self._tickers_said(key, view, now_ms)

        return answer

    def _tickers_said(self, key: tuple[str, str | None], view: MarketView, now_ms: int) -> bytes | None:
        token = (view.header.hash, view.checked_ms, now_ms // 1_000)
        if (said := self._said.get(("ticker", key), (token, now_ms))) is not None:
            return said
        made = self._tickers.get(key, token)
        return None if made is None else self._say_tickers(key, token, made, now_ms=now_ms)

    def _say_tickers(
        self, key: tuple[str, str | None], token: tuple[str, int, int], made: TickerParts, *, now_ms: int
    ) -> bytes:
        runtime_key, _ = key
        seen, made_ms, tickers = made
        said = orjson.dumps(
            {
                "chain": runtime_key,
                "block": block_document(seen.header, now_ms),
                "checked_ms": seen.checked_ms,
                "tickers": [_aged(one, by_ms=now_ms - made_ms) for one in tickers],
            }
        )
        self._said.put(("ticker", key), (token, now_ms), said)
        return said

    async def _tickers_now(
        self, runtime: ChainRuntime, wanted: list[Market], key: tuple[str, str | None], now_ms: int
    ) -> TickerParts:
        found, seen = await runtime.board.tickers(runtime, wanted)
        days = await self._services.db.read(lambda c: day_documents(c, runtime.assets, wanted, now_ms=now_ms))
        rows = [ticker_document(one, day=days[one.market.symbol], now_ms=now_ms) for one in found]
        made = (seen, now_ms, [TickerOut.model_validate(row).model_dump(mode="json") for row in rows])
        self._tickers.put(key, (seen.header.hash, seen.checked_ms, now_ms // 1_000), made)
        return made

    async def depth(self, asked: Asked) -> bytes | None:
        symbol, limit = asked.query.get("market"), _plain(asked.query.get("limit", "100"), most=MAX_LEVELS)
        aggregate = asked.query.get("aggregate", "1")
        if symbol is None or len(symbol) > MAX_MARKET_CHARS or limit is None or aggregate not in AGGREGATES:
            return None
        runtime = chain_named(self._services, asked.parts["chain"])
        market = market_named(runtime, symbol)
        key = (runtime.config.key, symbol, limit, aggregate)
        now_ms = self._services.clock.now_ms()
        view = await runtime.states.view(_tokens(runtime, market.base, market.quote))
        said = self._depth_said(key, view, now_ms)
        if said is None:
            book, look = await runtime.board.book(runtime, market, levels=limit, ticks_a_level=int(aggregate))
            if not look.pools:
                raise ApiError("no_route", f"{symbol} has no pool of its own; a quote may still find a way")
            made = DepthOut.model_validate(depth_document(runtime, book, look=look, now_ms=0))
            # The last two fields come with each answer: how old the block is changes by the millisecond.
            rest = made.model_dump(mode="json", exclude={"block", "checked_ms"})
            view, begins = look.view, orjson.dumps(rest)[:-1]
            self._depths.put(key, view.header.hash, begins)
            said = self._say_depth(key, view, begins, now_ms=now_ms)
        return said

    def depth_at_hand(self, parts: Mapping[str, str], query: Mapping[str, str]) -> AtHand | None:
        symbol, limit = query.get("market", ""), _plain(query.get("limit", "100"), most=MAX_LEVELS)
        aggregate, runtime = query.get("aggregate", "1"), self._active(parts["chain"])
        market = None if runtime is None else runtime.assets.markets.get(symbol)
        if runtime is None or market is None or limit is None or aggregate not in AGGREGATES:
            return None
        if len(symbol) > MAX_MARKET_CHARS:
            return None
        key, states = (runtime.config.key, symbol, limit, aggregate), runtime.states
        tokens = frozenset(_tokens(runtime, market.base, market.quote))

        def answer(_: int, now_ms: int) -> bytes | None:
            view = states.view_at_hand(tokens)
            return None if view is None else self._depth_said(key, view, now_ms)

        return answer

    def _depth_said(self, key: DepthKey, view: MarketView, now_ms: int) -> bytes | None:
        said = self._said.get(("depth", key), (view.header.hash, view.checked_ms, now_ms))
        if said is not None:
            return said
        begins = self._depths.get(key, view.header.hash)
        return None if begins is None else self._say_depth(key, view, begins, now_ms=now_ms)

    def _say_depth(self, key: DepthKey, view: MarketView, begins: bytes, *, now_ms: int) -> bytes:
        block = orjson.dumps(block_document(view.header, now_ms))
        said = b'%b,"block":%b,"checked_ms":%d}' % (begins, block, view.checked_ms)
        self._said.put(("depth", key), (view.header.hash, view.checked_ms, now_ms), said)
        return said

    async def balances(self, asked: Asked) -> bytes | None:
        services, caller = self._services, asked.caller
        if not isinstance(caller, Caller):
            return None
        runtime = chain_named(services, asked.parts["chain"])
        key = (caller.wallet.id, runtime.config.key)
        stamp, made = self._stamp(), self._balances_made(key, runtime)
        if made is None:
            found = await read_balances(services, caller.wallet, chain=runtime.config.key)
            answer = balances_answer(
                found, chain=runtime.config.key, wallet=caller.wallet.address, block=block_of(found.block, now_ms=0)
            )
            rows = [row.model_dump(mode="json") for row in answer.balances]
            made = (
                found.block,
                b'{"chain":%b,"wallet":%b,"block":' % (orjson.dumps(answer.chain), orjson.dumps(answer.wallet)),
                b',"balances":%b}' % orjson.dumps(rows),
            )
            if stamp is not None and self._unchanged(stamp):
                self._balances.put(key, (stamp, found.block.hash), made)
        return _say_balances(made, self._services.clock.now_ms())

    def balances_at_hand(self, parts: Mapping[str, str], _: Mapping[str, str]) -> AtHand | None:
        if (runtime := self._active(parts["chain"])) is None:
            return None
        chain, active = runtime.config.key, runtime

        def answer(wallet_id: int, now_ms: int) -> bytes | None:
            made = self._balances_made((wallet_id, chain), active)
            return None if made is None else _say_balances(made, now_ms)

        return answer

    def _balances_made(self, key: tuple[int, str], runtime: ChainRuntime) -> BalanceParts | None:
        stamp, head = self._stamp(), runtime.recent_head.within(MAX_HEAD_AGE_S)
        return None if head is None or stamp is None else self._balances.get(key, (stamp, head.hash))

    async def order(self, asked: Asked) -> bytes | None:
        caller, order_id = asked.caller, _plain(asked.parts["order_id"], most=MAX_ID)
        if not isinstance(caller, Caller) or order_id is None:
            return None
        stamp = self._stamp()
        key = (caller.wallet.id, order_id)
        body = self._orders.get(key, stamp)
        if body is None:
            page = await read_order_page(self._services, order_id, wallet_id=caller.wallet.id)
            body = page.model_dump_json().encode()
            if stamp is not None and self._unchanged(stamp):
                self._orders.put(key, stamp, body)
        return body

    def order_at_hand(self, parts: Mapping[str, str], _: Mapping[str, str]) -> AtHand | None:
        order_id = _plain(parts["order_id"], most=MAX_ID)
        return None if order_id is None else lambda wallet_id, _: self._orders.get((wallet_id, order_id), self._stamp())

    def _active(self, name: str) -> ChainRuntime | None:
        try:
            return chain_named(self._services, name)
        except ApiError:
            return None

    def _stamp(self) -> int | None:
        """Of the database, before a read; None where what is read may not be remembered."""
        return self._services.db.changes.stamp() if self._services.db.is_exclusive else None

    def _unchanged(self, stamp: int) -> bool:
        return self._services.db.changes.unchanged_since(stamp)


def _say_balances(made: BalanceParts, now_ms: int) -> bytes:
    block, begins, ends = made
    return begins + orjson.dumps(block_document(block, now_ms)) + ends


def _aged(ticker: dict[str, Any], *, by_ms: int) -> dict[str, Any]:
    """The document as it is so much later: the feed's answer is older."""
    reference = ticker["reference"]
    return (
        ticker if reference is None else {**ticker, "reference": {**reference, "age_ms": reference["age_ms"] + by_ms}}
    )


def _plain(text: str, *, most: int) -> int | None:
    """A number from 1 to `most` as everybody writes it; what the framework makes of others is its own business."""
    if not text.isascii() or not text.isdecimal() or text[0] == "0" or len(text) > MAX_DIGITS:
        return None
    number = int(text)
    return number if number <= most else None


def _tokens(chain: ChainRuntime, base: Asset, quote: Asset) -> tuple[Address, Address]:
    return chain.assets.token_of(base).token_address, chain.assets.token_of(quote).token_address
