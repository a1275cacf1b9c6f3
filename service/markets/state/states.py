"""A chain's liquidity pools in memory, equal to the chain at its newest block, for whoever asks for a price.

    view(tokens)   look at the head (one look for all who ask) -> apply new blocks' logs -> load what is missing -> view
    ask(tokens, f) the same, f over the view; more of a pool's ticks are loaded where f runs out of them
    run(stop)      the same looks in a loop while somebody asks, unused pools dropped, one random pool checked at times

Guarantees:
- a view is of one block, by its hash, and that block was the node's head at `checked_ms`; blocks that leave the chain
  are taken back, exactly; a gap, a reorg deeper than `held.KEPT_BLOCKS` and any doubt give everything up, and what is
  asked for next is loaded anew;
- pools come from the pinned factories only; one whose logs do not fit, or that a check finds different, is loaded anew;
- bounded: `MAX_POOLS` pools, those longest not asked for go first, `UNUSED_FOR_S` at the latest; nobody asks for
  `IDLE_AFTER_S`: no node call at all until somebody does;
- with a look recent enough a view is a look-up in a dict (some microseconds); the node down: views of the last
  confirmed head for `USABLE_FOR_S`, then `StaleMarket`.

Not guaranteed: that the node told all logs of a block; what it left out is found by the checks, not at once. A pool
that is made in a gap is noticed within `contracts.pools.ABSENT_FOR_BLOCKS`. Tokens that tax transfers or are paused.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import combinations
from types import MappingProxyType
from typing import Final, TypeVar

import structlog

from chains.client import EvmClient
from chains.config import ChainConfig
from chains.errors import ChainError, RpcError
from chains.recent import NotingClient, RecentHead
from chains.tx.store import Clock
from chains.types import Address, Header
from contracts.assets import AssetList
from contracts.deployments import MULTICALL3, Deployments
from contracts.errors import InconsistentPool, InsufficientLiquidity, TicksNotLoaded
from contracts.pools import PoolDirectory, PoolKey, discover, pool_keys
from contracts.routing.model import GraphPool
from contracts.uniswap_v3.pool import V3Pool
from service.markets.state.counted import CountedCalls
from service.markets.state.following import Follower
from service.markets.state.loading import Difference, PoolLoader, price_is_covered
from service.markets.state.model import USABLE_FOR_S, MarketView, StaleMarket, StateFigures

T = TypeVar("T")

LOOK_WITHIN_S: Final = 1.0
"""A view's head was looked at so recently, or within a quarter of the block time where that is less."""
LOOK_TIMEOUT_S: Final = 4.0
"""A look that takes longer has failed; who asked gets the last view."""
IDLE_AFTER_S: Final = 60.0
"""Nobody asked for so long: the loop leaves the node alone."""
UNUSED_FOR_S: Final = 600.0
"""A pool that no view had for so long is dropped."""
CHECK_EVERY_S: Final = 30.0
"""A random pool is compared with the chain: three node calls."""
MAX_POOLS: Final = 512
"""Held at once. A V3 pool takes some 10 to 300 KB with the blocks that can be taken back."""
MAX_TOKENS: Final = 24
"""In one view, connectors included: 276 pairs, some 1,400 possible pools, asked of the factories in three calls."""
FAILED_FOR_BLOCKS: Final = 20
"""A pool that could not be read is tried again after so many."""
MOST_STEPS: Final = 48
"""Loads of more ticks for one `ask`, each of one pool in one direction: all are there after one at a spacing of 60,
four at 10, eight at 1. An absurd amount walks through many pools; what is loaded stays."""
TURN_S: Final = 15.0
"""The idle loop shows a sign of life this often."""
SLOWEST_S: Final = 10.0
"""Between two looks of the loop while the node gives none."""

_log: Final = structlog.get_logger("cambist.markets")


