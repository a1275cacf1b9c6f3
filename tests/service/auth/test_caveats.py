"""Each caveat alone, and all of them together: what they deny, why, and that one more never allows more."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.auth.caveats import (
    Arrival,
    Call,
    CallCost,
    Caveat,
    Cost,
    Counter,
    Daily,
    Facts,
    FromNetworks,
    HasPermission,
    Kind,
    NotExpired,
    OfCalls,
    OfWallet,
    OnChains,
    OnMarkets,
    OrderUsd,
    Tally,
    Target,
    ToDestinations,
    Use,
    WithAssets,
    decide,
    require,
    takes,
)
from service.auth.keys import Destination, Permission
from service.auth.restrictions import AllowedCall, MarketId
from service.errors import ERRORS, ApiError
from tests.service.books_seed import ETH, ETHEREUM, POL, POLYGON, USDC, address_of

MARKET = MarketId(base=ETH, quote=USDC)
BOB = address_of(77)
HERE = Arrival(now_ms=1_000, client_ip=ip_address("203.0.113.7"))
ORDER = Target(wallet_id=1, chain_id=ETHEREUM, assets=frozenset({ETH, USDC}), market=MARKET, destination=None)
PAYMENT = Target(wallet_id=1, chain_id=ETHEREUM, assets=frozenset({ETH}), market=None, destination=BOB)
TRADED = Cost(kind=Kind.ORDER, chain_id=ETHEREUM, amounts={USDC: 50}, usd=100, gas_wei=7, used={})
PAID = Cost(kind=Kind.WITHDRAWAL, chain_id=ETHEREUM, amounts={ETH: 50}, usd=100, gas_wei=7, used={})
UPKEEP = Cost(kind=Kind.UPKEEP, chain_id=ETHEREUM, amounts={}, usd=None, gas_wei=7, used={})
CALL = Call(chain_id=ETHEREUM, contract=BOB, selector="0xb6b55f25", value_wei=5)
CALLED = CallCost(chain_id=ETHEREUM, amounts={ETH: 50, USDC: 3}, usd=100, gas_wei=7, used={})
MAY_CALL = OfCalls(
    calls=frozenset({AllowedCall(chain_id=ETHEREUM, contract=BOB, selector="0xb6b55f25", max_value_wei=5)})
)
TO_BOB = ToDestinations(destinations=frozenset({Destination(chain_id=ETHEREUM, address=BOB)}))


def a_day(counter: Counter, limit: int, of: str = "") -> Daily:
    return Daily(tally=Tally(counter=counter, of=of), limit=limit)


def used(cost: Cost, counter: Counter, taken: int, of: str = "") -> Cost:
    return replace(cost, used={Tally(counter=counter, of=of): taken})


CASES: list[tuple[Caveat, Facts, Facts, str]] = [
    (NotExpired(expires_ms=1_001), HERE, replace(HERE, now_ms=1_001), "key_expired"),
    (
        FromNetworks(networks=(ip_network("10.0.0.0/8"), ip_network("203.0.113.7/32"))),
        HERE,
        replace(HERE, client_ip=ip_address("203.0.113.8")),
        "ip_not_allowed",
    ),
    (
        HasPermission(permissions=frozenset({Permission.READ})),
        Use(permission=Permission.READ),
        Use(permission=Permission.TRADE),
        "permission_denied",
    ),
    (OfWallet(wallet_id=1), ORDER, replace(ORDER, wallet_id=2), "key_restricted"),
    (OnChains(chains=frozenset({ETHEREUM})), ORDER, replace(ORDER, chain_id=POLYGON), "key_restricted"),
    (
        WithAssets(assets=frozenset({ETH, USDC})),
        ORDER,
        replace(ORDER, assets=frozenset({ETH, POL})),
        "key_restricted",
    ),
    (
        OnMarkets(markets=frozenset({MARKET})),
        ORDER,
        replace(ORDER, market=MarketId(base=USDC, quote=ETH)),
        "key_restricted",
    ),
    (TO_BOB, PAYMENT, replace(PAYMENT, destination=address_of(78)), "destination_not_allowed"),
    (TO_BOB, PAYMENT, replace(PAYMENT, chain_id=POLYGON), "destination_not_allowed"),
    (OrderUsd(limit=100), TRADED, replace(TRADED, usd=101), "key_limit_reached"),
    (OrderUsd(limit=100), TRADED, replace(TRADED, usd=None), "limit_price_unknown"),
    (
        a_day(Counter.ORDERS, 3),
        used(TRADED, Counter.ORDERS, 2),
        used(TRADED, Counter.ORDERS, 3),
        "key_limit_reached",
    ),
    (
        a_day(Counter.ORDER_USD, 300),
        used(TRADED, Counter.ORDER_USD, 200),
        used(TRADED, Counter.ORDER_USD, 201),
        "key_limit_reached",
    ),
    (a_day(Counter.ORDER_USD, 300), TRADED, replace(TRADED, usd=None), "limit_price_unknown"),
    (
        a_day(Counter.GAS, 10, "1"),
        used(TRADED, Counter.GAS, 3, "1"),
        used(TRADED, Counter.GAS, 4, "1"),
        "key_limit_reached",
    ),
    (a_day(Counter.GAS, 10, "1"), used(PAID, Counter.GAS, 3, "1"), replace(PAID, gas_wei=11), "key_limit_reached"),
    (a_day(Counter.SOLD, 50, USDC), TRADED, replace(TRADED, amounts={USDC: 51}), "key_limit_reached"),
    (
        a_day(Counter.SOLD, 60, USDC),
        used(TRADED, Counter.SOLD, 10, USDC),
        used(TRADED, Counter.SOLD, 11, USDC),
        "key_limit_reached",
    ),
    (a_day(Counter.WITHDRAWALS, 1), PAID, used(PAID, Counter.WITHDRAWALS, 1), "key_limit_reached"),
    (a_day(Counter.WITHDRAWAL_USD, 100), PAID, replace(PAID, usd=101), "key_limit_reached"),
    (a_day(Counter.WITHDRAWAL_USD, 100), PAID, replace(PAID, usd=None), "limit_price_unknown"),
    (a_day(Counter.WITHDRAWN, 50, ETH), PAID, replace(PAID, amounts={ETH: 51}), "key_limit_reached"),
    (a_day(Counter.WITHDRAWN, 3, USDC), CALLED, replace(CALLED, amounts={USDC: 4}), "key_limit_reached"),
    (a_day(Counter.WITHDRAWAL_USD, 100), CALLED, replace(CALLED, usd=101), "key_limit_reached"),
    (a_day(Counter.WITHDRAWAL_USD, 100), CALLED, replace(CALLED, usd=None), "limit_price_unknown"),
    (
        a_day(Counter.WITHDRAWALS, 1),
        CALLED,
        replace(CALLED, used={Tally(counter=Counter.WITHDRAWALS): 1}),
        "key_limit_reached",
    ),
    (a_day(Counter.GAS, 7, "1"), UPKEEP, replace(UPKEEP, gas_wei=8), "key_limit_reached"),
    (MAY_CALL, CALL, replace(CALL, value_wei=6), "call_not_allowed"),
    (MAY_CALL, CALL, replace(CALL, selector="0xb6b55f26"), "call_not_allowed"),
    (MAY_CALL, CALL, replace(CALL, contract=address_of(78)), "call_not_allowed"),
    (MAY_CALL, CALL, replace(CALL, chain_id=POLYGON), "call_not_allowed"),
]
OTHER_BUSINESS: list[tuple[Caveat, Facts]] = [
    (OnMarkets(markets=frozenset({MARKET})), PAYMENT),
    (TO_BOB, ORDER),
    (OrderUsd(limit=1), PAID),
    (a_day(Counter.ORDERS, 0), PAID),
    (a_day(Counter.ORDER_USD, 0), replace(PAID, usd=None)),
    (a_day(Counter.SOLD, 0, ETH), TRADED),
    (a_day(Counter.SOLD, 0, ETH), PAID),
    (a_day(Counter.SOLD, 0, ETH), replace(UPKEEP, amounts={ETH: 1})),
    (a_day(Counter.SOLD, 0, ETH), CALLED),
    (a_day(Counter.WITHDRAWN, 0, USDC), TRADED),
    (a_day(Counter.WITHDRAWALS, 0), TRADED),
    (a_day(Counter.WITHDRAWAL_USD, 0), replace(TRADED, usd=None)),
    (a_day(Counter.WITHDRAWN, 0, USDC), PAID),
    (a_day(Counter.GAS, 0, "137"), TRADED),
    (MAY_CALL, PAYMENT),
    (TO_BOB, CALL),
    (a_day(Counter.ORDERS, 0), UPKEEP),
    (a_day(Counter.WITHDRAWALS, 0), UPKEEP),
    (a_day(Counter.WITHDRAWAL_USD, 0), UPKEEP),
    (a_day(Counter.ORDER_USD, 0), replace(CALLED, usd=None)),
    (a_day(Counter.WITHDRAWN, 0, POL), CALLED),
]


@pytest.mark.parametrize(("caveat", "inside", "outside", "code"), CASES)
def test_a_caveat_allows_up_to_its_bound_and_says_why_not_beyond(
    caveat: Caveat, inside: Facts, outside: Facts, code: str
) -> None:
    assert caveat.check(inside) is None
    denied = caveat.check(outside)
    assert denied is not None
    assert denied.code == code
    assert denied.code in ERRORS
    assert denied.reason
    with pytest.raises(ApiError) as refused:
        require([caveat], inside, outside)
    assert (refused.value.code, refused.value.message) == (code, denied.reason)


@pytest.mark.parametrize(("caveat", "facts"), OTHER_BUSINESS)
def test_a_caveat_says_nothing_on_what_it_is_not_about(caveat: Caveat, facts: Facts) -> None:
    assert caveat.check(facts) is None


def test_where_no_destination_is_listed_none_is_allowed() -> None:
    assert decide([ToDestinations(destinations=frozenset())], PAYMENT) is not None


def test_where_no_call_is_listed_none_is_allowed() -> None:
    assert decide([OfCalls(calls=frozenset())], CALL) is not None


def test_a_reason_has_the_limit_what_was_used_and_what_is_asked_in_dollars() -> None:
    cost = used(replace(TRADED, usd=1_500_000), Counter.ORDER_USD, 9_000_000)
    denied = a_day(Counter.ORDER_USD, 10_000_000).check(cost)
    assert denied is not None
    for figure in ("10 USD", "9 USD used", "1.5 USD"):
        assert figure in denied.reason


CAVEATS = [case[0] for case in CASES]
FACTS = [facts for case in CASES for facts in (case[1], case[2])]


@given(st.lists(st.sampled_from(CAVEATS)), st.sampled_from(CAVEATS), st.sampled_from(FACTS), st.integers(0, 8))
def test_one_more_caveat_never_allows_more(caveats: list[Caveat], more: Caveat, facts: Facts, where: int) -> None:
    wider = decide(caveats, facts)
    narrower = decide([*caveats[:where], more, *caveats[where:]], facts)
    if wider is not None:
        assert narrower is not None
    assert (narrower is None) == (wider is None and more.check(facts) is None)


def test_every_counter_is_taken_by_something() -> None:
    taken = {tally.counter for cost in (TRADED, PAID) for tally in takes(cost)}
    assert taken == set(Counter)


def test_what_only_pays_gas_is_counted_as_gas_and_as_nothing_else() -> None:
    assert dict(takes(UPKEEP)) == {Tally(counter=Counter.GAS, of="1"): 7}
