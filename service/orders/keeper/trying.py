"""Orders that may be inside their limit, quoted exactly, judged and, one after the other, executed.

Many orders rest near one price, and what one of them can have is not there for the next: each is priced at the head,
and on the pools as our swaps before it will leave them, of all wallets and those of this look included. It has to be
inside its limit both ways, and carries the limits of the worse, so that orders are not sent to revert. A wallet whose
lane had work before the look waits until that is mined.

Guarantees: an order is executed at the first look at which its whole size is inside the limit in that way, its guards
pass, its lane is free, its funds are there and its transaction simulates well; what is hardly otherwise at the next
block (funds, its key's gas of the day, simulation) is put off with growing pauses, in its row. Not guaranteed: more
than `QUOTES_A_LOOK` quotes in one look; others are then first in the next.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

import structlog
from sqlalchemy import Connection

from chains.errors import ChainError, FeeCapExceeded
from chains.tx.store import Clock, StaleState, UnusableRow
from chains.types import Address, BlockHash, Fees
from contracts.errors import ContractError, QuoteError
from contracts.routing.gas import GasPricing
from contracts.routing.model import GraphPool
from contracts.swaps import Swap, decode_swap
from service.auth.authority import Tampered, contained
from service.auth.secrets import MasterKey
from service.markets.quotes import PricedTrade, price_at
from service.markets.state.model import MarketView, StaleMarket, require_fresh
from service.markets.trades import Trade
from service.orders import storage
from service.orders.altered import sound
from service.orders.backoff import retry_after_ms
from service.orders.events import emit_order
from service.orders.keeper import moving
from service.orders.keeper.book import Resting, busy_wallets, on_its_way
from service.orders.keeper.deciding import Execute, HoldBack, Rest, Why, judge
from service.orders.keeper.executing import Executor, Sent
from service.orders.keeper.looks import Candidate, Look, MarketPools
from service.orders.keeper.needs import KeeperPolicy, KeptChain
from service.orders.model import Order
from service.orders.pricing import offer_of
from service.plans.funds import BalanceUnknown

QUOTES_A_LOOK: Final = 500
"""A second of exact quotes: more than ever are near the price, unless somebody makes a pool that promises the moon."""
PUT_OFF: Final = frozenset({Why.FUNDS, Why.BUDGET, Why.SIMULATION})
"""What is hardly otherwise at the next head, and costs node calls to find out."""

_PARTS: Final = 1_000_000
_log: Final = structlog.get_logger("cambist.keeper")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """What an exact look at an order says, and of which view; `priced` is what an `Execute` is of."""

    decision: Execute | Rest | HoldBack
    view: MarketView
    priced: PricedTrade | None = None
    by_head: bool = False
    """The head's pools alone rule it out."""


class _Ours:
    """Our swaps that are on their way, and what they make of pools."""

    def __init__(self, chain: KeptChain, swaps: list[Swap]) -> None:
        self._chain: Final = chain
        self._swaps: Final = swaps
        self._made: tuple[Mapping[Address, GraphPool], int, Mapping[Address, GraphPool]] | None = None

    def add(self, sent: Sent) -> None:
        swap = decode_swap(sent.swap.call, deployments=self._chain.deployments, assets=self._chain.assets)
        self._swaps.append(swap)

    def after(self, pools: Mapping[Address, GraphPool]) -> Mapping[Address, GraphPool]:
        """The pools after them; the same mapping where they touch none of it. Raises: TicksNotLoaded."""
        made = self._made
        if made is None or made[0] is not pools or made[1] != len(self._swaps):
            moved = moving.after(pools, self._swaps, deployments=self._chain.deployments)
            made = self._made = (pools, len(self._swaps), moved)
        return made[2]


