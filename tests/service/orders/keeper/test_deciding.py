"""Decisions of the keeper, held against fractions."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.ratio import Ratio
from contracts.routes import Exact
from service.markets.trades import Limits, Side, limits
from service.orders.keeper.deciding import (
    Execute,
    Expire,
    HoldBack,
    Offer,
    Rest,
    Terms,
    Why,
    allowed,
    fires,
    judge,
    waiting,
)

AMOUNTS = st.integers(min_value=1, max_value=10**30)
RATIOS = st.builds(Ratio.of, st.integers(min_value=1, max_value=10**24), st.integers(min_value=1, max_value=10**24))
EXACTS: st.SearchStrategy[Exact] = st.sampled_from(["in", "out"])
MAYBE_GAS = st.none() | st.integers(min_value=0, max_value=10**20)


def terms_with(
    price: Ratio,
    *,
    side: Side = Side.SELL,
    exact: Exact = "in",
    amount: int = 10**6,
    stop: Ratio | None = None,
    fires_above: bool = False,
    counts_gas: bool = False,
) -> Terms:
    return Terms(
        side=side, exact=exact, amount=amount, price=price, stop=stop, fires_above=fires_above, counts_gas=counts_gas
    )


def price_paid(side: Side, sold: int, bought: int, gas: int) -> Fraction:
    """Quote for one base, gas included."""
    return Fraction(bought - gas, sold) if side is Side.SELL else Fraction(sold + gas, bought)


def is_no_worse(side: Side, paid: Fraction, price: Ratio) -> bool:
    limit = Fraction(price.num, price.den)
    return paid >= limit if side is Side.SELL else paid <= limit


@st.composite
def cases(draw: st.DrawFn) -> tuple[Terms, list[Offer], int]:
    """Terms and offers of the size, mostly near the limit price, and the slippage bound."""
    terms = terms_with(
        draw(RATIOS),
        side=draw(st.sampled_from(Side)),
        exact=draw(EXACTS),
        amount=draw(AMOUNTS),
        counts_gas=draw(st.booleans()),
    )
    slippage_bps = draw(st.integers(min_value=0, max_value=500))
    offers = []
    rate = terms.price if terms.side is Side.SELL else terms.price.inverse
    for _ in range(draw(st.integers(min_value=1, max_value=3))):
        moved = draw(st.integers(min_value=9_900, max_value=10_100)) * 10**6 + draw(st.integers(-5, 5))
        if terms.exact == "in":
            amount_in, amount_out = terms.amount, max(1, rate.times(terms.amount) * moved // 10**10)
        else:
            amount_in, amount_out = max(1, rate.inverse.times_up(terms.amount) * moved // 10**10), terms.amount
        offers.append(
            Offer(
                amount_in=amount_in,
                amount_out=amount_out,
                guarded=limits(terms.exact, amount_in=amount_in, amount_out=amount_out, slippage_bps=slippage_bps),
                gas_value=draw(MAYBE_GAS),
            )
        )
    return terms, offers, slippage_bps


@given(cases())
def test_the_limits_of_an_execution_are_never_worse_than_the_limit_price(
    case: tuple[Terms, list[Offer], int],
) -> None:
    terms, offers, _ = case
    decision = judge(terms, offers)
    if isinstance(decision, Execute):
        gas = offers[decision.offer].gas_value if terms.counts_gas else 0
        paid = price_paid(terms.side, decision.limits.max_sold, decision.limits.min_bought, gas or 0)
        assert is_no_worse(terms.side, paid, terms.price)
        fixed = decision.limits.max_sold if terms.exact == "in" else decision.limits.min_bought
        assert fixed == terms.amount


@given(cases())
def test_the_limits_are_no_looser_than_the_offer_less_slippage_and_the_offer_is_inside_them(
    case: tuple[Terms, list[Offer], int],
) -> None:
    terms, offers, _ = case
    decision = judge(terms, offers)
    if isinstance(decision, Execute):
        offer = offers[decision.offer]
        assert decision.limits.max_sold <= offer.guarded.max_sold
        assert decision.limits.min_bought >= offer.guarded.min_bought
        assert offer.amount_in <= decision.limits.max_sold
        assert offer.amount_out >= decision.limits.min_bought


@given(cases())
def test_an_order_is_executed_exactly_when_every_offer_is_inside_its_limit(
    case: tuple[Terms, list[Offer], int],
) -> None:
    terms, offers, _ = case
    decision = judge(terms, offers)
    if terms.counts_gas and any(offer.gas_value is None for offer in offers):
        assert decision == HoldBack(why=Why.GAS_WORTH_UNKNOWN)
        return
    gas = [(offer.gas_value or 0) if terms.counts_gas else 0 for offer in offers]
    inside = all(
        is_no_worse(terms.side, price_paid(terms.side, offer.amount_in, offer.amount_out, cost), terms.price)
        for offer, cost in zip(offers, gas, strict=True)
    )
    # A sale that gas eats up whole has no positive price at all.
    assert isinstance(decision, Execute if inside else Rest)


@pytest.mark.parametrize(
    ("side", "exact", "amount", "gas", "expected"),
    [
        (Side.SELL, "in", 10, 0, Limits(max_sold=10, min_bought=4)),
        (Side.SELL, "in", 10, 2, Limits(max_sold=10, min_bought=6)),
        (Side.SELL, "out", 10, 0, Limits(max_sold=30, min_bought=10)),
        (Side.SELL, "out", 10, 10, None),
        (Side.BUY, "out", 10, 0, Limits(max_sold=3, min_bought=10)),
        (Side.BUY, "out", 10, 2, Limits(max_sold=1, min_bought=10)),
        (Side.BUY, "out", 10, 3, None),
        (Side.BUY, "in", 10, 0, Limits(max_sold=10, min_bought=30)),
        (Side.BUY, "in", 10, 1, Limits(max_sold=10, min_bought=33)),
    ],
)
def test_what_a_limit_price_of_a_third_allows(
    side: Side, exact: Exact, amount: int, gas: int, expected: Limits | None
) -> None:
    terms = terms_with(Ratio.of(1, 3), side=side, exact=exact, amount=amount)
    assert allowed(terms, gas_value=gas) == expected


@pytest.mark.parametrize(
    ("fires_above", "mid", "expected"),
    [
        (False, Ratio.of(2_000, 1), True),
        (False, Ratio.of(2_000 * 10**18 + 1, 10**18), False),
        (False, Ratio.of(1_999, 1), True),
        (True, Ratio.of(2_000, 1), True),
        (True, Ratio.of(2_000 * 10**18 - 1, 10**18), False),
        (True, Ratio.of(2_001, 1), True),
    ],
)
def test_a_stop_fires_at_its_price_and_beyond(fires_above: bool, mid: Ratio, expected: bool) -> None:
    terms = terms_with(Ratio.of(1_990, 1), stop=Ratio.of(2_000, 1), fires_above=fires_above)
    assert fires(terms, mid) is expected


def test_an_order_without_a_stop_never_fires() -> None:
    assert not fires(terms_with(Ratio.of(1, 1)), Ratio.of(1, 1))


@pytest.mark.parametrize(
    ("expires_ms", "retry_after_ms", "expected"),
    [
        (None, None, None),
        (100, None, Expire()),
        (101, None, None),
        (100, 200, Expire()),
        (None, 101, HoldBack(why=Why.BACKING_OFF)),
        (None, 100, None),
    ],
)
def test_time_alone_expires_an_order_or_lets_it_back_off(
    expires_ms: int | None, retry_after_ms: int | None, expected: Expire | HoldBack | None
) -> None:
    assert waiting(expires_ms=expires_ms, retry_after_ms=retry_after_ms, now_ms=100) == expected
