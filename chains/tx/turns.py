"""Who writes first when there is more to do than time: sending before booking.

Guarantees: while a lane of this engine is placing, the confirmer writes one unit of work at a time, and each waits for
a moment in which no lane is placing, `MOST_WAIT_S` at most; so booking slows down under load and never stops.
Not guaranteed: a bound on how far booking falls behind, beyond `max_in_flight` unmined slots a lane: a lane that is
full places nothing, and booking goes on at full speed.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Generic, TypeVar

from chains.tx.store import UnitOfWork

T = TypeVar("T")
U = TypeVar("U")

MOST_WAIT_S: Final = 0.05
"""Twenty bookings a second are the least: a lane at its bound of 16 is booked within a second."""


class Turns:
    """Of one engine, in one event loop."""

    def __init__(self) -> None:
        self._placing = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def placing(self) -> Iterator[None]:
        """A lane is placing."""
        self._placing += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._placing -= 1
            if not self._placing:
                self._idle.set()

    @property
    def busy(self) -> bool:
        return self._placing > 0

    async def wait(self) -> None:
        """Until no lane is placing, or `MOST_WAIT_S`."""
        try:
            async with asyncio.timeout(MOST_WAIT_S):
                await self._idle.wait()
        except TimeoutError:
            return


class AfterPlacing(Generic[U]):
    """A `UnitOfWork[U]` whose writes let lanes go first."""

    def __init__(self, inner: UnitOfWork[U], turns: Turns) -> None:
        self._inner = inner
        self._turns = turns
        self._lock = asyncio.Lock()

    async def run(self, work: Callable[[U], T]) -> T:
        if self._turns.busy:
            async with self._lock:
                await self._turns.wait()
                return await self._inner.run(work)
        return await self._inner.run(work)

    async def read(self, work: Callable[[U], T]) -> T:
        return await self._inner.read(work)