class Trier:
    """Used by one event loop, one look at a time."""

    def __init__(
        self, chain: KeptChain, executor: Executor, *, clock: Clock, master: MasterKey, policy: KeeperPolicy
    ) -> None:
        self._chain: Final = chain
        self._executor: Final = executor
        self._clock: Final = clock
        self._master: Final = master
        self._policy: Final = policy
        self._outside: dict[int, tuple[Resting, MarketPools, BlockHash | None]] = {}
        """Orders that the pools put outside their limit; where gas counts, at that block."""
        self._refusals: Counter[int] = Counter()
        """How often in a row an order was put off."""
        self._begin = 0
        """Where a look begins that has more candidates than quotes."""

    def forget(self, kept: Collection[int]) -> None:
        """Remember nothing of orders that are not among these."""
        self._outside = {key: found for key, found in self._outside.items() if key in kept}
        self._refusals = Counter({key: count for key, count in self._refusals.items() if key in kept})

    def is_known_outside(self, one: Candidate) -> bool:
        """Whether it was quoted outside its limit at these very pools."""
        found = self._outside.get(one.resting.order.id)
        if found is None or found[0] is not one.resting or found[1] is not one.pools:
            return False
        return found[2] is None or found[2] == one.block

    async def try_all(self, look: Look, candidates: list[Candidate]) -> None:
        """The most generous limit first, of equal ones the oldest: as an exchange has it."""
        candidates = sorted(candidates, key=lambda one: (one.resting.rate * _PARTS // one.best, one.resting.order.id))
        if len(candidates) > QUOTES_A_LOOK:
            begin = self._begin % len(candidates)
            candidates = candidates[begin:] + candidates[:begin]
            self._begin = begin + QUOTES_A_LOOK
        ours, busy = await self._on_their_way(look)
        for at, one in enumerate(candidates[:QUOTES_A_LOOK]):
            if one.resting.order.wallet_id in busy:
                look.done.held_back[Why.LANE] += 1
                continue
            try:
                held = await self._try(look, one, ours)
            except (StaleMarket, ChainError, BalanceUnknown) as exc:
                _log.warning("orders wait", chain=self._chain.config.key, reason=str(exc))
                why = Why.FEES if isinstance(exc, FeeCapExceeded) else Why.STALE
                look.done.held_back[why] += len(candidates) - at
                return
            except ContractError as exc:
                # Of this order alone: it must not keep the others.
                held = Why.SIMULATION
                await self._put_off(look, one.resting.order, HoldBack(why=held, detail=str(exc)))
            if held is None:
                look.done.executed += 1
            elif held is Why.ALTERED:
                look.done.altered += 1
            else:
                look.done.held_back[held] += 1

    # -- private ------------------------------------------------------------------------------------------

    async def _on_their_way(self, look: Look) -> tuple[_Ours, frozenset[int]]:
        """Our swaps, and the wallets whose lanes have work, before this look adds to them."""
        chain, head = self._chain, self._chain.states.figures().head or 0

        def read(c: Connection) -> tuple[list[Swap], frozenset[int]]:
            chain_id = chain.config.chain_id
            swaps = on_its_way(c, chain_id, above=head, assets=chain.assets, deployments=chain.deployments)
            return swaps, busy_wallets(c, chain_id)

        swaps, busy = await look.uow.read(read)
        return _Ours(chain, swaps), busy

    async def _try(self, look: Look, one: Candidate, ours: _Ours) -> Why | None:
        """None: it is on its way. Raises: StaleMarket, ChainError, BalanceUnknown: the node did not answer."""
        order = one.resting.order
        look.done.quoted += 1
        judged = await self._judged(one, ours)
        if judged.by_head and judged.view.header.hash == one.block:
            self._outside[order.id] = (one.resting, one.pools, one.block if one.resting.terms.counts_gas else None)
        if not isinstance(judged.decision, Execute) or judged.priced is None:
            return judged.decision.why if isinstance(judged.decision, HoldBack | Rest) else Why.OUTSIDE
        sent = await self._executor.execute(order, replace(judged.priced, limits=judged.decision.limits), uow=look.uow)
        if isinstance(sent, HoldBack):
            _log.info(
                "order held back", chain=self._chain.config.key, order=order.id, why=sent.why.value, detail=sent.detail
            )
            if sent.why in PUT_OFF:
                await self._put_off(look, order, sent)
            return sent.why
        self._refusals.pop(order.id, None)
        ours.add(sent)
        _log.info("order triggered", chain=self._chain.config.key, order=order.id, plan=sent.order.plan_id)
        return None

    async def _judged(self, one: Candidate, ours: _Ours) -> _Judged:
        chain, order, market = self._chain, one.resting.order, one.market
        tokens = [chain.assets.token_of(asset).token_address for asset in (market.base, market.quote)]
        trade = Trade(
            market=market,
            side=order.side,
            base_amount=order.base_amount,
            quote_amount=order.quote_amount,
            venue=order.venue,
        )
        view = await chain.states.view(tokens)
        require_fresh(view, self._clock, max_block_age_s=self._policy.max_block_age_s)
        fees = await chain.fees.suggested(chain.client, block=view.block)
        return await chain.states.ask(tokens, lambda view: self._judged_at(one, ours, trade, view=view, fees=fees))

    def _judged_at(self, one: Candidate, ours: _Ours, trade: Trade, *, view: MarketView, fees: Fees) -> _Judged:
        found = self._judged_by(one, ours, trade, view=view, fees=fees, routed_by=None)
        if one.resting.terms.counts_gas or not isinstance(found.decision, Rest):
            return found
        # Who does not count gas may have a dearer way that pays more.
        free = GasPricing.free()
        again = self._judged_by(one, ours, trade, view=view, fees=fees, routed_by=free)
        return replace(again, by_head=found.by_head and again.by_head)

    def _judged_by(
        self,
        one: Candidate,
        ours: _Ours,
        trade: Trade,
        *,
        view: MarketView,
        fees: Fees,
        routed_by: GasPricing | None,
    ) -> _Judged:
        terms, slippage_bps = one.resting.terms, one.resting.order.slippage_bps

        def price(at: MarketView) -> PricedTrade:
            return price_at(self._chain, trade, at, fees=fees, slippage_bps=slippage_bps, routed_by=routed_by)

        try:
            found = [price(view)]
        except QuoteError:
            return _Judged(decision=Rest(why=Why.NO_ROUTE), view=view, by_head=True)
        at_head = judge(terms, [offer_of(found[0])])
        if not isinstance(at_head, Execute):
            return _Judged(decision=at_head, view=view, by_head=isinstance(at_head, Rest))
        pools = ours.after(view.pools)
        if pools is not view.pools:
            try:
                found.append(price(replace(view, pools=pools)))
            except QuoteError:
                return _Judged(decision=Rest(why=Why.NO_ROUTE), view=view)
        decision = judge(terms, [offer_of(priced) for priced in found])
        priced = found[decision.offer] if isinstance(decision, Execute) else None
        return _Judged(decision=decision, view=view, priced=priced)

    async def _put_off(self, look: Look, order: Order, held: HoldBack) -> None:
        self._refusals[order.id] += 1
        now_ms = self._clock.now_ms()
        again_ms = retry_after_ms(tries=self._refusals[order.id], now_ms=now_ms, signed_until_ms=None)

        def write(c: Connection) -> None:
            why = f"{held.why}: {held.detail}"
            with contained(but=(Tampered,)):
                now = sound(c, order.id, master=self._master)
                put_off = storage.put_off(
                    c, now, retry_after_ms=again_ms, reason=why, master=self._master, now_ms=now_ms
                )
                emit_order(c, put_off, now_ms=now_ms)

        try:
            await look.uow.run(write)
        except (StaleState, UnusableRow) as exc:
            _log.info("order is not put off", chain=self._chain.config.key, order=order.id, reason=str(exc))
        except Tampered:
            look.done.altered += await self._executor.close_altered(order.id, uow=look.uow)
