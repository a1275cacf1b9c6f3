"""What is to become of a resting order, from what is known at one block: pure decisions, each with its reason.

    waiting(order, now)        Expire | HoldBack(backing_off) | None: look at its price
    fires(order, mid)          whether the price has reached its stop
    judge(order, offers)       Execute(limits) | Rest(outside) | HoldBack(gas_worth_unknown)

With gas counted, the limit holds for what is left of a sale after it, and for what a purchase costs with it:

    sell   (quote received - gas) / base sold   >= price        buy   (quote paid + gas) / base bought   <= price

Guarantees: integers, and every rounding is to the account's side: the limits of an `Execute` are never worse than the
limit price for the whole size, gas included where it counts, nor than the offer less the slippage bound (rule 9); an
order is executed only if every offer is inside its limit. Not guaranteed: that guards pass; the caller asks them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from contracts.ratio import Ratio
from contracts.routes import Exact
from service.markets.trades import Limits, Side
from service.orders.model import Order, OrderType


class Why(StrEnum):
    """Why an order goes on resting although it might trade: label of a metric, and told in the log."""

    BACKING_OFF = "backing_off"
    OUTSIDE = "outside"
    """The whole size does not quote inside the limit."""
    NO_ROUTE = "no_route"
    """The pools cannot fill the whole size."""
    UNTRIGGERED = "untriggered"
    """The price has not reached the stop."""
    GUARD = "guard"
    """A second opinion disagrees or is missing, or the price impact is beyond the bound."""
    STALE = "stale"
    """No fresh head, or no answer of the node."""
    GAS_WORTH_UNKNOWN = "gas_worth_unknown"
    """Gas counts, and no pool says what it is worth."""
    FEES = "fees"
    """Gas costs more than the chain's caps allow."""
    UNLISTED = "unlisted"
    """The market or one of its assets is not listed any more."""
    PAUSED = "paused"
    LANE = "lane"
    """The wallet's lane has work under way, or is held, or its chain is frozen."""
    KEY = "key"
    """Its key was revoked or may not trade any more; its cancellation is on the way."""
    FUNDS = "funds"
    """The wallet does not hold any more what was set aside, or gas has become dearer than what is free."""
    BUDGET = "budget"
    """Its key's limit of gas a day does not have another try."""
    SIMULATION = "simulation"
    """The very transaction fails, or moves less than the limit says."""
    ALTERED = "altered"
    """Its row is not as the service wrote it: it is closed."""
    UNUSABLE = "unusable"
    """A row that it depends on, of its books, wallet or pauses, makes no sense: a person has to look."""
    CHANGED = "changed"
    """It was cancelled or changed while it was looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a resting order asks for. `amount` is the exact side's; `price` and `stop` are quote base units for one of
    base. `counts_gas`: the limit holds with the gas."""

    side: Side
    exact: Exact
    amount: int
    price: Ratio
    stop: Ratio | None
    fires_above: bool
    """The stop fires at or above its price; else at or below."""
    counts_gas: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """An exact quote of the whole size at one state of the pools.

    `guarded`: its amounts, the one that is not fixed worse by the slippage bound. `gas_value`: what the gas is worth,
    in quote base units, rounded up; None: no pool says.
    """

    amount_in: int
    amount_out: int
    guarded: Limits
    gas_value: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expire:
    """Its time is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldBack:
    """It goes on resting, for now, whatever its price."""

    why: Why
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """Its price is not there."""

    why: Why


@dataclass(frozen=True, slots=True, kw_only=True)
class Execute:
    """To be sent with these limits on the chain. `offer` is the index of the one that they are of, the worst."""

    limits: Limits
    offer: int


def terms_of(order: Order) -> Terms:
    """Raises: ValueError: an order without a limit price does not rest."""
    if order.price is None:
        raise ValueError(f"order {order.id} has no limit price")
    amount = order.base_amount if order.base_amount is not None else order.quote_amount
    return Terms(
        side=order.side,
        exact=order.exact,
        amount=amount or 0,
        price=order.price,
        stop=order.stop_price,
        fires_above=(order.type is OrderType.TAKE_PROFIT_LIMIT) == (order.side is Side.SELL),
        counts_gas=bool(order.count_gas),
    )


def waiting(*, expires_ms: int | None, retry_after_ms: int | None, now_ms: int) -> Expire | HoldBack | None:
    """What time alone says. None: its price is to be looked at."""
    if expires_ms is not None and now_ms >= expires_ms:
        return Expire()
    if retry_after_ms is not None and now_ms < retry_after_ms:
        return HoldBack(why=Why.BACKING_OFF)
    return None


def fires(terms: Terms, mid: Ratio) -> bool:
    """Whether a market's price has reached the stop. Exact; at the stop it fires."""
    if terms.stop is None:
        return False
    here, there = mid.num * terms.stop.den, terms.stop.num * mid.den
    return here >= there if terms.fires_above else here <= there


def allowed(terms: Terms, *, gas_value: int) -> Limits | None:
    """The most that may leave and the least that must arrive by the limit price; None: no swap can be so good.

    `gas_value` in quote base units; 0 leaves gas out.
    """
    price, amount = terms.price, terms.amount
    match terms.side, terms.exact:
        case Side.SELL, "in":
            return Limits(max_sold=amount, min_bought=price.times_up(amount) + gas_value)
        case Side.BUY, "in":
            # All of the quote amount is paid, and the gas on top.
            return Limits(max_sold=amount, min_bought=price.inverse.times_up(amount + gas_value))
        case Side.SELL, _:
            most = price.inverse.times(amount - gas_value) if amount > gas_value else 0
        case _:
            most = price.times(amount) - gas_value
    return Limits(max_sold=most, min_bought=amount) if most > 0 else None


def stricter(one: Limits, other: Limits) -> Limits:
    """What satisfies both."""
    return Limits(max_sold=min(one.max_sold, other.max_sold), min_bought=max(one.min_bought, other.min_bought))


def judge(terms: Terms, offers: Sequence[Offer]) -> Execute | Rest | HoldBack:
    """Execute only if each offer fills the whole size inside the limit; then with the limits of the worst of them."""
    if not offers:
        raise ValueError("an order is judged by at least one offer")
    if terms.counts_gas and any(offer.gas_value is None for offer in offers):
        return HoldBack(why=Why.GAS_WORTH_UNKNOWN)
    limits = [allowed(terms, gas_value=(offer.gas_value or 0) if terms.counts_gas else 0) for offer in offers]
    found: list[Limits] = []
    for offer, limit in zip(offers, limits, strict=True):
        if limit is None or offer.amount_in > limit.max_sold or offer.amount_out < limit.min_bought:
            return Rest(why=Why.OUTSIDE)
        found.append(stricter(limit, offer.guarded))
    worst = _worst(terms.exact, offers)
    return Execute(limits=found[worst], offer=worst)


def _worst(exact: Exact, offers: Sequence[Offer]) -> int:
    """The index of the offer that gives least, or costs most."""
    return max(
        range(len(offers)),
        key=lambda at: -offers[at].amount_out if exact == "in" else offers[at].amount_in,
    )
