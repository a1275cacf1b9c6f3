"""Named places at which a test may kill the process, to prove that a restart loses and repeats nothing.

    CAMBIST_CRASH_AT=K6     the process kills itself (SIGKILL) when it reaches K6 for the first time
    CAMBIST_CRASH_AT=K6:3   ... for the third time

Guarantees: nothing happens anywhere until the process called `arm` (once, when it starts) with that variable set; the
variable is not read again. Not guaranteed: that a point is reached; which code calls which point is in `POINTS`.

A test that goes through thousands of lives in one process gives `arm` its own end of a life instead of SIGKILL.
"""

import os
import signal
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

VARIABLE: Final = "CAMBIST_CRASH_AT"

POINTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "K1": "a request was validated; the accepting commit was not begun",
        "K2": "the accepting commit is durable; nothing was answered",
        "K3": "a lane chose a plan; nothing was asked of the node",
        "K4": "the wallet's nonce and balance were read; no nonce was taken",
        "K5": "nonces were taken and payloads signed; no signature was saved",
        "K6": "signed bytes are durable; nothing was sent",
        "K8": "the node answered a send; the answer was not saved",
        "K8b": "the answer to a send is saved",
        "K9": "a replacement was signed; it was not saved",
        "K10": "a replacement is durable; it was not sent",
        "K11": "a receipt was read; nothing was written of it",
        "K12": "slot, books and events of a receipt were written; nothing was committed",
        "K14": "a reorg was written to the slot; the books were not told, nothing was committed",
        "K14b": "all consequences of new blocks are durable; the chain's own state and the cursor are not",
        "K15": "a migration ran; it was not committed",
        "K16": "a new key file was written; it has not got its name",
        "K17": "what a receipt says of a slot is durable; the next one (the swap after its approval) was not looked at",
        "K18": "the keeper decided to execute a resting order; nothing was committed",
        "K19": "the plan of a resting order is durable; its lane was not woken",
        "K20": "units of work ran, whatever they are of; their commit was not begun",
        "K21": "that commit is durable; nobody was told",
    }
)
"""Name -> what is true there. K7 (bytes are with the node, no answer) needs no place: the killer holds the answer."""


class UnknownPoint(ValueError):
    """No such crash point, or its count is not a positive number."""


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class _Armed:
    """Which point kills, after how many more times, and how."""

    def __init__(self) -> None:
        self.point: str | None = None
        self.remaining = 0
        self.end: Callable[[], None] = _kill


_armed: Final = _Armed()


def arm(wanted: str | None = None, *, end: Callable[[], None] = _kill) -> None:
    """Take the point from the argument, else from the environment; without either, nothing will happen.

    `end` is called there; one that returns lets the process go on.

    Raises:
        UnknownPoint: it names none.
    """
    wanted = os.environ.get(VARIABLE) if wanted is None else wanted
    if not wanted:
        return
    point, _, count = wanted.partition(":")
    if point not in POINTS or (count and (not count.isdecimal() or int(count) < 1)):
        raise UnknownPoint(f"{VARIABLE}={wanted}: known points are {', '.join(POINTS)}, each with :count if wanted")
    _armed.point, _armed.remaining, _armed.end = point, int(count or "1"), end


def disarm() -> None:
    """From here on nothing happens at any point."""
    _armed.point = None


def reach(point: str) -> None:
    """The process is at that point. Returns, unless it is the one that was armed."""
    if _armed.point == point:
        _armed.remaining -= 1
        if _armed.remaining <= 0:
            _armed.end()
