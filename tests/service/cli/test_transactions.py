"""`cambist wrap|unwrap|allowance|transaction`: what the commands send, and what they show and end with."""

from collections.abc import Callable
from typing import Any

import httpx
import orjson
import pytest
from typer.testing import CliRunner

from service.cli.commands import app
from service.cli.failures import ExitStatus
from tests.service.books_seed import address_of

VAULT = address_of(77)
BLOCK = {"number": 7, "hash": "0x" + "00" * 32, "age_ms": 1_000}
PLACED = {
    "id": 7,
    "client_transaction_id": "mine",
    "kind": "wrap",
    "chain": "ethereum",
    "amount": {"asset": "ETH", "asset_id": "eip155:1/slip44:60", "amount": "1.5"},
    "allowance": None,
    "call": None,
    "state": "processing",
    "reason": None,
    "tx_hash": None,
    "moved": None,
    "gas": {"asset": "ETH", "amount": "0"},
    "created_ms": 0,
    "updated_ms": 0,
}
CLIENT = httpx.Client
Sent = list[tuple[str, str, Any]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Any, Sent]]:
    """Run a command against answers by path; the result and what was sent."""

    def call(*words: str, answers: dict[str, dict[str, Any]]) -> tuple[Any, Sent]:
        sent: Sent = []

        def handle(request: httpx.Request) -> httpx.Response:
            body = orjson.loads(request.content) if request.content else None
            sent.append((request.method, request.url.raw_path.decode(), body))
            return httpx.Response(200, json=answers[request.url.path])

        transport = httpx.MockTransport(handle)
        monkeypatch.setattr(httpx, "Client", lambda **more: CLIENT(transport=transport, base_url=more["base_url"]))
        for name, value in {"CAMBIST_URL": "http://127.0.0.1:1", "CAMBIST_KEY": "ck_1"}.items():
            monkeypatch.setenv(name, value)
        return CliRunner().invoke(app, words), sent

    return call


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    file = tmp_path / "secret"
    file.write_text("00" * 32)
    file.chmod(0o600)
    monkeypatch.setenv("CAMBIST_SECRET_FILE", str(file))


Run = Callable[..., tuple[Any, Sent]]


def test_a_wrap_sends_its_amount_and_client_id(run: Run) -> None:
    done, sent = run("wrap", "ethereum", "1.5", "--client-id", "mine", answers={"/v1/ethereum/wrap": PLACED})
    assert done.exit_code == 0, done.output
    assert sent == [("POST", "/v1/ethereum/wrap", {"amount": "1.5", "client_transaction_id": "mine"})]
    assert "1.5 ETH" in done.output


def test_waiting_ends_with_the_status_of_what_became_of_it(run: Run) -> None:
    answers = {
        "/v1/ethereum/unwrap": PLACED,
        "/v1/transactions/7": PLACED | {"state": "failed", "reason": "reverted", "moved": []},
    }
    done, sent = run("unwrap", "ethereum", "1.5", "--wait", answers=answers)
    assert done.exit_code == ExitStatus.REFUSED
    assert [path for _, path, _ in sent] == ["/v1/ethereum/unwrap", "/v1/transactions/7"]


def test_a_call_sends_numbers_as_text_and_what_it_approves_as_the_most_that_leaves(run: Run) -> None:
    call = {"contract": VAULT, "function": "f(uint256,uint256[],bool)", "value": {"asset": "ETH", "amount": "0"}}
    placed = PLACED | {"kind": "contract", "amount": None, "call": call}
    words = ("transaction", "call", "ethereum", VAULT, "f(uint256,uint256[],bool)", "25", "[1,2]", "true")
    done, sent = run(
        *words, "--approve", "USDC=25", "--client-id", "mine", answers={"/v1/ethereum/transactions": placed}
    )
    assert done.exit_code == 0, done.output
    [(_, _, body)] = sent
    assert body == {
        "contract": VAULT,
        "function": "f(uint256,uint256[],bool)",
        "args": ["25", ["1", "2"], True],
        "approvals": [{"asset": "USDC", "amount": "25"}],
        "max_out": [{"asset": "USDC", "amount": "25"}],
        "client_transaction_id": "mine",
    }


def test_a_trial_shows_the_changes_and_fails_when_it_would_be_refused(run: Run) -> None:
    change = {"asset": "USDC", "asset_id": "eip155:1/erc20:0x", "amount": "-26"}
    answer = {
        "chain": "ethereum",
        "changes": [change],
        "granted": [],
        "gas_limit": "90000",
        "would_be_accepted": False,
        "refused": {"code": "out_too_large", "detail": "26 USDC would leave, and 25 may", "hint": ""},
        "block": BLOCK,
    }
    words = ("transaction", "call", "ethereum", VAULT, "stake()", "--test")
    done, sent = run(*words, answers={"/v1/ethereum/transactions/test": answer})
    assert done.exit_code == ExitStatus.REFUSED
    assert "26 USDC would leave" in done.output
    assert "client_transaction_id" not in sent[0][2]


def test_allowances_show_unknown_as_unknown_and_unlimited_as_anything(run: Run) -> None:
    row = {"asset": "USDC", "spender": VAULT, "spender_name": None, "needed": False, "status": "ok"}
    answer = {
        "chain": "ethereum",
        "wallet": VAULT,
        "allowances": [
            row | {"amount": "9", "unlimited": True},
            row | {"amount": None, "unlimited": None, "status": "unknown"},
        ],
        "spenders": [],
        "block": BLOCK,
    }
    done, sent = run("allowance", "list", "ethereum", "--spender", VAULT, answers={"/v1/ethereum/allowances": answer})
    assert done.exit_code == 0, done.output
    assert sent[0][1] == f"/v1/ethereum/allowances?spender={VAULT}"
    assert "anything" in done.output
    assert "unknown" in done.output


def test_a_revocation_names_token_and_spender(run: Run) -> None:
    allowance = {"asset": "USDC", "asset_id": "eip155:1/erc20:0x", "spender": VAULT}
    placed = PLACED | {"kind": "revoke", "amount": None, "allowance": allowance}
    words = ("allowance", "revoke", "ethereum", "USDC", VAULT, "--client-id", "mine")
    done, sent = run(*words, answers={"/v1/ethereum/allowances/revoke": placed})
    assert done.exit_code == 0, done.output
    assert sent[0][2] == {"asset": "USDC", "spender": VAULT, "client_transaction_id": "mine"}


def test_the_list_and_one_of_it_are_shown(run: Run) -> None:
    done, _ = run("transaction", "list", answers={"/v1/transactions": {"transactions": [PLACED]}})
    assert "processing" in done.output
    done, _ = run("transaction", "show", "7", answers={"/v1/transactions/7": PLACED})
    assert "Transaction 7: wrap on ethereum" in " ".join(done.output.split())
