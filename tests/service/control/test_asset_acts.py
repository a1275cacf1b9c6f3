"""Tokens checked, listed and taken out again by the owner, on a fork with tokens that misbehave."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from chains.types import Address
from scripts.devnet.network import LocalChain
from service.build import Services, build
from service.control.acts import perform
from service.control.installing import install
from service.control.protocol import ActFailed
from service.control.server import this_operator
from service.journal.opening import open_balances
from service.settings import Settings
from tests.contracts.desk import Desk, fresh_address, open_desk
from tests.contracts.hostile import Hostile, make_pool, place_token
from tests.service.auth.seed import seed_wallet

ACCEPTED = ["can_tax", "can_pause"]
"""What the code of the tokens here shows, however they behave."""


@pytest.fixture
async def desk(ethereum: LocalChain) -> AsyncIterator[Desk]:
    async with open_desk(ethereum) as found:
        yield found


@pytest.fixture
async def settings(tmp_path: Path, ethereum: LocalChain) -> Settings:
    made = Settings.model_validate(
        {
            "data_dir": tmp_path / "data",
            "master_key_file": tmp_path / "keys" / "master.key",
            "keystore_password_file": tmp_path / "keys" / "password",
            "rpc": {"ethereum": ethereum.rpc_url},
        }
    )
    await install(made, account="main", owner="ada")
    return made


@asynccontextmanager
async def started(settings: Settings) -> AsyncIterator[Services]:
    services = await build(settings)
    try:
        yield services
    finally:
        await services.close()


@pytest.fixture
async def services(settings: Settings) -> AsyncIterator[Services]:
    async with started(settings) as found:
        yield found


async def do(services: Services, act: str, **params: Any) -> dict[str, Any]:
    return await perform(services, f"asset.{act}", {"chain": "ethereum", **params}, this_operator())


async def add(services: Services, token: Address, **params: Any) -> dict[str, Any]:
    asked = {"label": "HOS", "quotes": ["ETH", "USDC"], "accepted": ACCEPTED} | params
    return await do(services, "add", address=token, **asked)


async def refusal(services: Services, act: str, **params: Any) -> ActFailed:
    with pytest.raises(ActFailed) as refused:
        await do(services, act, **params)
    return refused.value


def pooled(desk: Desk, *, tokens: int = 10**22, **token: Any) -> Hostile:
    """A token with a pool of 100 WETH."""
    made = place_token(desk, **token)
    make_pool(desk, made, tokens=tokens)
    return made


def codes(report: dict[str, Any], level: str) -> list[str]:
    return [one["code"] for one in report["findings"] if one["level"] == level]


async def test_a_token_is_listed_from_the_next_start_with_its_markets(
    desk: Desk, services: Services, settings: Settings
) -> None:
    token = pooled(desk)
    done = await add(services, token.address)
    assert done["markets"] == ["HOSETH", "HOSUSDC"]
    assert "next start" in done["next"]
    listed = {one["symbol"]: one for one in (await do(services, "list"))["assets"]}
    assert (listed["HOS"]["status"], listed["HOS"]["added"]) == ("at the next start", True)
    assert (listed["ETH"]["status"], listed["ETH"]["added"]) == ("in use", False)
    assert "HOSUSDC" not in services.chains["ethereum"].assets.markets
    await services.close()
    async with started(settings) as later:
        assert later.chains["ethereum"].assets.by_symbol("HOS").address == token.address
        assert "HOSUSDC" in later.chains["ethereum"].assets.markets


@pytest.mark.parametrize(
    ("manners", "code"),
    [
        ({"fee_bps": 100}, "taxed"),
        ({"fee_bps": 10_000}, "taxed"),
        ({"returns_false": True}, "answers_false"),
        ({"paused": True}, "transfer_reverts"),
    ],
)
async def test_a_token_that_misbehaves_is_refused_and_nothing_is_written(
    desk: Desk, services: Services, settings: Settings, manners: dict[str, Any], code: str
) -> None:
    """F38: a taxed token never gets onto the list."""
    token = pooled(desk)
    token.misbehave(**manners)
    report = await do(services, "check", address=token.address)
    assert (report["verdict"], code in codes(report, "refused")) == ("refused", True)
    with pytest.raises(ActFailed) as refused:
        await add(services, token.address, accepted=[*ACCEPTED, code])
    assert (refused.value.code, code in refused.value.message) == ("token_refused", True)
    assert not settings.assets_file(1).exists()


async def test_warnings_have_to_be_accepted_by_name(desk: Desk, services: Services) -> None:
    token = pooled(desk)
    failed = await refusal(services, "add", address=token.address, label="HOS", quotes=["ETH"], accepted=["can_tax"])
    assert (failed.code, failed.hint) == ("warnings", "If that is as you want it: --accept can_pause")
    assert (await add(services, token.address))["symbol"] == "HOS"


async def test_a_token_that_looks_like_a_listed_one_is_warned_about(desk: Desk, services: Services) -> None:
    usdc = services.chains["ethereum"].assets.by_symbol("USDC")
    assert usdc.address is not None
    mined = Address(usdc.address[:6] + fresh_address()[6:-4].lower() + usdc.address[-4:])
    token = pooled(desk, symbol="USDC", name="USD Coin", address=mined)
    report = await do(services, "check", address=token.address.lower())
    told = [one["text"] for one in report["findings"] if one["code"] == "look_alike"]
    assert len(told) == 3
    assert any("symbol 'USDC' is that of the listed USDC" in one for one in told)
    assert any("name 'USD Coin'" in one for one in told)
    assert any("address begins and ends like" in one for one in told)


async def test_a_token_that_no_pool_holds_is_refused_unless_somebody_is_named_who_does(
    desk: Desk, services: Services
) -> None:
    token = place_token(desk)
    report = await do(services, "check", address=token.address)
    assert codes(report, "refused") == ["not_tried"]
    assert "no_pool" in codes(report, "warning")
    report = await do(services, "check", address=token.address, holder=token.owner)
    assert codes(report, "refused") == []
    assert {"no_pool", "no_round_trip"} <= set(codes(report, "warning"))
    assert codes(await do(services, "check", address=token.address, holder=fresh_address()), "refused") == ["not_tried"]


@pytest.mark.parametrize(
    ("symbol", "code"), [("", "no_symbol"), ("US\u202eDC", "no_symbol"), ("USDC ", "deceptive_symbol")]
)
async def test_a_symbol_that_deceives_is_refused(desk: Desk, services: Services, symbol: str, code: str) -> None:
    token = pooled(desk, symbol=symbol)
    assert codes(await do(services, "check", address=token.address), "refused") == [code]


@pytest.mark.parametrize(("decimals", "level"), [(0, "warning"), (19, "warning"), (37, "refused"), (255, "refused")])
async def test_decimals_that_are_unusual_are_told_and_absurd_ones_refused(
    desk: Desk, services: Services, decimals: int, level: str
) -> None:
    token = pooled(desk, decimals=decimals)
    report = await do(services, "check", address=token.address)
    assert [code for code in codes(report, level) if code.endswith("decimals")]


async def test_a_wallet_and_a_contract_that_is_no_token_are_refused(desk: Desk, services: Services) -> None:
    assert codes(await do(services, "check", address=fresh_address()), "refused") == ["no_contract"]
    report = await do(services, "check", address=desk.multicall)
    assert {"no_decimals", "no_symbol", "no_supply"} == set(codes(report, "refused"))


async def test_a_listed_token_passes_with_its_own_flags_and_pools(services: Services) -> None:
    usdt = services.chains["ethereum"].assets.by_symbol("USDT")
    report = await do(services, "check", address=usdt.address)
    assert codes(report, "refused") == []
    assert "listed" in codes(report, "note")
    assert report["flags"] == sorted(usdt.flags)
    assert {pool["quote"] for pool in report["pools"]} == {"WETH", "USDC"}
    failed = await refusal(services, "add", address=usdt.address, label="USDT2", quotes=["ETH"])
    assert failed.code == "already_listed"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"label": "USDC"}, "label_taken"),
        ({"label": "usdx"}, "bad_label"),
        ({"label": "US DX"}, "bad_label"),
        ({"quotes": ["XYZ"]}, "unknown_quote"),
        ({"quotes": []}, "bad_parameters"),
        ({"quotes": ["ETH", "ETH"]}, "does_not_fit"),
        ({"address": "0x123"}, "bad_address"),
        ({"feed": "0x5f4eC3Df9cbd43714FE2740f5E3616155c5b8419"}, "heartbeat_needed"),
        ({"feed": "0xcA11bde05977b3631167028862bE2a173976CA11", "heartbeat_s": 60}, "not_a_feed"),
        ({"chain": "nowhere"}, "no_such_chain"),
        ({"chain": "polygon"}, "chain_not_active"),
    ],
)
async def test_what_does_not_fit_is_refused_with_a_code(
    desk: Desk, services: Services, change: dict[str, Any], code: str
) -> None:
    token = pooled(desk)
    asked = {"address": token.address, "label": "HOS", "quotes": ["ETH"], "accepted": ACCEPTED}
    assert (await refusal(services, "add", **asked | change)).code == code


async def test_a_feed_and_an_unguarded_market_are_written_down(
    desk: Desk, services: Services, settings: Settings
) -> None:
    feed = services.chains["ethereum"].deployments.address(desk.chain_id, "chainlink_dai_usd")
    worth_a_dollar = pooled(desk, tokens=300_000 * 10**18)
    done = await add(services, worth_a_dollar.address, feed=feed, heartbeat_s=3600)
    assert done["opinions"] == "Chainlink has a second opinion on its price."
    blind = await add(services, pooled(desk).address, label="HOT", quotes=["DAI"], unguarded=True)
    assert "without a second opinion" in blind["opinions"]
    written = json.loads(settings.assets_file(1).read_text())
    assert written["feeds"]["added_hos_usd"]["address"] == feed
    assert written["unguarded"] == ["HOT/DAI"]


async def test_a_feed_of_something_else_is_refused(desk: Desk, services: Services, settings: Settings) -> None:
    token = pooled(desk, tokens=300_000 * 10**18)
    failed = await refusal(
        services,
        "add",
        address=token.address,
        label="HOS",
        quotes=["ETH"],
        accepted=ACCEPTED,
        feed="chainlink_btc_usd",
    )
    assert failed.code == "feed_disagrees"
    assert not settings.assets_file(1).exists()
    done = await add(services, token.address, feed="chainlink_dai_usd")
    assert done["opinions"] == "Chainlink has a second opinion on its price."


async def test_an_added_asset_is_removed_once_no_wallet_has_any(
    desk: Desk, services: Services, settings: Settings
) -> None:
    token = pooled(desk)
    await add(services, token.address)
    await services.close()
    async with started(settings) as later:
        asset = later.chains["ethereum"].assets.by_symbol("HOS")
        block = await desk.head()

        def seed(c: Any) -> None:
            wallet = seed_wallet(c, later.master)
            open_balances(c, wallet.id, chain_id=asset.chain_id, amounts={asset.id: 5 * 10**17}, block=block)

        await later.db.run(seed)
        failed = await refusal(later, "remove", symbol="HOS")
        assert (failed.code, "has 0.5" in failed.message) == ("has_balances", True)
        assert (await refusal(later, "remove", symbol="USDC")).code == "not_added"
        done = await do(later, "remove", symbol="HOS", despite_balances=True)
        assert "0.5" in done["left_behind"]
        listed = {one["symbol"]: one for one in (await do(later, "list"))["assets"]}
        assert listed["HOS"]["status"] == "until the next start"
    async with started(settings) as last:
        assert "HOS" not in {asset.symbol for asset in last.chains["ethereum"].assets}
