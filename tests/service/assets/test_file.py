"""The operator's file: written whole, loaded first, and put back as it was when something does not fit."""

import json
import stat
from pathlib import Path

import pytest

from chains.types import Address, ChainId
from contracts.assets import Asset, Feed, load_assets, token_id
from contracts.errors import InvalidData
from service.assets import file as additions
from service.assets.file import Addition

ETHEREUM = ChainId(1)
UNI = Address("0x1f9840a85d5aF5bf1D1762F925BDADdC4201F984")
LINK = Address("0x514910771AF9Ca656af840dff83E8264EcF986CA")
FEED = Feed(name="added_uni_usd", heartbeat_s=3600, decimals=8, description="UNI / USD", address=LINK)


def addition(
    symbol: str = "UNI", address: Address = UNI, *, markets: tuple[str, ...] = ("UNI/USDC",), feed: Feed | None = None
) -> Addition:
    token = Asset(
        id=token_id(ETHEREUM, address),
        chain_id=ETHEREUM,
        symbol=symbol,
        name="Uniswap",
        decimals=18,
        address=address,
        flags=frozenset({"no_return"}),
        onchain_symbols=("UNI",),
        usd_feed=None if feed is None else feed.name,
    )
    return Addition(token=token, markets=markets, feed=feed)


def test_what_is_added_is_in_the_next_list_as_it_was_given(tmp_path: Path) -> None:
    file = tmp_path / "assets-1.json"
    given = addition(feed=FEED)
    answered = additions.add(ETHEREUM, file, given)
    listed = additions.load_listed(ETHEREUM, file)
    assert listed.by_symbol("UNI") == answered.by_symbol("UNI") == given.token
    assert listed.usd_feed(given.token) == FEED
    assert listed.markets["UNIUSDC"].guarded
    assert additions.added_symbols(ETHEREUM, file) == ("UNI",)


def test_the_file_is_private_and_nothing_else_is_left_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "assets-1.json"
    additions.add(ETHEREUM, file, addition())
    assert [one.name for one in tmp_path.iterdir()] == ["assets-1.json"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text())["version"] == 1


@pytest.mark.parametrize(
    ("second", "says"),
    [
        (addition("USDC", LINK, markets=()), "share a symbol"),
        (addition("UNI2", UNI, markets=()), "share a symbol or an address"),
        (addition("LINK", LINK, markets=("LINK/XYZ",)), "not among"),
        (addition("UNIUSD", LINK, markets=("UNIUSD/C",)), "not among"),
    ],
)
def test_what_does_not_fit_leaves_the_file_as_it_was(tmp_path: Path, second: Addition, says: str) -> None:
    file = tmp_path / "assets-1.json"
    additions.add(ETHEREUM, file, addition())
    before = file.read_bytes()
    with pytest.raises(InvalidData, match=says):
        additions.add(ETHEREUM, file, second)
    assert file.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["assets-1.json"]


def test_market_symbols_that_run_together_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "assets-1.json"
    additions.add(ETHEREUM, file, addition("ETHU", UNI, markets=("ETHU/USDC",)))
    with pytest.raises(InvalidData, match="two markets have the same symbol"):
        additions.add(ETHEREUM, file, addition("UUSDC", LINK, markets=("ETH/UUSDC",)))


def test_a_removed_token_takes_its_markets_and_its_feed_with_it(tmp_path: Path) -> None:
    file = tmp_path / "assets-1.json"
    additions.add(ETHEREUM, file, addition(feed=FEED))
    additions.add(ETHEREUM, file, addition("LINK", LINK, markets=("LINK/USDC", "LINK/UNI")))
    listed = additions.remove(ETHEREUM, file, "UNI")
    assert "LINKUSDC" in listed.markets
    assert "LINKUNI" not in listed.markets
    assert FEED.name not in listed.feeds
    additions.remove(ETHEREUM, file, "LINK")
    assert list(additions.load_listed(ETHEREUM, file)) == list(load_assets(ETHEREUM))


@pytest.mark.parametrize("symbol", ["USDC", "XYZ"])
def test_only_what_was_added_can_be_removed(tmp_path: Path, symbol: str) -> None:
    file = tmp_path / "assets-1.json"
    additions.add(ETHEREUM, file, addition())
    with pytest.raises(InvalidData, match="not among the operator's additions"):
        additions.remove(ETHEREUM, file, symbol)


def test_a_file_that_somebody_broke_is_not_written_over(tmp_path: Path) -> None:
    file = tmp_path / "assets-1.json"
    file.write_text("{")
    with pytest.raises(InvalidData, match="not JSON"):
        additions.add(ETHEREUM, file, addition())
    assert file.read_text() == "{"
