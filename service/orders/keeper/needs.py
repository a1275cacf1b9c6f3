"""What the keeper needs of the running service; `service.build.ChainRuntime` and `Services` have it.

Protocols, since the service is built out of modules that the keeper uses.
"""

from dataclasses import dataclass
from typing import Protocol

from chains.types import Header
from contracts.assets import Market
from service.journal.needs import ChainParts
from service.markets.board import MarketBoard
from service.markets.bounds import Bounds
from service.markets.guards import Opinions
from service.markets.needs import QuotedChain


class Lanes(Protocol):
    """The engine of the chain."""

    def wake(self) -> None:
        """New work was queued."""
        ...


class SecondOpinions(Protocol):
    """Who knows what else is said of a price (`service.markets.guards_reading.OpinionBoard`)."""

    async def read(self, chain: ChainParts, market: Market, *, header: Header) -> Opinions: ...


class KeptChain(QuotedChain, Protocol):
    """One active chain, its markets, its second opinions and who sends."""

    @property
    def board(self) -> MarketBoard: ...

    @property
    def opinions(self) -> SecondOpinions: ...

    @property
    def engine(self) -> Lanes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class KeeperPolicy:
    """What the operator's settings say of orders, as `service.settings.Settings` has it."""

    bounds: Bounds
    max_price_impact_bps: int
    max_block_age_s: int
    """0: any."""
    deadline_s: int
    """From a try until its swap is void on the chain."""
