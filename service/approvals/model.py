"""From when on a withdrawal needs a second person, as pure values.

    thresholds      micro-dollars, and base units by asset; above one of them a second person is asked, 0: always
    why             what of a withdrawal is above them, together with what left without a second person in a day before

Guarantees: a worth that is not known is above every threshold in USD; thresholds that are made stricter in one point
and laxer in another are stricter only where they were (`stricter_of`), until the laxer ones are in force.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from chains.units import MAX_UINT256
from contracts.assets import AssetId

WINDOW_MS: Final = 24 * 3_600_000
"""What left alone in the day before counts: else a large withdrawal is many small ones."""
COOLING_MS: Final = 24 * 3_600_000
"""From asking for laxer thresholds until they are in force: time for another owner to see it and to take it back."""
EXPIRES_MS: Final = 24 * 3_600_000
"""How long a withdrawal waits for its second person, with its funds reserved."""
MAX_ASSETS: Final = 64
"""Assets with a threshold of their own."""


class Why(StrEnum):
    """Why a second person is needed. Stored."""

    OVER_USD = "over_usd"
    OVER_AMOUNT = "over_amount"
    WORTH_UNKNOWN = "worth_unknown"


class ClearState(StrEnum):
    """Stored."""

    CLEAR = "clear"
    """No second person was needed when it was accepted."""
    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"


class InvalidThresholds(ValueError):
    """Not thresholds; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """None, and no entry, is no threshold."""

    usd: int | None = None
    assets: Mapping[AssetId, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.assets) > MAX_ASSETS:
            raise InvalidThresholds(f"at most {MAX_ASSETS} assets have a threshold of their own")
        for amount in (self.usd, *self.assets.values()):
            if amount is not None and (type(amount) is not int or not 0 <= amount <= MAX_UINT256):
                raise InvalidThresholds("a threshold is an integer from 0 to 2^256 - 1")

    @property
    def any(self) -> bool:
        return self.usd is not None or bool(self.assets)


NONE: Final = Thresholds()


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What an account's withdrawals took that needed nobody, within `WINDOW_MS`."""

    usd: int = 0
    amounts: Mapping[AssetId, int] = field(default_factory=dict)


def why(thresholds: Thresholds, amounts: Mapping[AssetId, int], *, usd: int | None, before: Taken) -> Why | None:
    """Why a withdrawal needs a second person; None: it does not.

    `amounts` are what leaves at most, in base units, and what left before, by each asset whose threshold counts them
    (`service.auth.budgets.counted`).
    """
    for asset, amount in amounts.items():
        limit = thresholds.assets.get(asset)
        if limit is not None and before.amounts.get(asset, 0) + amount > limit:
            return Why.OVER_AMOUNT
    if thresholds.usd is None:
        return None
    if usd is None:
        return Why.WORTH_UNKNOWN
    return Why.OVER_USD if before.usd + usd > thresholds.usd else None


def stricter_of(one: Thresholds, other: Thresholds) -> Thresholds:
    """What asks for a second person whenever one of the two does."""
    known = [usd for usd in (one.usd, other.usd) if usd is not None]
    assets = {
        asset: min(found[asset] for found in (one.assets, other.assets) if asset in found)
        for asset in one.assets.keys() | other.assets.keys()
    }
    return Thresholds(usd=min(known, default=None), assets=assets)


def document(thresholds: Thresholds) -> dict[str, Any]:
    """The form that is stored and covered by the row's MAC."""
    found: dict[str, Any] = {"assets": {asset: str(raw) for asset, raw in sorted(thresholds.assets.items())}}
    return found if thresholds.usd is None else found | {"usd": str(thresholds.usd)}


def parse(found: Mapping[str, Any]) -> Thresholds:
    """From a stored document. Raises: InvalidThresholds: it has a form that this service does not know."""
    if set(found) - {"assets", "usd"}:
        raise InvalidThresholds("the stored thresholds are of a later service")
    usd = found.get("usd")
    assets = {AssetId(asset): int(raw) for asset, raw in found["assets"].items()}
    return Thresholds(usd=None if usd is None else int(usd), assets=assets)
