"""Withdrawals and approvals on the command line, against a running service."""

import json
from pathlib import Path

import pytest

from scripts.demo.stack import Cambist, Stack
from service.cli.failures import ExitStatus
from tests.service.cli.test_commands import as_client, call, error_of

__all__ = ["as_client"]


@pytest.fixture
def payer(stack: Stack, tmp_path: Path) -> list[str]:
    """The options that name the withdraw key's profile."""
    profile = tmp_path / "profile.toml"
    key = stack.keys["withdraw"]
    profile.write_text(f'url = "{stack.url}"\nkey = "{key.key}"\nsecret = "{key.secret}"\n')
    profile.chmod(0o600)
    return ["--profile", str(profile), "--json"]


def test_an_estimate_sends_nothing_and_says_what_arrives(cambist: Cambist, stack: Stack, payer: list[str]) -> None:
    words = ["withdraw", "ethereum", "ETH", "0.1", stack.withdraw_address, "--gross", "--estimate"]
    done = call(cambist, *words, *payer)
    assert done.returncode == ExitStatus.DONE, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["leaves_at_most"], answer["covered"], answer["needs_approval"]) == ("0.1", True, None)
    assert call(cambist, *words[:-2], "--estimate", *payer[:-1]).stdout.count("arrives") == 1


def test_withdrawals_are_listed_shown_and_cancelled(
    cambist: Cambist, stack: Stack, payer: list[str], as_client: dict[str, str]
) -> None:
    made = call(cambist, "withdraw", "ethereum", "USDC", "1.25", stack.withdraw_address, "--wait", *payer)
    assert made.returncode == ExitStatus.DONE, made.stderr
    number = str(json.loads(made.stdout)["id"])
    listed = call(cambist, "withdrawal", "list", "--asset", "USDC", "--json", extra=as_client)
    assert number in [str(one["id"]) for one in json.loads(listed.stdout)["withdrawals"]]
    shown = call(cambist, "withdrawal", "show", number, extra=as_client)
    assert "confirmations" in shown.stdout
    late = call(cambist, "withdrawal", "cancel", number, *payer)
    assert (late.returncode, error_of(late)["code"]) == (ExitStatus.REFUSED, "already_ended")


def test_gross_of_everything_is_wrong_usage(cambist: Cambist, stack: Stack, payer: list[str]) -> None:
    done = call(cambist, "withdraw", "ethereum", "ETH", "all", stack.withdraw_address, "--gross", *payer)
    assert (done.returncode, error_of(done)["code"]) == (ExitStatus.USAGE, "gross_of_all")


def test_the_operator_sees_what_waits_for_approval(cambist: Cambist) -> None:
    done = call(cambist, "approval", "pending", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (ExitStatus.DONE, {"pending": [], "unusable": []})
