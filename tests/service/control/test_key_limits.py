"""What a key is restricted to, as the owner asks for it and is shown it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from service.auth.keys import Permission
from service.auth.restrictions import Restrictions
from service.control import key_acts
from service.control.key_acts import CreateKey
from service.control.key_limits import RestrictionParams, restrictions_of, shown
from service.control.params import NoParams
from service.control.protocol import ActFailed
from tests.service.api import Api, api
from tests.service.books_seed import ETH, ETHEREUM, POLYGON, USDC, address_of

VAULT = address_of(77)
TRADE = frozenset({Permission.TRADE})
ALL: dict[str, Any] = {
    "chains": ["ethereum"],
    "assets": ["ethereum:ETH", "ethereum:USDC"],
    "markets": ["ethereum:ETHUSDC"],
    "max_order_usd": "500",
    "daily_usd": "5000.5",
    "daily_orders": "10",
    "daily_gas": ["ethereum=0.1"],
    "daily_sold": ["ethereum:ETH=2.5", "ethereum:USDC=7000"],
    "daily_withdrawals": "3",
    "daily_withdrawal_usd": "1000",
    "daily_withdrawn": ["ethereum:USDC=12.5"],
    "calls": [f"ethereum:{VAULT}:0x3ccfd60b", f"ethereum:{VAULT}:deposit(uint256)=0.5"],
}


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Api]:
    async with api(tmp_path) as found:
        yield found


def asked(service: Api, permissions: frozenset[Permission] = TRADE, **limits: Any) -> Restrictions:
    return restrictions_of(service.services, RestrictionParams.model_validate(limits), permissions=permissions)


async def test_what_is_asked_for_is_what_is_shown(service: Api) -> None:
    found = asked(service, **ALL)
    assert (found.daily_usd, found.daily_gas, found.daily_withdrawn) == (
        5_000_500_000,
        {ETHEREUM: 10**17},
        {USDC: 12_500_000},
    )
    assert found.daily_sold == {ETH: 25 * 10**17, USDC: 7_000_000_000}
    assert found.assets == frozenset({ETH, USDC})
    assert shown(service.services, found) == ALL | {
        "daily_orders": 10,
        "daily_withdrawals": 3,
        "daily_gas": {"ethereum": "0.1"},
        "daily_sold": {"ethereum:ETH": "2.5", "ethereum:USDC": "7000"},
        "daily_withdrawn": {"ethereum:USDC": "12.5"},
        "calls": [f"ethereum:{VAULT}:0x3ccfd60b", f"ethereum:{VAULT}:0xb6b55f25=0.5"],
    }


async def test_a_limit_on_the_wrapped_native_asset_is_one_on_the_native_asset(service: Api) -> None:
    assert asked(service, daily_sold=["ethereum:WETH=3"]).daily_sold == {ETH: 3 * 10**18}
    # On Polygon WETH is a token like any other.
    (polygon,) = asked(service, daily_sold=["polygon:WETH=3"]).daily_sold
    assert polygon.startswith("eip155:137/erc20:")
    with pytest.raises(ActFailed, match="two limits"):
        asked(service, daily_sold=["ethereum:ETH=3", "ethereum:WETH=3"])


async def test_a_trade_key_has_the_default_budgets_and_the_owner_may_lift_or_change_each(service: Api) -> None:
    usual = asked(service)
    assert (usual.daily_usd, usual.daily_orders) == (100_000 * 10**6, 2_000)
    assert usual.daily_gas == {ETHEREUM: 5 * 10**17, POLYGON: 200 * 10**18}
    lifted = asked(service, daily_usd="none", daily_orders="none", daily_gas=["none"])
    assert lifted == Restrictions()
    assert asked(service, daily_orders="0").daily_orders == 0


async def test_a_key_without_trade_has_no_default_budgets(service: Api) -> None:
    assert asked(service, frozenset({Permission.READ, Permission.WITHDRAW})) == Restrictions()


@pytest.mark.parametrize(
    "wrong",
    [
        {"chains": ["atlantis"]},
        {"chains": []},
        {"assets": ["USDC"]},
        {"assets": ["ethereum:NOPE"]},
        {"markets": ["ethereum:NOPE"]},
        {"daily_usd": "-1"},
        {"daily_usd": "0.0000001"},
        {"daily_orders": "1.5"},
        {"daily_gas": ["0.5"]},
        {"daily_sold": ["ETH=1"]},
        {"daily_sold": ["ethereum:ETH=1", "ethereum:ETH=2"]},
        {"daily_sold": ["ethereum:USDC=0.0000001"]},
        {"daily_withdrawn": ["ethereum:USDC=0.0000001"]},
        {"calls": ["ethereum:deposit(uint256)"]},
        {"calls": [f"atlantis:{VAULT}:deposit(uint256)"]},
        {"calls": [f"ethereum:{VAULT}:deposit"]},
        {"calls": [f"ethereum:{VAULT}:balanceOf(address) view"]},
        {"calls": [f"ethereum:{VAULT}:0xb6b55f"]},
        {"calls": [f"ethereum:{VAULT}:0xb6b55f25=x"]},
        {"calls": [f"ethereum:{VAULT}:0xb6b55f25", f"ethereum:{VAULT}:deposit(uint256)=1"]},
    ],
)
async def test_what_is_no_limit_is_refused(service: Api, wrong: dict[str, Any]) -> None:
    with pytest.raises(ActFailed) as refused:
        asked(service, **wrong)
    assert refused.value.code == "bad_limit"


async def test_a_made_key_says_its_limits_and_so_does_the_list(service: Api) -> None:
    params = CreateKey.model_validate(
        {"label": "careful", "wallet": "main", "permissions": ["trade"], "limits": {"daily_orders": "7"}}
    )
    made = await key_acts.create(service.services, params)
    assert made["limits"]["daily_orders"] == 7
    assert made["limits"]["daily_usd"] == "100000"
    listed = (await key_acts.list_(service.services, NoParams()))["keys"]
    assert [one["limits"] for one in listed if one["label"] == "careful"] == [made["limits"]]
