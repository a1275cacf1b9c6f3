"""`cambist asset` as it is typed: what it prints, asks and answers with."""

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.devnet.network import LocalChain
from service.cli import main
from service.cli.assets import _show
from service.cli.failures import ExitStatus
from service.control.installing import install
from service.settings import Settings
from tests.contracts.desk import open_desk
from tests.contracts.hostile import Hostile, make_pool, place_token

Cambist = Callable[..., int]


@pytest.fixture
def cambist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cambist:
    """The command, in this process, on an installation of its own."""
    places = {
        "data_dir": tmp_path / "data",
        "master_key_file": tmp_path / "keys" / "master.key",
        "keystore_password_file": tmp_path / "keys" / "password",
    }
    asyncio.run(install(Settings.model_validate(places), account="main", owner="me"))
    monkeypatch.chdir(tmp_path)
    for name, place in places.items():
        monkeypatch.setenv(f"CAMBIST_{name.upper()}", str(place))

    def run(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["cambist", *words])
        return main()

    return run


@pytest.fixture
def token(ethereum: LocalChain, monkeypatch: pytest.MonkeyPatch) -> Hostile:
    """A token with a pool, on a chain that the command is configured for."""
    monkeypatch.setenv("CAMBIST_ETHEREUM_RPC", ethereum.rpc_url)

    async def made() -> Hostile:
        async with open_desk(ethereum) as desk:
            token = place_token(desk)
            make_pool(desk, token)
            return token

    return asyncio.run(made())


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_the_list_needs_no_node(cambist: Cambist, capsys: pytest.CaptureFixture[str]) -> None:
    assert cambist("asset", "list", "polygon", "--json") == ExitStatus.DONE
    listed = {one["symbol"]: one for one in printed(capsys)["assets"]}
    assert (listed["USDCE"]["status"], listed["USDCE"]["added"]) == ("in use", False)
    assert listed["POL"]["address"] is None
    assert cambist("asset", "list", "ethereum") == ExitStatus.DONE
    assert "packaged" in capsys.readouterr().out


def test_a_token_is_checked_added_and_removed(
    cambist: Cambist, token: Hostile, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cambist("asset", "check", "ethereum", token.address, "--json") == ExitStatus.DONE
    report = printed(capsys)
    assert (report["verdict"], [pool["quote"] for pool in report["pools"]]) == ("warnings", ["WETH"])

    add = ("asset", "add", "ethereum", token.address, "HOS", "--quote", "ETH", "--quote", "USDC")
    assert cambist(*add, "--json") == ExitStatus.REFUSED
    assert json.loads(capsys.readouterr().err)["error"]["code"] == "warnings"
    assert cambist(*add) == ExitStatus.REFUSED  # there is nobody to ask
    told = capsys.readouterr()
    assert "--accept can_pause,can_tax" in told.err.replace("\n", " ")
    assert cambist(*add, "--yes", "--accept", "can_tax,can_pause") == ExitStatus.DONE
    told = capsys.readouterr()
    assert "HOSETH, HOSUSDC" in told.out
    assert "after the next start" in told.err

    # Nothing runs, so that this command is a next start already.
    assert cambist("asset", "list", "ethereum", "--json") == ExitStatus.DONE
    listed = {one["symbol"]: one for one in printed(capsys)["assets"]}
    assert (listed["HOS"]["status"], listed["HOS"]["markets"]) == ("in use", ["HOSETH", "HOSUSDC"])
    assert cambist("asset", "remove", "ethereum", "HOS") == ExitStatus.DONE
    assert "no longer listed" in " ".join(capsys.readouterr().out.split())
    assert cambist("asset", "remove", "ethereum", "HOS") == ExitStatus.REFUSED


def test_a_taxed_token_is_refused_with_its_tax(
    cambist: Cambist, token: Hostile, capsys: pytest.CaptureFixture[str]
) -> None:
    token.misbehave(fee_bps=250)
    assert cambist("asset", "check", "ethereum", token.address) == ExitStatus.REFUSED
    told = " ".join(capsys.readouterr().out.split())
    assert "refused taxed: it keeps 250 basis points of a transfer" in told
    add = ("asset", "add", "ethereum", token.address, "HOS", "--quote", "ETH", "--yes", "--accept", "taxed", "--json")
    assert cambist(*add) == ExitStatus.REFUSED
    assert json.loads(capsys.readouterr().err)["error"]["code"] == "token_refused"


def test_a_file_that_somebody_broke_is_named(
    cambist: Cambist, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data" / "assets-1.json").write_text('{"version": 9}')
    assert cambist("asset", "list", "ethereum", "--json") == ExitStatus.USAGE
    error = json.loads(capsys.readouterr().err.splitlines()[-1])["error"]
    assert (error["code"], "assets-1.json version" in error["message"]) == ("bad_data_file", True)


def test_a_tokens_own_words_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    report = {
        "chain": "ethereum",
        "verdict": "refused",
        "address": "0x0",
        "symbol": "[bold]X",
        "name": "[/]",
        "decimals": 1,
        "total_supply": "1",
        "code_bytes": 1,
        "proxy": None,
        "flags": [],
        "pools": [],
        "block": {"number": 1},
        "findings": [{"level": "refused", "code": "taxed", "text": "the name '[red]free[/red]'"}],
    }
    _show(report)
    told = capsys.readouterr().out
    assert "[bold]X" in told
    assert "[red]free[/red]" in told
