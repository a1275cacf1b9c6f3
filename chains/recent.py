"""The newest head that anything in this process has read of a chain, for those who need one but not the very newest.

A process that follows a chain reads its head at least every `TxEngine` poll; a reader that can live with that age pins
its one call to that block and saves the question. Every answer of ours carries its block, so the age is never hidden.

Guarantees: a head is what the endpoints last answered, a reorg included; one older than asked for is read anew.
Not guaranteed: that it still is the head, or still canonical; nodes refuse a call pinned to a block that is gone.
"""

from dataclasses import dataclass

from chains.client import EvmClient
from chains.config import ChainConfig
from chains.rpc.transport import Transport
from chains.tx.store import Clock
from chains.types import Header


@dataclass(frozen=True, slots=True, kw_only=True)
class NotedHead:
    """A head, and the monotonic time of the question that it answered."""

    header: Header
    asked_s: float


class RecentHead:
    """Used by one event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._noted: NotedHead | None = None

    def note(self, header: Header, *, asked_s: float) -> None:
        """What a node answered to a question asked at that monotonic time; an answer to an older question is late."""
        if self._noted is None or asked_s >= self._noted.asked_s:
            self._noted = NotedHead(header=header, asked_s=asked_s)

    @property
    def latest(self) -> NotedHead | None:
        """The head as it was last read; None before the first."""
        return self._noted

    def within(self, max_age_s: float) -> Header | None:
        """The head, if the question that it answers was asked at most that long ago."""
        noted = self._noted
        if noted is None or self._clock.monotonic_s() - noted.asked_s > max_age_s:
            return None
        return noted.header


class NotingClient(EvmClient):
    """An `EvmClient` whose heads are noted for the rest of the process."""

    def __init__(self, config: ChainConfig, transport: Transport, *, recent: RecentHead, clock: Clock) -> None:
        super().__init__(config, transport)
        self._recent = recent
        self._clock = clock

    async def head(self) -> Header:
        asked_s = self._clock.monotonic_s()
        header = await super().head()
        self._recent.note(header, asked_s=asked_s)
        return header
