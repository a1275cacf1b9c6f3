"""The documented examples against a running service, as a reader would type them."""

import json
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from scripts.demo import client

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
COMMANDS = {
    "python": [sys.executable, str(EXAMPLES / "request.py")],
    "bash": ["bash", str(EXAMPLES / "request.sh")],
    "node": ["node", str(EXAMPLES / "request.mjs")],
}
PATIENCE_S = 120.0
ANSWER_S = 120.0
"""Bounds of a wait each, no promises."""
LOOK_EVERY_S = 0.5
BUYS = 5
OPEN = {"NEW", "processing", "sent", "mined"}
AGAIN = client.AGAIN | {"timestamp_out_of_window"}
"""Refused on a busy machine, as docs/errors.md says, until it is sent again; its clock is right, only slow to send."""
LANGUAGES = [
    "python",
    "bash",
    pytest.param("node", marks=pytest.mark.skipif(shutil.which("node") is None, reason="no node on this machine")),
]


def run(language: str, *words: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Again while it is refused for the moment only."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        done = subprocess.run(
            [*COMMANDS[language], *words], capture_output=True, text=True, env=environment, timeout=ANSWER_S
        )
        if done.returncode == 0 or time.monotonic() > deadline or not any(f'"{code}"' in done.stdout for code in AGAIN):
            return done
        time.sleep(LOOK_EVERY_S)


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_example_reads_balances(language: str, client_environment: dict[str, str]) -> None:
    done = run(language, "read", "GET", "/v1/ethereum/balances", environment=client_environment)
    assert done.returncode == 0, done.stderr + done.stdout
    assert {row["asset"] for row in json.loads(done.stdout)["balances"]} >= {"ETH", "USDC"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_example_signs_a_query_as_it_is_sent(language: str, client_environment: dict[str, str]) -> None:
    target = "/v1/ethereum/quote?market=ETHUSDC&side=sell&base_amount=0.1"
    done = run(language, "read", "GET", target, environment=client_environment)
    assert done.returncode == 0, done.stderr + done.stdout
    assert json.loads(done.stdout)["sell"] == {"asset": "ETH", "amount": "0.1"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_example_signs_a_body(language: str, client_environment: dict[str, str]) -> None:
    body = '{"market": "ETHUSDC", "side": "sell", "base_amount": "0.1"}'
    done = run(language, "trade", "POST", "/v1/ethereum/orders/test", body, environment=client_environment)
    assert done.returncode == 0, done.stderr + done.stdout
    assert json.loads(done.stdout)["quote"]["market"] == "ETHUSDC"


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_example_shows_why_it_was_refused(language: str, client_environment: dict[str, str]) -> None:
    body = '{"market": "ETHUSDC", "side": "sell", "base_amount": "0.1"}'
    done = run(language, "read", "POST", "/v1/ethereum/orders", body, environment=client_environment)
    assert done.returncode != 0
    assert json.loads(done.stdout)["code"] == "permission_denied"


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_example_with_a_wrong_secret_is_refused(language: str, client_environment: dict[str, str]) -> None:
    forged = {**client_environment, "CAMBIST_READ_SECRET": "0" * 64}
    done = run(language, "read", "GET", "/v1/ethereum/balances", environment=forged)
    assert done.returncode != 0
    assert json.loads(done.stdout)["code"] == "authentication_failed"


def ended(language: str, name: str, target: str, environment: dict[str, str]) -> dict[str, Any]:
    """What `target` answers once it has come to its end."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        done = run(language, name, "GET", target, environment=environment)
        assert done.returncode == 0, done.stderr + done.stdout
        found: dict[str, Any] = json.loads(done.stdout)
        if found["state"] in ("FILLED", "confirmed", "final"):
            return found
        assert found["state"] in OPEN, found
        assert time.monotonic() < deadline, found
        time.sleep(LOOK_EVERY_S)


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_example_places_an_order_and_sees_it_filled(language: str, client_environment: dict[str, str]) -> None:
    order = {
        "market": "ETHUSDC",
        "side": "sell",
        "base_amount": "0.01",
        # Prices move, and on a busy machine some seconds pass until it is in a block.
        "slippage_bps": 300,
        "client_order_id": f"example-{secrets.token_hex(8)}",
    }
    done = run(language, "trade", "POST", "/v1/ethereum/orders", json.dumps(order), environment=client_environment)
    assert done.returncode == 0, done.stderr + done.stdout
    filled = ended(language, "read", f"/v1/orders/{json.loads(done.stdout)['id']}", client_environment)
    assert filled["filled_base"] == "0.01"


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_example_pays_an_address_of_its_allowlist(language: str, client_environment: dict[str, str]) -> None:
    body = {
        "asset": "ETH",
        "amount": "0.01",
        "address": client_environment["CAMBIST_WITHDRAW_ADDRESS"],
        "client_withdrawal_id": f"example-{secrets.token_hex(8)}",
    }
    done = run(
        language, "withdraw", "POST", "/v1/ethereum/withdrawals", json.dumps(body), environment=client_environment
    )
    assert done.returncode == 0, done.stderr + done.stdout
    paid = ended(language, "read", f"/v1/withdrawals/{json.loads(done.stdout)['id']}", client_environment)
    assert paid["amount"] == "0.01"


def test_the_bot_of_the_quickstart_buys(client_environment: dict[str, str]) -> None:
    page = (EXAMPLES.parent / "quickstart.md").read_text()
    code = page[page.index("```python\n") + len("```python\n") :]
    code = code[: code.index("```")]
    ended = ""
    for number in range(BUYS):
        # The same id would never buy twice.
        mine = code.replace('"first-buy"', f'"first-buy-{number}"')
        assert mine != code
        done = subprocess.run(
            [sys.executable, "-c", mine], capture_output=True, text=True, env=client_environment, timeout=PATIENCE_S
        )
        assert done.returncode == 0, done.stdout + done.stderr
        ended = done.stdout
        if ended.startswith("FILLED "):
            return
        # Its price has moved by more than it stands, before it was in a block: of several, one is quick enough.
        assert ended.startswith(("EXPIRED ", "REJECTED ")), ended
    pytest.fail(ended)
