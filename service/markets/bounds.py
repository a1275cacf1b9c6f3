"""How far a price may be from what else is said of it: what the operator sets, and the guards apply."""

from dataclasses import dataclass
from enum import StrEnum


class Required(StrEnum):
    """Which second opinions there must be."""

    ANY = "any"
    """One is enough: Chainlink's, and where it has none a pool's average."""
    ALL = "all"
    """Both; markets that lack one are refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How far a price may be from each opinion, and which there must be."""

    max_deviation_bps: int
    required: Required = Required.ANY
