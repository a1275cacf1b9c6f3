"""Waiting for what was accepted to come to its end, and the exit status that says how it did."""

import time
from collections.abc import Callable
from typing import Annotated, Any, Final

import typer
from rich.progress import Progress

from service.cli.failures import ExitStatus
from service.cli.output import progress

POLL_S: Final = 0.5
ORDER_ENDED: Final = frozenset({"FILLED", "CANCELED", "REJECTED", "EXPIRED"})
SENT_ENDED: Final = frozenset({"confirmed", "final", "rejected", "cancelled", "failed", "unknown"})
"""Of withdrawals and transactions."""
GOOD_ENDS: Final = frozenset({"FILLED", "confirmed", "final"})

WaitOption = Annotated[bool, typer.Option("--wait", help="Wait until it has ended.")]
TimeoutOption = Annotated[int, typer.Option(min=1, help="How long --wait waits, in seconds.")]


def wait_for(
    look: Callable[[], dict[str, Any]], accepted: dict[str, Any], *, ended: frozenset[str], timeout_s: int
) -> dict[str, Any]:
    """What `look` answers once its state is among `ended`, or when the time is over."""
    answer = accepted
    deadline = time.monotonic() + timeout_s
    with progress(f"{accepted['id']}: {accepted['state']}") as shown:
        while answer["state"] not in ended and time.monotonic() < deadline:
            time.sleep(POLL_S)
            answer = look()
            _describe(shown, f"{answer['id']}: {answer['state']}")
    return answer


def judge(answer: dict[str, Any], *, wait: bool) -> None:
    """The exit status of what was waited for."""
    if not wait or answer["state"] in GOOD_ENDS:
        return
    if answer["state"] == "unknown":
        raise typer.Exit(int(ExitStatus.UNKNOWN))
    ended = answer["state"] in ORDER_ENDED | SENT_ENDED
    raise typer.Exit(int(ExitStatus.REFUSED if ended else ExitStatus.UNFINISHED))


def _describe(shown: Progress, text: str) -> None:
    for task in shown.tasks:
        shown.update(task.id, description=text)
