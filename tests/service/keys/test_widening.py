"""What widens a key's rights: each field, what is neither wider nor narrower, and the promise over all of them."""

from dataclasses import fields, replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.types import ChainId
from contracts.assets import AssetId
from service.auth.caveats import (
    Arrival,
    Call,
    CallCost,
    Cost,
    Counter,
    Facts,
    Kind,
    Tally,
    Target,
    Use,
    caveats_of,
    decide,
)
from service.auth.keys import Algorithm, ApiKey, IpNetwork, Permission, Rights
from service.auth.restrictions import AllowedCall, MarketId, Restrictions
from service.keys.widening import Direction, judge, wider_fields
from tests.service.books_seed import ETH, ETHEREUM, POL, POLYGON, USDC, address_of

READ, TRADE, WITHDRAW = Permission
MARKETS = (MarketId(base=ETH, quote=USDC), MarketId(base=POL, quote=USDC))
CALL = AllowedCall(chain_id=ETHEREUM, contract=address_of(77), selector="0xb6b55f25", max_value_wei=5)
BASE = Rights(
    permissions=frozenset({READ}),
    ip_allowlist=(ip_network("203.0.113.0/25"), ip_network("203.0.113.128/25"), ip_network("2001:db8::/64")),
    expires_ms=1_000,
    restrictions=Restrictions(
        chains=frozenset({ETHEREUM}),
        assets=frozenset({ETH}),
        markets=frozenset({MARKETS[0]}),
        max_order_usd=5,
        daily_usd=50,
        daily_orders=5,
        daily_gas={ETHEREUM: 7},
        daily_sold={ETH: 8},
        daily_withdrawals=3,
        daily_withdrawal_usd=30,
        daily_withdrawn={ETH: 9},
        calls=frozenset({CALL}),
    ),
)
CASES: list[tuple[str, Any, Direction]] = [
    ("permissions", frozenset({READ, TRADE}), Direction.WIDER),
    ("permissions", frozenset({TRADE}), Direction.WIDER),
    ("permissions", frozenset(), Direction.NARROWER),
    ("ip_allowlist", (), Direction.WIDER),
    ("ip_allowlist", (ip_network("203.0.112.0/23"), ip_network("2001:db8::/64")), Direction.WIDER),
    ("ip_allowlist", (ip_network("198.51.100.7/32"),), Direction.WIDER),
    ("ip_allowlist", (ip_network("2001:db8::/63"),), Direction.WIDER),
    ("ip_allowlist", (ip_network("203.0.113.64/26"), ip_network("2001:db8::1/128")), Direction.NARROWER),
    ("ip_allowlist", (ip_network("203.0.113.0/24"),), Direction.NARROWER),
    ("ip_allowlist", (ip_network("2001:db8::/64"), ip_network("203.0.113.0/24")), Direction.SAME),
    ("expires_ms", None, Direction.WIDER),
    ("expires_ms", 1_001, Direction.WIDER),
    ("expires_ms", 999, Direction.NARROWER),
    ("limits.chains", None, Direction.WIDER),
    ("limits.chains", frozenset({ETHEREUM, POLYGON}), Direction.WIDER),
    ("limits.chains", frozenset({POLYGON}), Direction.WIDER),
    ("limits.assets", None, Direction.WIDER),
    ("limits.assets", frozenset({USDC}), Direction.WIDER),
    ("limits.markets", frozenset(MARKETS), Direction.WIDER),
    ("limits.calls", frozenset(), Direction.NARROWER),
    ("limits.calls", frozenset({replace(CALL, max_value_wei=4)}), Direction.NARROWER),
    ("limits.calls", frozenset({replace(CALL, max_value_wei=6)}), Direction.WIDER),
    ("limits.calls", frozenset({replace(CALL, selector="0xb6b55f26")}), Direction.WIDER),
    ("limits.calls", frozenset({CALL, replace(CALL, chain_id=POLYGON)}), Direction.WIDER),
    ("limits.max_order_usd", None, Direction.WIDER),
    ("limits.max_order_usd", 6, Direction.WIDER),
    ("limits.max_order_usd", 0, Direction.NARROWER),
    ("limits.daily_usd", None, Direction.WIDER),
    ("limits.daily_usd", 49, Direction.NARROWER),
    ("limits.daily_orders", 6, Direction.WIDER),
    ("limits.daily_gas", {}, Direction.WIDER),
    ("limits.daily_gas", {POLYGON: 1}, Direction.WIDER),
    ("limits.daily_gas", {ETHEREUM: 8}, Direction.WIDER),
    ("limits.daily_gas", {ETHEREUM: 7, POLYGON: 100}, Direction.NARROWER),
    ("limits.daily_sold", {}, Direction.WIDER),
    ("limits.daily_sold", {ETH: 9}, Direction.WIDER),
    ("limits.daily_sold", {USDC: 8}, Direction.WIDER),
    ("limits.daily_sold", {ETH: 0, USDC: 1}, Direction.NARROWER),
    ("limits.daily_withdrawals", 4, Direction.WIDER),
    ("limits.daily_withdrawal_usd", 29, Direction.NARROWER),
    ("limits.daily_withdrawn", {USDC: 9}, Direction.WIDER),
    ("limits.daily_withdrawn", {ETH: 9, USDC: 1}, Direction.NARROWER),
]


