"""The event loop's time, held: what waits in it waits until the test lets time pass, however slow the machine is.

A time-out of a second, shortened for a test to a fifth of one, ends what was in good time as well when the machine is
busy for that long; and a test that sleeps for it sleeps at each run. With the loop's time held, a test says that ten
seconds passed, and looks.

Not for ever: after `HELD_AT_MOST_S` of real time it goes on by itself, so that a test that waits in vain ends by its
time-outs, and cleans up.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

TURNS: Final = 50
"""Of the loop: enough for what follows from a timer without a word from outside, such as the end of a connection."""
HELD_AT_MOST_S: Final = 100.0
UNTIL_S: Final = 20.0
"""After that; together less than pytest gives a test."""


class HeldTime:
    """The loop's clock."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    async def passes(self, seconds: float) -> None:
        """So much time, and what was due by then is done."""
        self.now_s += seconds
        await turns()


@contextmanager
def held_time() -> Iterator[HeldTime]:
    """The running loop's time stands still but for what is told to pass; afterwards it goes on from there.

    A sleep of the test's own stands still with it: wait with `until` and `turns`.
    """
    loop = asyncio.get_running_loop()
    real = loop.time
    held, over_s = HeldTime(real()), real() + HELD_AT_MOST_S
    loop.time = lambda: held.now_s + max(0.0, real() - over_s)  # type: ignore[method-assign]
    try:
        yield held
    finally:
        # Never back: what was begun meanwhile would wait for all that passed.
        ahead_s = max(0.0, loop.time() - real())
        loop.time = lambda: real() + ahead_s  # type: ignore[method-assign]


async def turns(count: int = TURNS) -> None:
    """Let everything run that can."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that has no event of its own."""
    async with asyncio.timeout(UNTIL_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)
