"""What a key, or anybody, looks at on the command line, against a running service."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from scripts.demo.stack import Cambist, Stack
from service.cli.commands import app
from service.cli.failures import CommandFailed, ExitStatus
from tests.service.cli.test_commands import as_client

__all__ = ["as_client"]

Env = dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What a command printed, and how it ended; `code` is that of its failure."""

    returncode: int
    stdout: str
    stderr: str
    code: str


def call(cambist: Cambist, *words: str, extra: Env) -> Ended:
    """Run a command whatever its status, in this process: what is tried here is no start of a program."""
    done = CliRunner().invoke(app, words, env={**cambist.environment, **extra})
    failure = done.exception
    if failure is not None and not isinstance(failure, CommandFailed | SystemExit):
        raise failure
    status, code = (int(failure.status), failure.code) if isinstance(failure, CommandFailed) else (done.exit_code, "")
    return Ended(returncode=status, stdout=done.stdout, stderr=done.stderr, code=code)


@pytest.fixture
def as_reader(stack: Stack, tmp_path: Path) -> Env:
    secret = tmp_path / "reader"
    secret.write_text(stack.keys["read"].secret)
    secret.chmod(0o600)
    return {"CAMBIST_URL": stack.url, "CAMBIST_KEY": stack.keys["read"].key, "CAMBIST_SECRET_FILE": str(secret)}


def answer(cambist: Cambist, *words: str, extra: Env, status: ExitStatus = ExitStatus.DONE) -> dict[str, Any]:
    done = call(cambist, *words, "--json", extra=extra)
    assert done.returncode == status, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_key_shows_what_it_may_do_and_what_of_its_day_is_used(cambist: Cambist, as_client: Env) -> None:
    found = answer(cambist, "this-key", "show", extra=as_client)
    assert found["key"]["permissions"] == ["read", "trade"]
    assert {"daily_usd", "daily_orders", "daily_gas"} == {one["limit"] for one in found["today"]}
    shown = call(cambist, "this-key", "show", extra=as_client).stdout
    assert "daily_gas ethereum" in shown
    assert "left" in shown


def test_a_key_asks_why_it_would_be_refused_and_the_status_says_whether(cambist: Cambist, as_client: Env) -> None:
    order = ("this-key", "check", "order", "ethereum", "ETHUSDC")
    assert answer(cambist, *order, "--usd", "5", "--sells", "ETH=0.1", extra=as_client)["allowed"]
    denied = answer(cambist, *order, "--usd", "999999999", extra=as_client, status=ExitStatus.REFUSED)
    assert [one["code"] for one in denied["denials"]] == ["key_limit_reached"]
    shown = call(cambist, *order, "--usd", "999999999", extra=as_client)
    assert (shown.returncode, "this key's limit a day" in " ".join(shown.stdout.split())) == (ExitStatus.REFUSED, True)
    payment = ("ethereum", "USDC", "1", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "--usd", "1")
    refused = answer(cambist, "this-key", "check", "withdrawal", *payment, extra=as_client, status=ExitStatus.REFUSED)
    assert {one["code"] for one in refused["denials"]} == {"permission_denied", "destination_not_allowed"}
    assert answer(cambist, "this-key", "check", "read", extra=as_client) == {"allowed": True, "denials": []}


def test_what_a_check_cannot_mean_is_wrong_usage_or_the_services_word(cambist: Cambist, as_client: Env) -> None:
    order = ("this-key", "check", "order", "ethereum")
    done = call(cambist, *order, "ETHUSDC", "--usd", "5", "--sells", "ETH", "--json", extra=as_client)
    assert (done.returncode, done.code) == (ExitStatus.USAGE, "bad_amount")
    done = call(cambist, *order, "NOPE", "--usd", "5", "--json", extra=as_client)
    assert (done.returncode, done.code) == (ExitStatus.REFUSED, "unknown_market")


