"""The new end of a chain, written block by block: trades, candles, and what is still missing of either.

    poll -> step (blocks that came and went) -> trades of the new blocks, by hash -> one unit of work

Guarantees: what is stored is exactly the trades of followed pools in the blocks up to the stored head, except in the
stored gaps, after each unit of work, so also after any crash; a reorg takes away and adds in the same unit of work. A
pool that is new, and blocks that were skipped because nobody looked for long, become gaps.
A reorg of all kept blocks starts the chain's history anew.

Not guaranteed: that a new pool is noticed at once: factories are asked again after `ABSENT_FOR_BLOCKS`; its trades
until then are filled in.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from chains.config import ChainConfig
from chains.heads import HeadFollower, HeadPolicy, ReorgTooDeep
from chains.headstate import Added, HeadStep, Skipped
from chains.tx.store import Clock, UnitOfWork
from chains.types import Address, Header
from contracts.assets import AssetList
from contracts.deployments import Deployments
from contracts.pools import PoolKey, pool_keys
from contracts.trades import PoolTrade
from service.markets.history import storage
from service.markets.history.model import FollowedPool, HistoryHead, Trade, row_of
from service.markets.history.source import HistorySource
from service.markets.history.storage import HistoryBlocks
from service.markets.history.writing import Touched, add_trades, clear_some, rebuild, remove_from

LEAST_WINDOW: Final = 64
"""Blocks read one by one at a start or after a pause, at least as many as a chain needs to be final: older ones are a
gap, and read in ranges by number."""
LEAST_KEPT: Final = 512
"""Blocks remembered, so that a reorg of so many is followed: Polygon's deepest had 187."""
_NEVER: Final = 2**62
"""Depth at which a block would be final. None is: history follows every reorg."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """What one turn did."""

    head: Header
    trades: int = 0
    removed_blocks: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """A step with all that was read for it."""

    step: HeadStep
    headers: Sequence[Header]
    new_pools: Mapping[PoolKey, Address]
    trades: Sequence[PoolTrade]


class Follower:
    """Writes one chain's new blocks. `turn` is to be called by one task, while the chain's lease is held."""

    def __init__(
        self,
        source: HistorySource,
        *,
        config: ChainConfig,
        assets: AssetList,
        deployments: Deployments,
        uow: UnitOfWork[Connection],
        clock: Clock,
    ) -> None:
        window = max(LEAST_WINDOW, config.finality.min_final_depth)
        self._source: Final = source
        self._chain_id: Final = config.chain_id
        self._uow: Final = uow
        self._keys: Final = listed_keys(assets, deployments)
        self._heads: Final = HeadFollower(
            source,
            chain_id=config.chain_id,
            store=HistoryBlocks(),
            uow=uow,
            policy=HeadPolicy(
                final_depth=_NEVER, use_finalized_tag=False, window=window, keep=max(LEAST_KEPT, 2 * window)
            ),
            clock=clock,
        )
        self._pools: list[FollowedPool] | None = None
        """As stored; None: to be loaded."""

    def forget(self) -> None:
        """Believe nothing but the store: another process may write it now."""
        self._heads.forget()
        self._pools = None

    async def turn(self) -> Followed | None:
        """Write what is new; None when nothing can be said now.

        Raises: RpcError, ContractError, StaleState: nothing is lost; call again.
        """
        pools = await self._loaded()
        try:
            step = await self._heads.poll()
        except ReorgTooDeep as exc:
            log.warning("chain %d: %s: its history begins anew", self._chain_id, exc)
            await self._uow.run(lambda c: storage.forget_head(c, self._chain_id))
            self.forget()
            return None
        if step is None or not (step.added or step.removed):
            return None if step is None else Followed(head=step.head)
        work = await self._read(step, pools)
        touched = Touched()
        try:
            await self._heads.commit(step, lambda c: self._write(c, work, pools, touched))
        except BaseException:
            self._pools = None  # someone else may have written
            raise
        if work.new_pools:
            self._pools = None
        return Followed(head=step.head, trades=len(work.trades), removed_blocks=len(step.removed))

    # -- private ---------------------------------------------------------------------------------------------

    async def _loaded(self) -> list[FollowedPool]:
        if self._pools is None:
            # Rows without a head: an earlier start anew was broken off.
            head = await self._uow.read(lambda c: storage.head_of(c, self._chain_id))
            while head is None and await self._uow.run(lambda c: clear_some(c, self._chain_id)):
                pass
            self._pools = await self._uow.read(lambda c: storage.pools_of(c, self._chain_id))
        return self._pools

    async def _read(self, step: HeadStep, pools: Sequence[FollowedPool]) -> _Work:
        headers = [event.header for event in step.events if isinstance(event, Added)]
        known = {pool.address for pool in pools}
        found = await self._source.pools(self._keys, block=step.head.ref) if headers else {}
        new = {key: address for key, address in found.items() if address not in known}
        wanted = frozenset(known | set(new.values()))
        trades = await self._source.trades_of(wanted, [header.ref for header in headers])
        return _Work(step=step, headers=headers, new_pools=new, trades=trades)

    def _write(self, c: Connection, work: _Work, pools: Sequence[FollowedPool], touched: Touched) -> None:
        step, chain_id = work.step, self._chain_id
        # The unit of work may be done again: what an earlier try touched was undone with it.
        touched.spans.clear()
        next_ms = 1000 * (work.headers[0].timestamp_s if work.headers else step.head.timestamp_s + 1)
        if step.removed:
            first_gone = step.removed[-1].number
            remove_from(c, chain_id, first_gone, touched)
            storage.cut_gaps(c, chain_id, first_gone, complete_from_ms=next_ms)
        followed = list(pools)
        if work.headers:
            first = work.headers[0].number
            after = next((event.after for event in step.events if isinstance(event, Skipped)), None)
            if after is not None:
                ids = [pool.id for pool in pools]
                storage.add_gaps(c, ids, first=after.number + 1, last=first - 1, complete_from_ms=next_ms)
            new = [storage.follow(c, chain_id, key, address) for key, address in work.new_pools.items()]
            storage.add_gaps(c, [pool.id for pool in new], first=0, last=first - 1, complete_from_ms=next_ms)
            followed += new
        times_ms = {header.number: header.timestamp_s * 1000 for header in work.headers}
        add_trades(c, rows_of(work.trades, followed, times_ms=times_ms), touched)
        rebuild(c, touched)
        head = step.head
        storage.set_head(
            c, HistoryHead(chain_id=chain_id, number=head.number, hash=head.hash, time_ms=head.timestamp_s * 1000)
        )


def listed_keys(assets: AssetList, deployments: Deployments) -> list[PoolKey]:
    """Every pool that could exist between the two tokens of a listed market."""
    venues = [offered.venue for offered in deployments.venues(assets.chain_id)]
    pairs = {
        (assets.token_of(market.base).token_address, assets.token_of(market.quote).token_address)
        for market in assets.markets.values()
    }
    return list(dict.fromkeys(key for pair in sorted(pairs) for key in pool_keys(venues, pair)))


def rows_of(trades: Sequence[PoolTrade], pools: Sequence[FollowedPool], *, times_ms: Mapping[int, int]) -> list[Trade]:
    """The rows of trades in followed pools, with the times of their blocks by number."""
    by_address = {pool.address: pool for pool in pools}
    rows = (row_of(one, by_address[one.pool], time_ms=times_ms[one.block.number]) for one in trades)
    return [row for row in rows if row is not None]
