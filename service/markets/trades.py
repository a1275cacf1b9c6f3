"""What a client wants to trade: a market, a side, and exactly one fixed amount.

    side  fixed amount   swap
    sell  base           exact input of base
    sell  quote          exact output of quote
    buy   base           exact output of base
    buy   quote          exact input of quote

Guarantees: the limits derived here are never looser than the slippage bound asked for (each is rounded against us).
"""

from dataclasses import dataclass
from enum import StrEnum

from chains.units import less_bps, plus_bps
from contracts.assets import Asset, Market
from contracts.deployments import Venue
from contracts.routes import Exact

__all__ = ["Exact", "Limits", "Side", "Trade", "exact_side", "in_base_and_quote", "limits"]


class Side(StrEnum):
    BUY = "buy"
    SELL = "sell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """Base units. Exactly one of `base_amount` and `quote_amount` is set. `venue` None lets the best price choose."""

    market: Market
    side: Side
    base_amount: int | None
    quote_amount: int | None
    venue: Venue | None = None

    def __post_init__(self) -> None:
        if (self.base_amount is None) == (self.quote_amount is None):
            raise ValueError("exactly one of base_amount and quote_amount fixes a trade")

    @property
    def sold(self) -> Asset:
        return self.market.base if self.side is Side.SELL else self.market.quote

    @property
    def bought(self) -> Asset:
        return self.market.quote if self.side is Side.SELL else self.market.base

    @property
    def exact(self) -> Exact:
        """Whether the fixed amount is of the sold asset (`in`) or of the bought one (`out`)."""
        return exact_side(self.side, base_is_fixed=self.base_amount is not None)

    @property
    def amount(self) -> int:
        """The fixed amount, in base units of the asset that `exact` names."""
        return self.base_amount if self.base_amount is not None else self.quote_amount or 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the swap's calldata enforces: the most that leaves and the least that arrives, in base units."""

    max_sold: int
    min_bought: int


def exact_side(side: Side, *, base_is_fixed: bool) -> Exact:
    """Which side of the swap a fixed base (else quote) amount fixes."""
    return "in" if base_is_fixed == (side is Side.SELL) else "out"


def limits(exact: Exact, *, amount_in: int, amount_out: int, slippage_bps: int) -> Limits:
    """The quoted amounts, with the one that is not fixed worse by the slippage bound at most."""
    if exact == "in":
        return Limits(max_sold=amount_in, min_bought=less_bps(amount_out, slippage_bps))
    return Limits(max_sold=plus_bps(amount_in, slippage_bps), min_bought=amount_out)


def in_base_and_quote(side: Side, *, sold_raw: int, bought_raw: int) -> tuple[int, int]:
    """(base, quote) from what was sold and bought."""
    return (sold_raw, bought_raw) if side is Side.SELL else (bought_raw, sold_raw)
