"""Addresses that a person takes for another one: the same first and last characters, others in between.

People compare what wallets show, `0x1234...cdef`; whoever wants to be taken for a known address grinds one that begins
and ends like it (address poisoning). Pure.

Guarantees: two different addresses whose first and last `SHOWN_HEX` hex digits are equal, in whatever case, are found.
Not guaranteed: that an address that resembles no known one is the one that was meant.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from chains.types import Address

SHOWN_HEX: Final = 4
"""Digits at either end that wallets and explorers show. Grinding all eight takes 2^32 tries: seconds on a GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """An address that the account has met before, and as what: for the owner to read."""

    address: Address
    what: str


def resembles(one: Address, other: Address) -> bool:
    """Whether they are two, and look like one."""
    a, b = one[2:].lower(), other[2:].lower()
    return a != b and a[:SHOWN_HEX] == b[:SHOWN_HEX] and a[-SHOWN_HEX:] == b[-SHOWN_HEX:]


def resembled(address: Address, known: Iterable[Known]) -> Sequence[Known]:
    """The known addresses that this one may be taken for, each once."""
    found: dict[Address, Known] = {}
    for one in known:
        if resembles(address, one.address):
            found.setdefault(one.address, one)
    return list(found.values())
