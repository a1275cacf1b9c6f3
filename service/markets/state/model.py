"""What is told of a market's state: views, how old they are, what is counted. Plain values.

Guarantees: a view is of one block, frozen, and says when the node last confirmed that block as its head.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from chains.tx.store import Clock
from chains.types import Address, BlockRef, ChainId, Header
from contracts.routing.model import GraphPool

USABLE_FOR_S: Final = 30.0
"""A view whose block the node has not confirmed for longer is not given out: two blocks and a half on Ethereum."""
ORDERS_WITHIN_S: Final = 5.0
"""For an order it has to be confirmed more recently than this: less than half a block on Ethereum."""


class StaleMarket(Exception):
    """The pools' state is too old to be used. `age_ms` is None where there never was any."""

    def __init__(self, chain_id: ChainId, problem: str, *, age_ms: int | None) -> None:
        super().__init__(f"chain {chain_id}: {problem}")
        self.chain_id = chain_id
        self.age_ms = age_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketView:
    """The pools between some tokens, all at `header`'s block. Pools without a price yet are left out.

    `checked_ms` is the wall-clock time, `checked_s` the monotonic one, of the question that the node last answered with
    this head.
    """

    chain_id: ChainId
    header: Header
    checked_ms: int
    checked_s: float
    pools: Mapping[Address, GraphPool]

    @property
    def block(self) -> BlockRef:
        return self.header.ref

    def age_ms(self, clock: Clock) -> int:
        """Since the node confirmed the head. Of the monotonic clock: a step of the wall clock changes nothing."""
        return max(0, int((clock.monotonic_s() - self.checked_s) * 1000))


def require_fresh(view: MarketView, clock: Clock, *, max_block_age_s: int) -> None:
    """That an order may be placed on this state. `max_block_age_s` 0: the block may be of any time.

    A node that follows a dead branch, or none at all, confirms the same head for ever: only the block's own time
    tells. A local chain stands still for as long as nobody trades, hence 0 by default (`Settings.max_block_age_s`).

    Raises: StaleMarket.
    """
    age_ms = view.age_ms(clock)
    if age_ms > ORDERS_WITHIN_S * 1000:
        raise StaleMarket(view.chain_id, f"the state was last confirmed {age_ms} ms ago", age_ms=age_ms)
    block_age_s = clock.now_ms() // 1000 - view.header.timestamp_s
    if max_block_age_s and block_age_s > max_block_age_s:
        raise StaleMarket(
            view.chain_id,
            f"the newest block is {block_age_s} s old, over {max_block_age_s} s",
            age_ms=block_age_s * 1000,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StateFigures:
    """Counters since the start, and gauges, for metrics."""

    pools: int
    head: int | None
    """The block that the states are of."""
    confirmed_ago_s: float | None
    """Since the node last gave that block as its head."""
    node_calls: int
    blocks: int
    """Blocks applied."""
    removed: int
    """Blocks taken back."""
    loads: int
    """Pools read from the chain."""
    restarts: int
    """Times that everything held was given up: after a gap, a reorg deeper than is kept, a disagreement."""
    inconsistent: int
    """Pools given up since their logs did not fit their state."""
    checks: int
    disagreements: int
    """Checked pools that were not as on the chain."""
    failed_looks: int
