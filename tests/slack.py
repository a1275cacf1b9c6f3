"""How slow this machine is while a promise is measured: what takes a second takes longer where six others work.

    async with slack(lambda: stack.get("/v1/orders")) as found:
        began_s = time.monotonic()
        await what_was_promised_within_a_second()
        assert time.monotonic() - began_s < 1 + found.seconds

Guarantees: a machine that becomes busy only after the measurement began is noticed, since it goes on to the end; on a
quiet one it comes to a fraction of a second.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

ASKED: Final = 20
"""Requests whose time is added: some tenths of a second where nobody else is at work."""
PAUSE_S: Final = 0.05


@dataclass(slots=True, kw_only=True)
class Slack:
    """What to add to a promise: the time of `times` requests that wait for nothing but the machine, and the longest
    one once more, for a moment at which it stood still."""

    times: int
    took_s: list[float] = field(default_factory=list)
    _asked_s: float | None = None

    @property
    def seconds(self) -> float:
        # One that has no answer yet has taken so long already.
        pending = [] if self._asked_s is None else [time.monotonic() - self._asked_s]
        took = [*self.took_s, *pending]
        return self.times * sum(took) / len(took) + max(took)

    async def passed(self, began_s: float, promise_s: float) -> None:
        """When a promise given at `began_s` is due, with all that is to be added to it."""
        while (left_s := began_s + promise_s + self.seconds - time.monotonic()) > 0:  # noqa: ASYNC110  time passes
            await asyncio.sleep(left_s)

    async def ask(self, ask: Callable[[], Awaitable[object]]) -> None:
        """Once more."""
        self._asked_s = time.monotonic()
        await ask()
        self.took_s.append(time.monotonic() - self._asked_s)
        self._asked_s = None


@asynccontextmanager
async def slack(ask: Callable[[], Awaitable[object]], *, times: int = ASKED) -> AsyncIterator[Slack]:
    """Ask `times` times, then now and then for as long as the context lasts.

    `times` is how many are asked one after another while the promise is measured, where they are more.
    """
    found = Slack(times=times)
    for _ in range(times):
        await found.ask(ask)
    asking = asyncio.create_task(_ask_on(found, ask))
    try:
        yield found
    finally:
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking


async def _ask_on(found: Slack, ask: Callable[[], Awaitable[object]]) -> None:
    while True:
        await asyncio.sleep(PAUSE_S)
        await found.ask(ask)
