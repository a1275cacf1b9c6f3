"""How slow this machine is at the moment: what is promised within a second takes longer where six others work."""

import time
from collections.abc import Awaitable, Callable
from typing import Final

ASKED: Final = 10
"""Requests that tell it: a tenth of a second where nobody else is at work."""


async def slack_s(ask: Callable[[], Awaitable[object]], *, times: int = ASKED) -> float:
    """What to add to a promise: the time of some requests that wait for nothing but the machine.

    `times` is how many are asked one after another while the promise is measured, where they are more.
    """
    began_s = time.monotonic()
    for _ in range(times):
        await ask()
    return time.monotonic() - began_s
