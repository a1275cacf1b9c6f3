"""Whether a change of a key's rights widens them: what decides if it needs the authenticator. Pure.

    judge(before, after)  --->  {"ip_allowlist": NARROWER, "expires_ms": WIDER, "limits.daily_usd": SAME, ...}

Guarantees: if no field is `WIDER`, whatever the key is allowed afterwards it was allowed before, at any time, from any
address, of any worth, whatever was used of its limits; what is neither (one chain for another) counts as wider. A
field of `Rights` or `Restrictions` without a rule of its own is wider by any change at all.
Not judged: the label, which decides nothing; the wallet, which no change takes; idle expiry, which ends keys without
networks and is no right that somebody gave.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from types import MappingProxyType
from typing import Any, Final

from service.auth.keys import IpNetwork, Rights
from service.auth.restrictions import AllowedCall, Restrictions


class Direction(StrEnum):
    WIDER = "wider"
    NARROWER = "narrower"
    SAME = "same"


def judge(before: Rights, after: Rights) -> Mapping[str, Direction]:
    """The direction of each field, limits with `limits.` before their name."""
    rights = [one.name for one in fields(Rights) if one.name != "restrictions"]
    found = {name: _direction(before, after, name=name) for name in rights}
    limits = [one.name for one in fields(Restrictions)]
    old, new = before.restrictions, after.restrictions
    return found | {f"limits.{name}": _direction(old, new, name=name) for name in limits}


def wider_fields(before: Rights, after: Rights) -> Sequence[str]:
    """The names of the fields that widen."""
    return [name for name, direction in judge(before, after).items() if direction is Direction.WIDER]


Within = Callable[[Any, Any], bool]
"""Whether all that the first value allows, the second one allows."""


def _direction(before: object, after: object, *, name: str) -> Direction:
    old, new = getattr(before, name), getattr(after, name)
    within = _RULES.get(name, _equal)
    if not within(new, old):
        return Direction.WIDER
    return Direction.SAME if within(old, new) else Direction.NARROWER


def _networks(inner: Sequence[IpNetwork], outer: Sequence[IpNetwork]) -> bool:
    if not outer or not inner:
        # None given is anywhere.
        return not outer
    return all(any(_inside(one, whole) for whole in _merged(outer)) for one in inner)


def _merged(networks: Sequence[IpNetwork]) -> list[IpNetwork]:
    """Neighbours joined: a network that several of them cover together is then inside one."""
    v4 = [one for one in networks if isinstance(one, IPv4Network)]
    v6 = [one for one in networks if isinstance(one, IPv6Network)]
    return [*collapse_addresses(v4), *collapse_addresses(v6)]


def _inside(one: IpNetwork, whole: IpNetwork) -> bool:
    if isinstance(one, IPv4Network) and isinstance(whole, IPv4Network):
        return one.subnet_of(whole)
    return isinstance(one, IPv6Network) and isinstance(whole, IPv6Network) and one.subnet_of(whole)


def _subset(inner: frozenset[Any], outer: frozenset[Any]) -> bool:
    return inner <= outer


def _named(inner: frozenset[Any] | None, outer: frozenset[Any] | None) -> bool:
    """None is all."""
    return outer is None or (inner is not None and inner <= outer)


def _at_most(inner: int | None, outer: int | None) -> bool:
    """None is no limit, or no end."""
    return outer is None or (inner is not None and inner <= outer)


def _each_at_most(inner: Mapping[Any, int], outer: Mapping[Any, int]) -> bool:
    """What is not in a mapping has no limit."""
    return all(_at_most(inner.get(name), limit) for name, limit in outer.items())


def _calls(inner: frozenset[AllowedCall], outer: frozenset[AllowedCall]) -> bool:
    """What is not listed may not be called at all."""
    most = {call.function: call.max_value_wei for call in outer}
    return all(call.max_value_wei <= most.get(call.function, -1) for call in inner)


def _equal(inner: object, outer: object) -> bool:
    return inner == outer


_RULES: Final[Mapping[str, Within]] = MappingProxyType(
    {
        "permissions": _subset,
        "ip_allowlist": _networks,
        "expires_ms": _at_most,
        "chains": _named,
        "assets": _named,
        "markets": _named,
        "max_order_usd": _at_most,
        "daily_usd": _at_most,
        "daily_orders": _at_most,
        "daily_gas": _each_at_most,
        "daily_sold": _each_at_most,
        "daily_withdrawals": _at_most,
        "daily_withdrawal_usd": _at_most,
        "daily_withdrawn": _each_at_most,
        "calls": _calls,
    }
)
