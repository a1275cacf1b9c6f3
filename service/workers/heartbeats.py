"""Signs of life of the loops in this process: a loop that hangs, or waits for ever, shows by its silence.

Guarantees: a loop counts from `expect` on, so that a process without workers is not called ill.
Not guaranteed: that a loop which beats gets anything done; how far the books are behind the chain shows that.
"""

from collections.abc import Mapping
from typing import Final

from chains.config import ChainConfig
from chains.recent import NotingClient, RecentHead
from chains.rpc.transport import Transport
from chains.tx.store import Clock
from chains.types import Header

LATE_S: Final = 60.0
"""An engine's turn is 2 s or less; with a dead endpoint a turn is a time-out of 20 s and a pause of 10 s."""
LATE_FOR_PRUNING_S: Final = 180.0
"""It turns once a minute."""


class Heartbeats:
    """Used by the event loop only."""

    def __init__(self, clock: Clock) -> None:
        self._clock: Final = clock
        self._allowed_s: Final[dict[str, float]] = {}
        self._last_s: Final[dict[str, float]] = {}

    def expect(self, name: str, *, within_s: float = LATE_S) -> None:
        """From now on this loop has to beat."""
        self._allowed_s[name] = within_s
        self.beat(name)

    def beat(self, name: str) -> None:
        """A turn of the loop begins. Of a loop that is not expected it is nothing."""
        if name in self._allowed_s:
            self._last_s[name] = self._clock.monotonic_s()

    def forget(self, name: str) -> None:
        """The loop has ended as it should."""
        self._allowed_s.pop(name, None)
        self._last_s.pop(name, None)

    def silent_s(self) -> Mapping[str, float]:
        """Seconds since each loop's last beat."""
        now_s = self._clock.monotonic_s()
        return {name: now_s - at_s for name, at_s in self._last_s.items()}

    def late(self) -> Mapping[str, bool]:
        """Whether each loop has been silent for too long."""
        return {name: silent > self._allowed_s[name] for name, silent in self.silent_s().items()}


class WatchedClient(NotingClient):
    """The engine's client: every turn of an engine begins with the head, which is its sign of life."""

    def __init__(
        self, config: ChainConfig, transport: Transport, *, recent: RecentHead, clock: Clock, heartbeats: Heartbeats
    ) -> None:
        super().__init__(config, transport, recent=recent, clock=clock)
        self._heartbeats: Final = heartbeats

    async def head(self) -> Header:
        self._heartbeats.beat(engine_loop(self.config))
        return await super().head()


def engine_loop(config: ChainConfig) -> str:
    """What the loop of a chain's engine is called."""
    return f"engine-{config.key}"
