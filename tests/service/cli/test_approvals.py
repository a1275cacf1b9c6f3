"""`cambist approval`: what the commands send in a session, and what they show."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from typer.testing import CliRunner

from service.cli import approvals
from service.cli.commands import app
from service.cli.failures import CommandFailed, ExitStatus

BINDING = "0x" + "5e" * 32
APPROVAL = {
    "id": 7,
    "state": "pending",
    "why": "over_usd",
    "binding": BINDING,
    "intact": True,
    "may_approve": True,
    "chain": "ethereum",
    "asset": "USDC",
    "asset_id": "eip155:1/erc20:0x",
    "amount": "25000",
    "leaves_at_most": "25000",
    "max_fee": {"asset": "ETH", "amount": "0.001"},
    "usd": "24998.1",
    "address": "0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045",
    "address_name": "cold-1",
    "address_added_ms": 0,
    "wallet": "main",
    "client_withdrawal_id": "payout",
    "requester": "bob",
    "key_label": "treasury",
    "created_ms": 0,
    "expires_ms": 86_400_000,
    "decided_ms": None,
    "decided_by": None,
}
NOTHING: dict[str, Any] = {"usd": None, "assets": []}
POLICY = {
    "in_force": {"usd": "1000", "assets": [{"chain": "ethereum", "asset": "ETH", "amount": "2"}]},
    "following": None,
    "following_from_ms": None,
    "window_hours": 24,
    "expires_hours": 24,
    "approvers": 2,
}
CLIENT = httpx.Client
Sent = list[tuple[str, str, Any]]
Run = Callable[..., tuple[Any, Sent]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run a command in a session against answers by path; `stdin` is what is typed or piped."""
    file = tmp_path / "session.toml"
    file.write_text('url = "http://127.0.0.1:1"\ntoken = "cs_x"\n')
    file.chmod(0o600)
    monkeypatch.setenv("CAMBIST_SESSION", str(file))

    def call(*words: str, answers: dict[str, dict[str, Any]], stdin: str = "") -> tuple[Any, Sent]:
        sent: Sent = []

        def handle(request: httpx.Request) -> httpx.Response:
            body = orjson.loads(request.content) if request.content else None
            sent.append((request.method, request.url.raw_path.decode(), body))
            by_key = request.headers.get("x-cambist-key") == "ck_1"
            assert by_key != (request.headers.get("authorization") == "Bearer cs_x")
            assert by_key == ("--profile" in words)
            return httpx.Response(200, json=answers[request.url.path])

        transport = httpx.MockTransport(handle)
        monkeypatch.setattr(httpx, "Client", lambda **more: CLIENT(transport=transport, base_url=more["base_url"]))
        return CliRunner().invoke(app, words, input=stdin), sent

    return call


def test_what_waits_is_listed_with_who_asked_and_the_books_name(run: Run) -> None:
    done, sent = run("approval", "list", answers={"/v1/approvals": {"approvals": [APPROVAL]}})
    assert (done.exit_code, sent) == (0, [("GET", "/v1/approvals?pending=true", None)])
    assert "25000" in done.output
    assert "bob" in done.output


def test_what_is_approved_is_what_was_shown_with_the_code(run: Run) -> None:
    answers = {"/v1/approvals/7": APPROVAL, "/v1/approvals/7/approve": APPROVAL | {"state": "approved"}}
    done, sent = run("approval", "approve", "7", "--yes", "--code-file", "-", answers=answers, stdin="492039\n")
    assert done.exit_code == 0, done.output
    assert sent[1] == ("POST", "/v1/approvals/7/approve", {"binding": BINDING, "totp_code": "492039"})


def test_who_does_not_confirm_approves_nothing(run: Run) -> None:
    done, sent = run("approval", "approve", "7", answers={"/v1/approvals/7": APPROVAL}, stdin="n\n")
    assert done.exit_code != 0
    assert [method for method, _, _ in sent] == ["GET"]


def test_what_was_altered_is_not_offered_for_approval(run: Run) -> None:
    done, sent = run("approval", "approve", "7", "--yes", answers={"/v1/approvals/7": APPROVAL | {"intact": False}})
    assert isinstance(done.exception, CommandFailed)
    assert (done.exception.code, [method for method, _, _ in sent]) == ("record_tampered", ["GET"])