def test_anybody_asks_for_chains_assets_and_the_clock_without_a_key(cambist: Cambist, stack: Stack) -> None:
    there = {"CAMBIST_URL": stack.url}
    chains = answer(cambist, "chains", extra=there)["chains"]
    assert {one["key"]: one["status"] for one in chains} == {"ethereum": "ok", "polygon": "ok"}
    assert "mainnet" in call(cambist, "chains", extra=there).stdout
    assets = answer(cambist, "market", "assets", "ethereum", extra=there)["assets"]
    assert assets[0]["symbol"] == "ETH"
    assert "native" in call(cambist, "market", "assets", "ethereum", extra=there).stdout
    pinged = answer(cambist, "ping", extra=there)
    # One machine, one clock; the bound is for a machine that is busy.
    assert (pinged["url"], abs(pinged["server_ahead_ms"]) < 30_000) == (stack.url, True)
    assert "its clock" in call(cambist, "ping", extra=there).stdout


def test_a_ping_of_nothing_says_so(cambist: Cambist) -> None:
    done = call(cambist, "ping", "--json", extra={"CAMBIST_URL": "http://127.0.0.1:1"})
    assert (done.returncode, done.code) == (ExitStatus.UNREACHABLE, "unreachable")


def test_where_to_send_to_is_the_wallets_own_address(cambist: Cambist, stack: Stack, as_reader: Env) -> None:
    found = answer(cambist, "deposit-address", "polygon", extra=as_reader)
    assert found["address"] == answer(cambist, "this-key", "show", extra=as_reader)["key"]["wallet"]["address"]
    shown = call(cambist, "deposit-address", "polygon", extra=as_reader)
    assert found["address"] in shown.stdout
    assert "on this chain only" in " ".join(shown.stderr.split())


def test_the_status_of_a_reconciliation_is_its_verdict(cambist: Cambist, as_reader: Env) -> None:
    done = call(cambist, "reconciliation", "ethereum", "--json", extra=as_reader)
    verdict = json.loads(done.stdout)["verdict"]
    assert done.returncode == (ExitStatus.DONE if verdict == "ok" else ExitStatus.REFUSED)
    assert "opening" in call(cambist, "reconciliation", "ethereum", extra=as_reader).stdout


def test_a_contract_is_read_with_numbers_as_text(cambist: Cambist, as_reader: Env) -> None:
    holder = answer(cambist, "this-key", "show", extra=as_reader)["key"]["wallet"]["address"]
    words = ("contract", "read", "ethereum", "USDC", "balanceOf(address)(uint256)", holder)
    [found] = answer(cambist, *words, extra=as_reader)["outputs"]
    assert (found["type"], found["value"].isdecimal()) == ("uint256", True)
    assert found["value"] in call(cambist, *words, extra=as_reader).stdout
    assert "USD Coin" in call(cambist, "contract", "read", "ethereum", "USDC", "name", "--abi", "erc20", extra=as_reader).stdout  # fmt: skip # noqa: E501
    wrong = call(cambist, "contract", "read", "ethereum", "USDC", "f(uint256[])", "[1", "--json", extra=as_reader)
    assert (wrong.returncode, wrong.code) == (ExitStatus.USAGE, "bad_argument")


def test_what_a_person_types_is_signed_as_it_is_sent(cambist: Cambist, as_reader: Env) -> None:
    for chain in ("ether eum", "éther", "a/b", "a#b", "a%20b"):
        done = call(cambist, "balances", chain, "--json", extra=as_reader)
        assert (done.returncode, done.code in ("unknown_chain", "not_found")) == (ExitStatus.REFUSED, True)


def test_an_order_has_its_own_bounds_and_venue(cambist: Cambist, as_client: Env) -> None:
    order = ("order", "place", "ethereum", "ETHUSDC", "sell", "--base", "0.1", "--test")
    bounds = ("--max-price-impact-bps", "500", "--slippage-bps", "50", "--venue")
    assert answer(cambist, *order, *bounds, "uniswap_v3", extra=as_client)["outcome"] == "trade"
    done = call(cambist, *order, *bounds, "nowhere", "--json", extra=as_client)
    assert (done.returncode, done.code) == (ExitStatus.REFUSED, "invalid_request")