def changed(name: str, value: Any) -> Rights:
    if name.startswith("limits."):
        limits = replace(BASE.restrictions, **{name.removeprefix("limits."): value})
        return replace(BASE, restrictions=limits)
    return replace(BASE, **{name: value})


@pytest.mark.parametrize(("name", "value", "expected"), CASES)
def test_each_field_is_judged_by_its_own_rule_and_no_other_one_moves(
    name: str, value: Any, expected: Direction
) -> None:
    found = judge(BASE, changed(name, value))
    assert found[name] is expected
    assert {direction for other, direction in found.items() if other != name} == {Direction.SAME}
    assert wider_fields(BASE, changed(name, value)) == ([name] if expected is Direction.WIDER else [])


def test_every_right_and_restriction_is_judged() -> None:
    names = {one.name for one in fields(Rights)} - {"restrictions"}
    assert set(judge(BASE, BASE)) == names | {f"limits.{one.name}" for one in fields(Restrictions)}


def test_what_widens_one_field_and_narrows_another_is_wider() -> None:
    both = replace(changed("limits.daily_usd", 1), expires_ms=None)
    assert wider_fields(BASE, both) == ["expires_ms"]


def some(of: list[Any]) -> st.SearchStrategy[frozenset[Any] | None]:
    return st.none() | st.frozensets(st.sampled_from(of), min_size=1)


