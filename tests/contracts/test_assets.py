"""Assets, amounts and the data files they come from."""

import json
from pathlib import Path
from typing import Any

import pytest

from chains.config import load_chains
from chains.types import ChainId, parse_address
from contracts.assets import AssetList, TokenAmount, load_assets, markets
from contracts.deployments import MULTICALL3, WRAPPED_NATIVE, Venue, load_deployments
from contracts.errors import AssetMismatch, InvalidData, UnknownDeployment, UnlistedAsset

ETHEREUM, POLYGON = ChainId(1), ChainId(137)
TOKEN = "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2"
OTHER = "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"


def test_an_asset_is_found_by_id_symbol_and_address() -> None:
    assets = load_assets(ETHEREUM)
    usdc = assets.by_symbol("USDC")
    assert usdc.id == "eip155:1/erc20:0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"
    assert assets.by_id(usdc.id) is assets.by_address(usdc.token_address) is usdc
    assert assets.native.id == "eip155:1/slip44:60"
    assert load_assets(POLYGON).native.id == "eip155:137/slip44:966"


def test_the_native_asset_has_no_address() -> None:
    native = load_assets(POLYGON).native
    assert native.is_native
    assert native.address is None
    with pytest.raises(AssetMismatch, match="has no address"):
        _ = native.token_address


@pytest.mark.parametrize("symbol", ["usdc", "XYZ", "", "USDC.e"])
def test_a_symbol_that_is_not_listed_is_refused(symbol: str) -> None:
    with pytest.raises(UnlistedAsset):
        load_assets(POLYGON).by_symbol(symbol)


def test_an_asset_of_another_chain_is_not_in_the_list() -> None:
    assert load_assets(POLYGON).by_symbol("USDC") not in load_assets(ETHEREUM)


def test_bridged_usdc_has_its_own_label() -> None:
    assets = load_assets(POLYGON)
    assert assets.by_symbol("USDCE") != assets.by_symbol("USDC")
    assert "USDC.e" in assets.by_symbol("USDCE").onchain_symbols


def test_only_amounts_of_one_asset_add_up() -> None:
    assets = load_assets(ETHEREUM)
    usdc, usdt = assets.by_symbol("USDC"), assets.by_symbol("USDT")
    assert (TokenAmount(asset=usdc, raw=5) + TokenAmount(asset=usdc, raw=7)).raw == 12
    assert str(TokenAmount(asset=usdc, raw=1_500_000) - TokenAmount(asset=usdc, raw=2_000_000)) == "-0.5 USDC"
    with pytest.raises(AssetMismatch):
        TokenAmount(asset=usdc, raw=1) + TokenAmount(asset=usdt, raw=1)


def test_markets_tell_the_native_asset_from_the_wrapped_token() -> None:
    found = markets(load_assets(ETHEREUM))
    assert found["ETHUSDC"].base.is_native
    assert not found["WETHUSDC"].base.is_native
    assert "ETHWETH" not in found


@pytest.mark.parametrize("chain_id", [ETHEREUM, POLYGON])
def test_the_data_files_agree_with_each_other_and_with_the_chain_table(chain_id: ChainId) -> None:
    assets, deployments = load_assets(chain_id), load_deployments()
    config = next(chain for chain in load_chains().values() if chain.chain_id == chain_id)
    wrapped = deployments.address(chain_id, WRAPPED_NATIVE)
    assert assets.wrapped.address == wrapped == config.wrapped_native
    assert assets.native.symbol == config.native_symbol
    assert assets.native.id == f"eip155:{chain_id}/slip44:{config.native_slip44}"
    for asset in assets:
        feed = assets.usd_feed(asset)
        assert feed is not None
        assert deployments.address(chain_id, feed.name)
        assert feed.decimals == 8
        assert 27 <= feed.heartbeat_s <= 86_400
    assert all(market.guarded for market in assets.markets.values())


def test_only_the_routers_may_get_an_allowance() -> None:
    deployments = load_deployments()
    routers = {deployments.router_of(POLYGON, venue).address for venue in (Venue.UNISWAP_V3, Venue.QUICKSWAP_V2)}
    assert deployments.spenders(POLYGON) == routers
    assert deployments.address(POLYGON, MULTICALL3) not in deployments.spenders(POLYGON)


def test_what_the_registry_does_not_have_is_refused() -> None:
    deployments = load_deployments()
    with pytest.raises(UnknownDeployment):
        deployments.address(ETHEREUM, "quickswap_v2_router")
    with pytest.raises(UnknownDeployment):
        deployments.venue(POLYGON, Venue.UNISWAP_V2)
    with pytest.raises(UnknownDeployment):
        deployments.spenders(ChainId(10))


def _listing() -> dict[str, Any]:
    return {
        "chain_id": 10,
        "native": {"symbol": "ETH", "name": "Ether", "decimals": 18, "slip44": 60},
        "wrapped": "WETH",
        "connectors": ["WETH"],
        "tokens": [
            {"symbol": "WETH", "name": "Wrapped", "decimals": 18, "address": TOKEN},
            {"symbol": "USDC", "name": "USD Coin", "decimals": 6, "address": OTHER, "flags": ["no_return"]},
        ],
        "markets": ["ETH/USDC"],
    }


def _load(folder: Path, listing: object) -> AssetList:
    file = folder / "assets.json"
    file.write_text(json.dumps(listing))
    return load_assets(ChainId(10), file)


