"""What quoting needs of a chain of the running service; `service.build.ChainRuntime` has it.

A Protocol, since the service is built out of modules that quote.
"""

from typing import Protocol

from service.journal.needs import ChainParts
from service.markets.fees import FeeBoard
from service.markets.state.states import PoolStates


class QuotedChain(ChainParts, Protocol):
    """One active chain: how to read it, what is listed there, its pools as they are, and what gas costs."""

    @property
    def states(self) -> PoolStates: ...

    @property
    def fees(self) -> FeeBoard: ...
