"""What quoting needs of a chain of the running service; `service.build.ChainRuntime` has it.

A Protocol, since the service is built out of modules that quote.
"""

from typing import Protocol

from contracts.pools import PoolDirectory
from service.journal.needs import ChainParts


class QuotedChain(ChainParts, Protocol):
    """One active chain: how to read it, what is listed there, and which pools are known."""

    @property
    def pools(self) -> PoolDirectory: ...
