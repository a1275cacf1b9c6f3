"""What the demo claims, and that it ends when something does not hold."""

from __future__ import annotations

from collections.abc import Callable

from scripts.demo.client import Json, Refused
from scripts.demo.show import Screen


class CheckFailed(Exception):
    """Something did not go as it must."""


def check(holds: bool, claim: str) -> None:
    """Go on only if it holds."""
    if not holds:
        raise CheckFailed(f"this must hold and does not: {claim}")


def expect(screen: Screen, code: str, what: str, attempt: Callable[[], Json]) -> Refused:
    """That it is refused with this code, and say so. Raises: CheckFailed."""
    try:
        attempt()
    except Refused as refused:
        check(refused.code == code, f"{what} is refused with {code}, not with {refused.code}")
        screen.fact(f"{what}: refused, [yellow]{code}[/]")
        return refused
    raise CheckFailed(f"{what} was accepted")