class PoolStates:
    """The pools of one chain. Used by one event loop."""

    def __init__(
        self,
        client: EvmClient,
        *,
        assets: AssetList,
        deployments: Deployments,
        directory: PoolDirectory,
        recent: RecentHead,
        clock: Clock,
        extra_fees: Collection[int] = (),
        rng: random.Random | None = None,
    ) -> None:
        """`extra_fees`: V3 fee tiers in pips to look for beside the usual ones."""
        self._config: Final[ChainConfig] = client.config
        self._assets: Final = assets
        self._deployments: Final = deployments
        self._directory: Final = directory
        self._clock: Final = clock
        self._extra_fees: Final = tuple(extra_fees)
        self._rng: Final = rng or random.Random()
        self._calls: Final = CountedCalls(client.transport)
        self._client: Final = NotingClient(client.config, self._calls, recent=recent, clock=clock)
        multicall = deployments.address(client.config.chain_id, MULTICALL3)
        self._loader: Final = PoolLoader(self._client, multicall=multicall)
        venues = deployments.venues(client.config.chain_id)
        self._follower: Final = Follower(
            self._client,
            directory=directory,
            factories={one.factory: one.venue for one in venues},
            recent=recent,
            clock=clock,
        )
        self._within_s: Final = min(LOOK_WITHIN_S, client.config.block_time_ms / 4000)
        self._turn: Final = asyncio.Lock()
        self._demand: Final = asyncio.Event()
        self._asked_s: float | None = None
        self._tried_s: float | None = None
        """When the last look began, whatever came of it."""
        self._views: Final[dict[frozenset[Address], MarketView]] = {}
        """Made since the head was last confirmed."""
        self._keys: Final[dict[frozenset[Address], tuple[PoolKey, ...]]] = {}
        self._used_s: Final[dict[Address, float]] = {}
        self._failed: Final[dict[Address, int]] = {}
        """Block at which a pool could not be read."""
        self._loads = 0
        self._checks = 0
        self._disagreements = 0
        self._failed_looks = 0

    # -- what callers use ---------------------------------------------------------------------------------

    async def view(self, tokens: Iterable[Address], *, max_age_s: float | None = None) -> MarketView:
        """The pools between any two of the tokens and the connectors, at the node's newest head.

        `max_age_s`: how long ago that head may have been looked at; 0 for a look that begins now.

        Raises:
            StaleMarket: the node confirms no head, and the last one it did is too old.
            ChainError: a pool that is not held yet could not be read.
            ValueError: more than `MAX_TOKENS` tokens.
        """
        wanted = frozenset(tokens)
        if (found := self.view_at_hand(wanted, max_age_s=max_age_s)) is not None:
            return found
        oldest_s = self._clock.monotonic_s() - (self._within_s if max_age_s is None else max_age_s)
        async with self._turn:
            return await self._view(wanted, oldest_s=oldest_s)

    def view_at_hand(self, tokens: frozenset[Address], *, max_age_s: float | None = None) -> MarketView | None:
        """What `view` answers, where it has not to wait for it."""
        now_s = self._clock.monotonic_s()
        self._asked_s = now_s
        self._demand.set()
        found = self._views.get(tokens)
        oldest_s = now_s - (self._within_s if max_age_s is None else max_age_s)
        return found if found is not None and found.checked_s >= oldest_s else None

    async def ask(
        self, tokens: Iterable[Address], work: Callable[[MarketView], T], *, max_age_s: float | None = None
    ) -> T:
        """What `work` makes of the view; where it runs out of a pool's ticks, more are loaded and it is asked again.

        Raises: as `view`; what `work` raises; InsufficientLiquidity: after `MOST_STEPS` it is not there yet.
        """
        wanted = frozenset(tokens)
        for _ in range(MOST_STEPS):
            view = await self.view(wanted, max_age_s=max_age_s)
            try:
                return work(view)
            except TicksNotLoaded as exc:
                await self.more(exc.pool, exc.word)
        raise InsufficientLiquidity("the amount goes beyond all prices that are looked at")

    async def more(self, pool: Address, word: int) -> None:
        """Load more of a pool's ticks, towards this word of its bitmap. Views after this have them.

        Raises: ChainError: the node did not answer.
        """
        async with self._turn:
            tip, held = self._follower.held.tip, self._follower.held.get(pool)
            if tip is None or held is None:
                return
            try:
                wider = await self._loader.widened(held, word, block=tip)
            except InconsistentPool as exc:
                # What is held and what is there do not belong together: it is loaded anew.
                _log.error("pool's ticks do not fit", chain=self._config.key, pool=pool, reason=str(exc))
                self._drop([pool])
                return
            self._follower.held.widen(wider)
            self._views.clear()

    async def check(self, pools: Collection[Address] | None = None) -> list[Difference]:
        """Compare pools (all that are held, by default) with the chain at their block. Where one differs, everything
        is given up: what hid one pool's log may have hidden others'.

        Raises: ChainError: the chain could not be asked, or the block has left it.
        """
        held, tip = self._follower.held, self._follower.held.tip
        asked = [pool for address in (held if pools is None else pools) if (pool := held.get(address)) is not None]
        if tip is None or not asked:
            return []
        found = await self._loader.differences(asked, block=tip)
        self._checks += len(asked)
        if found:
            self._disagreements += len(found)
            for difference in found:
                _log.error("pool disagrees with the chain", chain=self._config.key, difference=str(difference))
            async with self._turn:
                self._follower.give_up()
                self._views.clear()
        return found

    async def run(self, stop: asyncio.Event, beat: Callable[[], None] = lambda: None) -> None:
        """Keep what is asked for current until `stop`; `beat` is called at every turn."""
        checked_s = self._clock.monotonic_s()
        pause_s = period_s = 0.75 * self._within_s
        while not stop.is_set():
            beat()
            now_s = self._clock.monotonic_s()
            if self._asked_s is None or now_s - self._asked_s > IDLE_AFTER_S:
                self._demand.clear()
                await _either(self._demand, stop, within_s=TURN_S)
                continue
            async with self._turn:
                if self._follower.notice():
                    self._views.clear()
                looked = await self._look() if self._confirmed_before(now_s) else True
                self._drop_unused(now_s)
            pause_s = period_s if looked else min(SLOWEST_S, 2 * pause_s)
            if looked and now_s - checked_s >= CHECK_EVERY_S and self._follower.held:
                checked_s = now_s
                with contextlib.suppress(ChainError):  # the next one will tell
                    await self.check([self._rng.choice(tuple(self._follower.held))])
            await _either(stop, within_s=pause_s)

    def figures(self) -> StateFigures:
        follower = self._follower
        confirmed_s = follower.confirmed_s
        return StateFigures(
            pools=len(follower.held),
            head=None if follower.held.tip is None else follower.held.tip.number,
            confirmed_ago_s=None if confirmed_s is None else self._clock.monotonic_s() - confirmed_s,
            node_calls=self._calls.made,
            blocks=follower.applied,
            removed=follower.removed,
            loads=self._loads,
            restarts=follower.restarts,
            inconsistent=follower.inconsistent,
            checks=self._checks,
            disagreements=self._disagreements,
            failed_looks=self._failed_looks,
        )

    # -- private ------------------------------------------------------------------------------------------

    async def _view(self, wanted: frozenset[Address], *, oldest_s: float) -> MarketView:
        """With the turn taken."""
        follower = self._follower
        if self._confirmed_before(oldest_s) and follower.notice():
            self._views.clear()
        if self._confirmed_before(oldest_s) and (self._tried_s is None or self._tried_s < oldest_s):
            await self._look()
        try:
            return await self._held_view(wanted)
        except RpcError:
            # The block may have left the chain since: nodes refuse calls at such.
            at = follower.header
            await self._look()
            if follower.header == at:
                raise
        return await self._held_view(wanted)

    async def _held_view(self, wanted: frozenset[Address]) -> MarketView:
        follower = self._follower
        confirmed_s, header = follower.confirmed_s, follower.header
        age_s = None if confirmed_s is None else self._clock.monotonic_s() - confirmed_s
        if header is None or confirmed_s is None or age_s is None or age_s > USABLE_FOR_S:
            age_ms = None if age_s is None else int(age_s * 1000)
            raise StaleMarket(self._config.chain_id, "the node does not give its head", age_ms=age_ms)
        found = self._views.get(wanted)
        if found is None:
            found = self._views[wanted] = MarketView(
                chain_id=self._config.chain_id,
                header=header,
                checked_ms=follower.confirmed_ms,
                checked_s=confirmed_s,
                pools=MappingProxyType(await self._pools(wanted, header)),
            )
        return found

    def _confirmed_before(self, at_s: float) -> bool:
        return self._follower.confirmed_s is None or self._follower.confirmed_s < at_s

    async def _look(self) -> bool:
        """Whether the node confirmed its head. With the turn taken."""
        self._tried_s = self._clock.monotonic_s()
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                looked = await self._follower.look()
        except (RpcError, TimeoutError) as exc:
            self._failed_looks += 1
            _log.warning("no head", chain=self._config.key, reason=str(exc) or "no answer in time")
            looked = False
        if looked:
            self._views.clear()
        return looked

    async def _pools(self, wanted: frozenset[Address], header: Header) -> dict[Address, GraphPool]:
        """The pools between these tokens, those that are missing loaded at the header's block, which is the tip."""
        keys, held, now_s = self._keys_of(wanted), self._follower.held, self._clock.monotonic_s()
        await discover(self._client, self._directory, deployments=self._deployments, keys=keys, block=header.ref)
        found = {address: key for key in keys if (address := self._directory.address(key)) is not None}
        if missing := {address: key for address, key in found.items() if self._is_missing(address, header.number)}:
            self._make_room(len(missing), kept=found)
            loaded = await self._loader.load(missing, block=header.ref)
            held.put(loaded.pools)
            self._loads += len(loaded.pools)
            for read in loaded.pools:
                self._failed.pop(read.address, None)
            for address, reason in loaded.failed.items():
                self._failed[address] = header.number
                _log.warning("pool cannot be read", chain=self._config.key, pool=address, reason=reason)
        self._used_s.update(dict.fromkeys(found, now_s))
        return {address: pool for address in found if (pool := held.get(address)) is not None and has_price(pool)}

    def _keys_of(self, wanted: frozenset[Address]) -> Sequence[PoolKey]:
        """Every pool that could be between two of the tokens and the connectors."""
        found = self._keys.get(wanted)
        if found is None:
            tokens = sorted(wanted.union(asset.token_address for asset in self._assets.connectors))
            if len(tokens) > MAX_TOKENS:
                raise ValueError(f"a view has at most {MAX_TOKENS} tokens, connectors included")
            venues = [one.venue for one in self._deployments.venues(self._config.chain_id)]
            if len(self._keys) >= MAX_POOLS:
                self._keys.clear()
            found = self._keys[wanted] = tuple(
                key for pair in combinations(tokens, 2) for key in pool_keys(venues, pair, extra_fees=self._extra_fees)
            )
        return found

    def _is_missing(self, address: Address, number: int) -> bool:
        pool = self._follower.held.get(address)
        if pool is not None:
            return not price_is_covered(pool)
        failed_at = self._failed.get(address)
        return failed_at is None or not 0 <= number - failed_at < FAILED_FOR_BLOCKS

    def _make_room(self, count: int, *, kept: Collection[Address]) -> None:
        """Drop the pools that were not asked for the longest, as many as are too many."""
        surplus = len(self._follower.held) + count - MAX_POOLS
        if surplus > 0:
            others = sorted((each for each in self._follower.held if each not in kept), key=self._last_used_s)
            self._drop(others[:surplus])

    def _drop_unused(self, now_s: float) -> None:
        if unused := [each for each in self._follower.held if now_s - self._last_used_s(each) > UNUSED_FOR_S]:
            self._drop(unused)

    def _drop(self, addresses: Sequence[Address]) -> None:
        self._follower.held.drop(addresses)
        for address in addresses:
            self._used_s.pop(address, None)
        self._views.clear()

    def _last_used_s(self, address: Address) -> float:
        return self._used_s.get(address, 0.0)


def has_price(pool: GraphPool) -> bool:
    """Whether it was ever given one (V3), or holds anything (V2)."""
    state = pool.state
    return state.sqrt_price_x96 != 0 if isinstance(state, V3Pool) else bool(state.reserve0 and state.reserve1)


async def _either(*events: asyncio.Event, within_s: float) -> None:
    """Until one of them is set, or the time is over."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
