"""Pool states at the newest block, and what is needed to take blocks back: bookkeeping without I/O.

    reset(tip) -> put(loaded pools) -> added(block, its logs)* / removed(block)* ...

Guarantees: all states are of one block, `tip`; blocks are taken back in the reverse order of their coming, to the very
values that were there before; a pool that was loaded in a block that is taken back is given up, being of no other.
A pool whose logs do not fit its state is given up and told. Not guaranteed: that the logs given are all there were.
"""

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from chains.types import Address, BlockRef, Log
from contracts.errors import AbiError, InconsistentPool
from contracts.routing.model import GraphPool
from contracts.uniswap_v2 import pool as v2
from contracts.uniswap_v3 import logs as v3_logs
from contracts.uniswap_v3 import pool as v3
from contracts.uniswap_v3.pool import V3Pool

KEPT_BLOCKS: Final = 128
"""Blocks that can be taken back. Reorgs were longer on Polygon, before milestones: all is loaded anew then."""


class NotTheTip(Exception):
    """A block that does not follow the tip, or is not the tip that is taken back: the caller lost track."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Undo:
    """What a block changed: the block before it, and the states before it; None for a pool that was loaded in it."""

    parent: BlockRef
    before: dict[Address, GraphPool | None]


class HeldPools:
    """The states of some pools at one block."""

    def __init__(self) -> None:
        self.tip: BlockRef | None = None
        """The block that all states are of; None while nothing is held."""
        self._pools: dict[Address, GraphPool] = {}
        self._undo: deque[_Undo] = deque(maxlen=KEPT_BLOCKS)

    def __len__(self) -> int:
        return len(self._pools)

    def __iter__(self) -> Iterator[Address]:
        return iter(self._pools)

    def get(self, address: Address) -> GraphPool | None:
        return self._pools.get(address)

    @property
    def depth(self) -> int:
        """How many blocks can be taken back now."""
        return len(self._undo)

    def reset(self, tip: BlockRef) -> None:
        """Hold nothing, at this block."""
        self.tip = tip
        self._pools = {}
        self._undo.clear()

    def put(self, pools: Iterable[GraphPool]) -> None:
        """States that were read at the tip. Taking it back gives these pools up, whatever was held of them before."""
        for pool in pools:
            self._pools[pool.address] = pool
            if self._undo:
                self._undo[-1].before[pool.address] = None

    def widen(self, pool: GraphPool) -> None:
        """The state that is held, with more of its ticks. Taking back a block that changed it gives the narrower one.

        It holds for the blocks since the pool last changed, so that taking those back is right as well.
        """
        self._pools[pool.address] = pool

    def drop(self, addresses: Collection[Address]) -> None:
        """Hold these no longer."""
        for address in addresses:
            self._pools.pop(address, None)
        for undo in self._undo:
            for address in addresses:
                undo.before.pop(address, None)

    def added(self, block: BlockRef, parent: BlockRef, logs: Sequence[Log]) -> Mapping[Address, str]:
        """A block came, with these logs in their order; logs of pools that are not held are nothing.

        The pools that its logs do not fit are given up: their addresses and why. Raises: NotTheTip.
        """
        if parent != self.tip:
            raise NotTheTip(f"block {block.number} does not follow the tip")
        before: dict[Address, GraphPool | None] = {}
        broken: dict[Address, str] = {}
        for log in logs:
            address = log.address
            pool = self._pools.get(address)
            if pool is None or address in broken:
                continue
            try:
                after = _after(pool, log)
            except (InconsistentPool, AbiError) as exc:
                broken[address] = str(exc)
                continue
            if after is not pool:
                before.setdefault(address, pool)
                self._pools[address] = after
        self.tip = block
        self._undo.append(_Undo(parent=parent, before=before))
        self.drop(broken)
        return broken

    def removed(self, block: BlockRef) -> Collection[Address]:
        """The tip was taken back; the pools that are given up, having been loaded in it.

        Raises: NotTheTip: it is not the tip, or older than what is kept.
        """
        if block != self.tip or not self._undo:
            raise NotTheTip(f"block {block.number} is not one that can be taken back")
        undo = self._undo.pop()
        self.tip = undo.parent
        lost = [address for address, before in undo.before.items() if before is None]
        for address, before in undo.before.items():
            if before is not None:
                self._pools[address] = before
        self.drop(lost)
        return lost


def _after(pool: GraphPool, log: Log) -> GraphPool:
    """The pool after one of its logs, itself if the log changes nothing. Raises: InconsistentPool, AbiError."""
    state = pool.state
    if isinstance(state, V3Pool):
        event = v3_logs.decode(log)
        after: V3Pool | v2.V2Pool = state if event is None else v3.apply(state, event)
    else:
        synced = v2.decode(log)
        after = state if synced is None else v2.apply(state, synced)
    return pool if after is state else replace(pool, state=after)
