"""One look at all resting orders of a chain, at the newest head.

    close what something else has written  ->  expire what is over  ->  by market: pools at the head  ->  fire stops
    ->  rule out by the best rate  ->  `trying`: quote the rest exactly, judge, execute

Guarantees: all state is in rows (what is remembered here only saves work); no order is ruled out by its rate that could
be filled inside its limit (`rates`); an order is quoted again whenever its pools have changed. The price of a stop is
the market's, as its ticker shows it, and a second opinion agrees; fired, it stays fired. Not guaranteed: that each
block is looked at, when they come faster than looks.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import structlog
from sqlalchemy import Connection

from chains.errors import ChainError
from chains.tx.leases import FencedUnitOfWork
from chains.tx.store import Clock, StaleState, UnusableRow
from chains.types import Address
from contracts.assets import Market
from contracts.errors import ContractError
from contracts.ratio import Ratio
from contracts.routing.graph import PoolGraph
from service.auth.authority import Tampered, contained
from service.auth.secrets import MasterKey
from service.errors import ApiError
from service.journal import reservations
from service.markets.guards import check_price
from service.markets.state.model import MarketView, StaleMarket, require_fresh
from service.markets.trades import Side
from service.orders import storage
from service.orders.altered import sound
from service.orders.events import emit_order
from service.orders.keeper.book import Resting, RestingBook
from service.orders.keeper.deciding import Expire, HoldBack, Why, fires, waiting
from service.orders.keeper.executing import Executor
from service.orders.keeper.looks import Candidate, Look, Looked, MarketPools
from service.orders.keeper.needs import KeeperPolicy, KeptChain
from service.orders.keeper.rates import best_rates, may_reach
from service.orders.keeper.trying import Trier
from service.orders.model import Order, OrderState
from service.orders.reasons import TIME_OVER

_log: Final = structlog.get_logger("cambist.keeper")


class Watcher:
    """The resting orders of one chain. Used by one event loop, one look at a time."""

    def __init__(self, chain: KeptChain, *, clock: Clock, master: MasterKey, policy: KeeperPolicy) -> None:
        self._chain: Final = chain
        self._clock: Final = clock
        self._policy: Final = policy
        self._master: Final = master
        self._executor: Final = Executor(chain, clock=clock, master=master, policy=policy)
        self._trier: Final = Trier(chain, self._executor, clock=clock, master=master, policy=policy)
        self._book: Final = RestingBook(chain.config.chain_id, master)
        self._pools: dict[str, MarketPools] = {}

    def forget(self) -> None:
        """Remember nothing: another process may have kept the orders meanwhile."""
        self._book.forget()
        self._pools.clear()
        self._trier.forget(())

    async def look(self, uow: FencedUnitOfWork[Connection]) -> Looked:
        """Look once. Raises: StoreUnavailable; LeaseLost: nothing more of this look is written."""
        self._book.apply(await uow.read(self._book.read_changes))
        look = Look(uow=uow, done=Looked(resting=len(self._book)))
        for order_id, why in self._book.altered.items():
            look.done.altered += await self._executor.close_altered(order_id, uow=uow, why=why)
        candidates: list[Candidate] = []
        for market, orders in (await self._due(look)).items():
            candidates += await self._candidates(look, market, orders)
        if candidates:
            await self._trier.try_all(look, candidates)
        self._trier.forget(self._book.ids)
        return look.done

    # -- private ------------------------------------------------------------------------------------------

    async def _due(self, look: Look) -> Mapping[str, list[Resting]]:
        """The orders whose price is to be looked at, by market; those whose time is over are closed."""
        now_ms = self._clock.now_ms()
        by_market: dict[str, list[Resting]] = {}
        for resting in list(self._book):
            order = resting.order
            match waiting(expires_ms=order.expires_ms, retry_after_ms=order.retry_after_ms, now_ms=now_ms):
                case Expire():
                    await self._expire(look, order)
                case HoldBack() as held:
                    look.done.held_back[held.why] += 1
                case None:
                    by_market.setdefault(order.market, []).append(resting)
        return by_market

    async def _expire(self, look: Look, order: Order) -> None:
        now_ms = self._clock.now_ms()

        def close(c: Connection) -> None:
            with contained(but=(Tampered,)):
                now = sound(c, order.id, master=self._master)
                closed = storage.close_resting(c, now, state=OrderState.EXPIRED, reason=TIME_OVER, now_ms=now_ms)
                reservations.release_order(c, order.id, now_ms)
                emit_order(c, closed, now_ms=now_ms)

        try:
            await look.uow.run(close)
        except StaleState:
            look.done.held_back[Why.CHANGED] += 1
            return
        except UnusableRow:
            look.done.held_back[Why.UNUSABLE] += 1
            return
        except Tampered:
            look.done.altered += await self._executor.close_altered(order.id, uow=look.uow)
            return
        look.done.expired += 1
        _log.info("order expired", chain=self._chain.config.key, order=order.id)

    async def _candidates(self, look: Look, symbol: str, orders: Sequence[Resting]) -> list[Candidate]:
        market = self._chain.assets.markets.get(symbol)
        listed = [] if market is None else [one for one in orders if _is_of(one.order, market)]
        look.done.held_back[Why.UNLISTED] += len(orders) - len(listed)
        if market is None or not listed:
            return []
        try:
            view = await self._chain.states.view(self._tokens(market))
            require_fresh(view, self._clock, max_block_age_s=self._policy.max_block_age_s)
            active = await self._fired(look, market, view, orders=listed)
        except (StaleMarket, ChainError, ContractError) as exc:
            # One market's contracts must not keep the others' orders.
            _log.warning("orders rest unseen", chain=self._chain.config.key, market=symbol, reason=str(exc))
            look.done.held_back[Why.STALE] += len(listed)
            return []
        pools = self._seen(market, view)
        near = [one for one in active if may_reach(one.rate, pools.rates[one.terms.side is Side.SELL])]
        candidates = [
            Candidate(
                resting=one,
                market=market,
                best=pools.rates[one.terms.side is Side.SELL],
                pools=pools,
                block=view.header.hash,
            )
            for one in near
        ]
        found = [one for one in candidates if not self._trier.is_known_outside(one)]
        look.done.held_back[Why.OUTSIDE] += len(active) - len(found)
        return found

    def _seen(self, market: Market, view: MarketView) -> MarketPools:
        """The same object for as long as the market's pools are the same."""
        known = self._pools.get(market.symbol)
        if known is None or known.pools != view.pools:
            base, quote = self._tokens(market)
            rates = best_rates(PoolGraph.of(view.pools.values()), base, quote)
            known = self._pools[market.symbol] = MarketPools(pools=view.pools, rates=rates)
        return known

    async def _fired(
        self, look: Look, market: Market, view: MarketView, *, orders: Sequence[Resting]
    ) -> Sequence[Resting]:
        """Those that wait for no stop any more. Raises: StaleMarket, ChainError."""
        stops = [one for one in orders if one.waits_for_stop]
        if not stops:
            return orders
        active = [one for one in orders if not one.waits_for_stop]
        mid = await self._mid(market)
        reached = [] if mid is None else [one for one in stops if fires(one.terms, mid)]
        look.done.held_back[Why.UNTRIGGERED] += len(stops) - len(reached)
        if not reached or mid is None:
            return active
        opinions = await self._chain.opinions.read(self._chain, market, header=view.header)
        try:
            check_price(opinions, price=mid, bounds=self._policy.bounds)
        except ApiError as exc:
            _log.warning("stops are not fired", chain=self._chain.config.key, market=market.symbol, reason=str(exc))
            look.done.held_back[Why.GUARD] += len(reached)
            return active
        for one in reached:
            fired = await self._fire(look, one.order)
            if fired is not None:
                active.append(Resting.of(fired))
        return active

    async def _mid(self, market: Market) -> Ratio | None:
        """The market's price as its ticker shows it. Raises: StaleMarket, ChainError."""
        [ticker], _ = await self._chain.board.tickers(self._chain, [market])
        if ticker.mid is not None:
            return ticker.mid
        return None if ticker.routed is None else ticker.routed.mid

    async def _fire(self, look: Look, order: Order) -> Order | None:
        """None: it was changed meanwhile."""
        now_ms = self._clock.now_ms()

        def trigger(c: Connection) -> Order:
            with contained(but=(Tampered,)):
                now = sound(c, order.id, master=self._master)
                fired = storage.trigger(c, now, master=self._master, now_ms=now_ms)
                emit_order(c, fired, now_ms=now_ms)
                return fired

        try:
            fired = await look.uow.run(trigger)
        except StaleState:
            look.done.held_back[Why.CHANGED] += 1
            return None
        except UnusableRow:
            look.done.held_back[Why.UNUSABLE] += 1
            return None
        except Tampered:
            look.done.altered += await self._executor.close_altered(order.id, uow=look.uow)
            return None
        look.done.triggered += 1
        _log.info("stop reached", chain=self._chain.config.key, order=order.id)
        return fired

    def _tokens(self, market: Market) -> tuple[Address, Address]:
        base, quote = (self._chain.assets.token_of(asset).token_address for asset in (market.base, market.quote))
        return base, quote


def _is_of(order: Order, market: Market) -> bool:
    """A symbol is a label: what was ordered are the assets."""
    return (order.base_asset, order.quote_asset) == (market.base.id, market.quote.id)
