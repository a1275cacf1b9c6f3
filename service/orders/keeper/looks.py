"""What one look at resting orders carries along: plain values."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection

from chains.tx.leases import FencedUnitOfWork
from chains.types import Address, BlockHash
from contracts.assets import Market
from contracts.routing.model import GraphPool
from service.orders.keeper.book import Resting
from service.orders.keeper.deciding import Why


@dataclass(slots=True, kw_only=True)
class Looked:
    """What a look found and did. `held_back`: orders that go on resting, by why; `quoted`: exact quotes; `altered`:
    orders closed because their rows were not as the service wrote them."""

    resting: int = 0
    quoted: int = 0
    executed: int = 0
    triggered: int = 0
    expired: int = 0
    altered: int = 0
    held_back: Counter[Why] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look under way; its writes belong to the term in which it began."""

    uow: FencedUnitOfWork[Connection]
    done: Looked


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MarketPools:
    """A market's pools as they are since their last change, and the best rates there (`rates.best_rates`)."""

    pools: Mapping[Address, GraphPool]
    rates: Mapping[bool, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An order that the best rate of its direction does not rule out at a block."""

    resting: Resting
    market: Market
    best: int
    pools: MarketPools
    block: BlockHash