def test_the_operators_list_names_what_was_altered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approvals, "settings_of_host", lambda: None)
    monkeypatch.setattr(approvals, "act", lambda *_, **__: {"pending": [], "unusable": ["7"]})
    done = CliRunner().invoke(app, ["approval", "pending"])
    assert done.exit_code == 0, done.output
    assert "Altered in the database" in done.output


def test_rejecting_sends_its_reason(run: Run) -> None:
    answers = {"/v1/approvals/7/reject": APPROVAL | {"state": "rejected"}}
    done, sent = run("approval", "reject", "7", "--reason", "not ours", "--account", "desk", answers=answers)
    assert done.exit_code == 0, done.output
    assert sent == [("POST", "/v1/approvals/7/reject", {"reason": "not ours", "account": "desk"})]


def test_a_threshold_that_is_not_named_stays(run: Run) -> None:
    words = ("approval", "policy", "--usd", "500", "--code-file", "-")
    done, sent = run(*words, answers={"/v1/approval-policy": POLICY}, stdin="492039\n")
    assert done.exit_code == 0, done.output
    body = {"usd": "500", "assets": POLICY["in_force"]["assets"], "totp_code": "492039"}  # type: ignore[index]
    assert sent[1] == ("PUT", "/v1/approval-policy", body)


def test_none_takes_thresholds_away_and_without_options_they_are_shown(run: Run) -> None:
    words = ("approval", "policy", "--usd", "none", "--asset", "none", "--code-file", "-")
    _, sent = run(*words, answers={"/v1/approval-policy": POLICY}, stdin="492039\n")
    assert sent[1][2] == NOTHING | {"totp_code": "492039"}
    done, sent = run("approval", "policy", answers={"/v1/approval-policy": POLICY})
    assert [method for method, _, _ in sent] == ["GET"]
    assert "1000 USD, 2 ETH on ethereum" in done.output


def test_a_threshold_of_another_form_is_wrong_usage(run: Run) -> None:
    done, _ = run("approval", "policy", "--asset", "USDC=5", answers={"/v1/approval-policy": POLICY})
    assert isinstance(done.exception, CommandFailed)
    assert (done.exception.code, done.exception.status) == ("bad_threshold", ExitStatus.USAGE)


@pytest.fixture
def profile(tmp_path: Path) -> str:
    file = tmp_path / "key.toml"
    file.write_text(f'url = "http://127.0.0.1:1"\nkey = "ck_1"\nsecret = "{"0" * 64}"\n')
    file.chmod(0o600)
    return str(file)


def test_another_persons_key_decides_without_a_code(run: Run, profile: str) -> None:
    answers = {"/v1/approvals/7": APPROVAL, "/v1/approvals/7/approve": APPROVAL | {"state": "approved"}}
    done, sent = run("approval", "approve", "7", "--yes", "--profile", profile, answers=answers)
    assert done.exit_code == 0, done.output
    assert sent[1] == ("POST", "/v1/approvals/7/approve", {"binding": BINDING})
    answers = {"/v1/approvals/7/reject": APPROVAL | {"state": "rejected"}}
    done, sent = run("approval", "reject", "7", "--profile", profile, answers=answers)
    assert (done.exit_code, sent[0][1]) == (0, "/v1/approvals/7/reject")
    done, _ = run("approval", "list", "--profile", profile, answers={"/v1/approvals": {"approvals": [APPROVAL]}})
    assert done.exit_code == 0, done.output


def test_a_withdrawal_is_cancelled_in_a_session_too(run: Run, profile: str) -> None:
    cancelled = {
        "id": 7, "chain": "ethereum", "state": "cancelled", "reason": "asked", "amount": "1", "asset": "USDC",
        "leaves_at_most": "1", "address": "0x", "gas": {"asset": "ETH", "amount": "0"}, "max_fee": None,
        "tx_hash": None, "client_withdrawal_id": "pay",
    }  # fmt: skip
    done, sent = run("withdrawal", "cancel", "7", "--session", answers={"/v1/withdrawals/7": cancelled})
    assert (done.exit_code, sent) == (0, [("DELETE", "/v1/withdrawals/7", None)])
    done, sent = run("withdrawal", "cancel", "7", "--session", "--profile", profile, answers={})
    assert isinstance(done.exception, CommandFailed)
    assert (done.exception.status, sent) == (ExitStatus.USAGE, [])