def test_an_operators_file_lists_another_chain(tmp_path: Path) -> None:
    assets = _load(tmp_path, _listing())
    assert [asset.symbol for asset in assets] == ["ETH", "WETH", "USDC"]
    assert assets.find_address(parse_address(OTHER)) is assets.by_symbol("USDC")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"chain_id": 11}, "chain_id"),
        ({"wrapped": "USDT"}, "not among"),
        ({"wrapped": "ETH"}, "must be tokens"),
        ({"markets": ["ETH/WETH"]}, "not a market"),
        ({"markets": ["ETH/USDC", "ETH/USDC"]}, "same symbol"),
        ({"markets": ["ETHUSDC"]}, "not among"),
        ({"makrets": []}, "unknown field 'makrets'"),
        ({"native": {"symbol": "ETH", "name": "Ether", "decimals": 18}}, "slip44"),
        ({"native": {"symbol": "ETH", "name": "Ether", "decimals": 1.5, "slip44": 60}}, "decimals"),
        ({"native": {"symbol": "eth", "name": "Ether", "decimals": 18, "slip44": 60}}, "upper-case"),
    ],
)
def test_a_wrong_listing_is_refused_by_name(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidData, match=says):
        _load(tmp_path, _listing() | change)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"address": TOKEN}, "share a symbol or an address"),
        ({"address": OTHER[:-1] + "9"}, "checksum"),
        ({"flags": ["rebasing"]}, "flags"),
        ({"decimals": 78}, "decimals"),
    ],
)
def test_a_wrong_token_is_refused_by_name(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    listing = _listing()
    listing["tokens"][1] |= change
    with pytest.raises(InvalidData, match=says):
        _load(tmp_path, listing)


def test_two_tokens_with_one_symbol_are_refused(tmp_path: Path) -> None:
    listing = _listing()
    listing["tokens"].append(listing["tokens"][1] | {"address": "0xdAC17F958D2ee523a2206206994597C13D831ec7"})
    with pytest.raises(InvalidData, match="share a symbol or an address"):
        _load(tmp_path, listing)


def test_a_file_that_is_not_there_or_not_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="cannot be read"):
        load_assets(ETHEREUM, tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(InvalidData, match="not JSON"):
        load_assets(ETHEREUM, tmp_path / "bad.json")
    with pytest.raises(InvalidData, match="operator's own"):
        load_assets(ChainId(5))


FEED = {"description": "x", "decimals": 8, "heartbeat_s": 9}
NO_MARKETS: dict[str, Any] = {"markets": [], "unguarded": []}
ADDED = "0x1f9840a85d5aF5bf1D1762F925BDADdC4201F984"


def _additions(**change: Any) -> dict[str, Any]:
    return {
        "version": 1,
        "chain_id": 1,
        "feeds": {"uni_usd": {"description": "UNI / USD", "decimals": 8, "heartbeat_s": 3600, "address": OTHER}},
        "tokens": [{"symbol": "UNI", "name": "Uniswap", "decimals": 18, "address": ADDED, "usd_feed": "uni_usd"}],
        "markets": ["UNI/USDC", "UNI/ETH"],
        "unguarded": ["UNI/ETH"],
    } | change


def _merged(folder: Path, additions: object) -> AssetList:
    file = folder / "assets-1.json"
    file.write_text(json.dumps(additions))
    return load_assets(ETHEREUM, additions=file)


def test_an_operators_additions_come_on_top_of_the_packaged_list(tmp_path: Path) -> None:
    assets = _merged(tmp_path, _additions())
    uni = assets.by_symbol("UNI")
    assert uni.id == f"eip155:1/erc20:{ADDED}"
    assert [asset for asset in assets if asset != uni] == list(load_assets(ETHEREUM))
    feed = assets.usd_feed(uni)
    assert feed is not None
    assert (feed.address, feed.heartbeat_s) == (OTHER, 3600)
    assert assets.markets["UNIUSDC"].guarded
    assert not assets.markets["UNIETH"].guarded


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": 2}, "version"),
        ({"chain_id": 137}, "chain_id"),
        ({"native": {}}, "unknown field 'native'"),
        ({"feeds": {}}, "feed of UNI"),
        ({"feeds": {"uni_usd": {"description": "x", "decimals": 8, "heartbeat_s": 0}}}, "heartbeat_s"),
        ({"feeds": {"uni_usd": FEED, "chainlink_eth_usd": FEED}}, "same name"),
        ({"markets": ["UNI/XYZ"]}, "'XYZ' is not among"),
        ({"markets": ["ETH/USDC"]}, "same symbol"),
        ({"unguarded": ["UNI/DAI"]}, "'UNIDAI' is not a market"),
        (
            {"tokens": [{"symbol": "USDC", "name": "x", "decimals": 6, "address": ADDED}], **NO_MARKETS},
            "share a symbol",
        ),
        (
            {"tokens": [{"symbol": "USDCX", "name": "x", "decimals": 6, "address": OTHER}], **NO_MARKETS},
            "share a symbol",
        ),
    ],
)
def test_additions_that_do_not_fit_the_list_are_refused_by_name(
    tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidData, match=says):
        _merged(tmp_path, _additions(**change))


def test_markets_whose_symbols_run_together_are_refused(tmp_path: Path) -> None:
    tokens = [
        {"symbol": "ABC", "name": "x", "decimals": 18, "address": ADDED},
        {"symbol": "DUSDC", "name": "x", "decimals": 18, "address": "0x7Fc66500c84A76Ad7e9c93437bFc5Ac33E2DDaE9"},
        {"symbol": "ABCD", "name": "x", "decimals": 18, "address": "0x514910771AF9Ca656af840dff83E8264EcF986CA"},
    ]
    with pytest.raises(InvalidData, match="two markets have the same symbol"):
        _merged(tmp_path, _additions(tokens=tokens, feeds={}, markets=["ABC/DUSDC", "ABCD/USDC"], unguarded=[]))
