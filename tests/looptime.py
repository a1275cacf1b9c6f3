"""The event loop's time, held: what waits in it waits until the test lets time pass, however slow the machine is.

A time-out of a second, shortened for a test to a fifth of one, ends what was in good time as well when the machine is
busy for that long; and a test that sleeps for it sleeps at each run. With the loop's time held, a test says that ten
seconds passed, and looks.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

TURNS: Final = 50
"""Of the loop: enough for what follows from a timer without a word from outside, such as the end of a connection."""


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

    `asyncio.sleep` and `asyncio.timeout` of the test's own stand still with it: wait with `until` and `turns`.
    """
    loop = asyncio.get_running_loop()
    real = loop.time
    held = HeldTime(real())
    loop.time = lambda: held.now_s  # type: ignore[method-assign]
    try:
        yield held
    finally:
        # Never back: what was begun meanwhile would wait for all that passed.
        ahead_s = max(0.0, held.now_s - real())
        loop.time = lambda: real() + ahead_s  # type: ignore[method-assign]


async def turns(count: int = TURNS) -> None:
    """Let everything run that can."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that has no event of its own; for ever, which pytest's time-out ends."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0)