NETWORKS: list[IpNetwork] = [
    ip_network(text)
    for text in ("0.0.0.0/0", "10.0.0.0/30", "10.0.0.0/31", "10.0.0.2/31", "10.0.0.3/32", "::/0", "fd00::/127")
]
AMOUNT = st.none() | st.integers(0, 4)
CHAINS: list[ChainId] = [ETHEREUM, POLYGON]
ASSETS: list[AssetId] = [ETH, USDC, POL]
SELECTORS = ["0xb6b55f25", "0x3ccfd60b"]
RIGHTS = st.builds(
    Rights,
    permissions=st.frozensets(st.sampled_from(list(Permission)), min_size=1),
    ip_allowlist=st.lists(st.sampled_from(NETWORKS), max_size=3, unique=True).map(tuple),
    expires_ms=AMOUNT,
    restrictions=st.builds(
        Restrictions,
        chains=some(CHAINS),
        assets=some(ASSETS),
        markets=some(list(MARKETS)),
        max_order_usd=AMOUNT,
        daily_usd=AMOUNT,
        daily_orders=AMOUNT,
        daily_gas=st.dictionaries(st.sampled_from(CHAINS), st.integers(0, 4)),
        daily_sold=st.dictionaries(st.sampled_from(ASSETS), st.integers(0, 4)),
        daily_withdrawals=AMOUNT,
        daily_withdrawal_usd=AMOUNT,
        daily_withdrawn=st.dictionaries(st.sampled_from(ASSETS), st.integers(0, 4)),
        calls=st.dictionaries(st.sampled_from(SELECTORS), st.integers(0, 4)).map(
            lambda most: frozenset(replace(CALL, selector=one, max_value_wei=wei) for one, wei in most.items())
        ),
    ),
)
ADDRESSES = st.sampled_from([ip_address(text) for text in ("10.0.0.0", "10.0.0.2", "10.0.0.3", "fd00::1", "fd00::2")])
USED = st.dictionaries(
    st.sampled_from(
        [Tally(counter=one) for one in Counter]
        + [Tally(counter=Counter.GAS, of=str(one)) for one in CHAINS]
        + [Tally(counter=counter, of=one) for counter in (Counter.SOLD, Counter.WITHDRAWN) for one in ASSETS]
    ),
    st.integers(0, 4),
)
FACTS: st.SearchStrategy[Facts] = st.one_of(
    st.builds(Arrival, now_ms=st.integers(0, 5), client_ip=ADDRESSES),
    st.builds(Use, permission=st.sampled_from(list(Permission))),
    st.builds(
        Target,
        wallet_id=st.integers(1, 2),
        chain_id=st.sampled_from(CHAINS),
        assets=st.frozensets(st.sampled_from(ASSETS)),
        market=st.none() | st.sampled_from(MARKETS),
        destination=st.none() | st.just(address_of(77)),
    ),
    st.builds(
        Call,
        chain_id=st.just(ETHEREUM),
        contract=st.just(CALL.contract),
        selector=st.sampled_from(SELECTORS),
        value_wei=st.integers(0, 5),
    ),
    st.builds(
        CallCost,
        chain_id=st.sampled_from(CHAINS),
        amounts=st.dictionaries(st.sampled_from(ASSETS), st.integers(0, 5)),
        usd=st.none() | st.integers(0, 5),
        gas_wei=st.integers(0, 5),
        used=USED,
    ),
    st.builds(
        Cost,
        kind=st.sampled_from(list(Kind)),
        chain_id=st.sampled_from(CHAINS),
        amounts=st.dictionaries(st.sampled_from(ASSETS), st.integers(0, 3)),
        usd=AMOUNT,
        gas_wei=st.integers(0, 3),
        used=USED,
    ),
)


def key_with(rights: Rights) -> ApiKey:
    return ApiKey(
        id="ck_0",
        account_id=1,
        wallet_id=1,
        label="k",
        algorithm=Algorithm.HMAC_SHA256,
        created_ms=0,
        revoked_ms=None,
        sealed=b"",
        public_key=None,
        **{one.name: getattr(rights, one.name) for one in fields(Rights)},
    )


@st.composite
def changes(draw: st.DrawFn) -> tuple[Rights, Rights]:
    """Rights and what they are changed to: each field kept or drawn anew, so that many changes are no widening."""
    before, other = draw(RIGHTS), draw(RIGHTS)
    names = draw(st.sets(st.sampled_from([one.name for one in fields(Rights)][:-1])))
    limits = draw(st.sets(st.sampled_from([one.name for one in fields(Restrictions)])))
    restrictions = replace(before.restrictions, **{name: getattr(other.restrictions, name) for name in limits})
    return before, replace(before, restrictions=restrictions, **{name: getattr(other, name) for name in names})


@given(change=changes(), fact=FACTS)
def test_what_is_not_widened_allows_nothing_that_was_not_allowed_before(
    change: tuple[Rights, Rights], fact: Facts
) -> None:
    before, after = change
    if wider_fields(before, after):
        return
    if decide(caveats_of(key_with(after)), fact) is None:
        assert decide(caveats_of(key_with(before)), fact) is None


@given(change=changes())
def test_undoing_a_narrowing_is_a_widening(change: tuple[Rights, Rights]) -> None:
    before, after = change
    there = judge(before, after)
    back = judge(after, before)
    for name, direction in there.items():
        if direction is Direction.NARROWER:
            assert back[name] is Direction.WIDER
        if direction is Direction.SAME:
            assert back[name] is Direction.SAME
