"""`cambist serve` as a process: how it starts, how it ends, and what it never lets out."""

import base64
import secrets
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from chains.signing import mnemonic
from scripts.demo.client import Cambist as Client
from scripts.demo.client import Refused
from scripts.demo.stack import Cambist, Stack, make_keys, running_service, wait_until_ready
from service.cli.failures import ExitStatus
from tests.faults.proxy import FaultProxy
from tests.faults.remote import ThreadedProxy
from tests.faults.rules import Drop, Rule

PROMISE_S = 10.0
BUSY_S = 20.0
"""Added to the promise: what a machine at work for others takes longer; what holds a connection waits for ever."""


@pytest.fixture
def installation(stack: Stack, tmp_path: Path) -> Cambist:
    """An installation of its own on the stack's chains, not started."""
    cambist = Cambist(tmp_path, stack.rpc_urls)
    cambist.run("init", "--json")
    return cambist


@contextmanager
def serving(cambist: Cambist) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A ready server whose end the test watches itself."""
    path = cambist.folder / "serve.log"
    with path.open("wb") as log:
        process = subprocess.Popen(
            cambist.command("serve"), stdout=log, stderr=log, env=cambist.environment, cwd=cambist.folder
        )
    try:
        yield process, wait_until_ready(cambist, process, path)
    finally:
        process.kill()
        process.wait()


def idle_connection(url: str) -> socket.socket:
    """Somebody who keeps a connection open and says nothing must not hold up the end."""
    return socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_time_with_status_0(installation: Cambist, number: signal.Signals) -> None:
    with serving(installation) as (process, url), idle_connection(url):
        process.send_signal(number)
        assert process.wait(PROMISE_S + BUSY_S) == ExitStatus.DONE
    assert not (installation.folder / "data" / "run" / "control.sock").exists()


def test_it_starts_again_after_being_killed(installation: Cambist) -> None:
    with serving(installation) as (process, _):
        process.kill()
    with serving(installation) as (_, url):
        assert httpx.get(f"{url}/livez").status_code == 200


def test_a_second_server_on_the_same_data_is_refused(installation: Cambist) -> None:
    with serving(installation):
        second = subprocess.run(
            installation.command("serve"), capture_output=True, text=True, env=installation.environment, timeout=120
        )
    assert second.returncode == ExitStatus.UNREACHABLE
    assert "already_running" in second.stderr


def test_a_public_address_is_refused(installation: Cambist) -> None:
    done = subprocess.run(
        installation.command("serve"),
        capture_output=True,
        text=True,
        env={**installation.environment, "CAMBIST_HOST": "0.0.0.0"},
        timeout=120,
    )
    assert done.returncode == ExitStatus.USAGE
    assert "unsafe_bind" in done.stderr


# -- secrets ------------------------------------------------------------------------------------------------------


@pytest.fixture
def canaries() -> dict[str, str]:
    """Secrets of every kind, unmistakable; those that are made by the service are added by the test."""
    return {
        "endpoint path": f"pathkey{secrets.token_hex(8)}",
        "endpoint query": f"querykey{secrets.token_hex(8)}",
        "private key": secrets.token_hex(32),
        "mnemonic": mnemonic.generate(),
    }


def test_no_secret_is_in_a_log_an_error_the_database_or_the_documentation(
    stack: Stack, tmp_path: Path, canaries: dict[str, str]
) -> None:
    said: list[str] = []
    with ThreadedProxy(FaultProxy(stack.rpc_urls["ethereum"])) as proxy:
        url = f"{proxy.url}/v3/{canaries['endpoint path']}?apikey={canaries['endpoint query']}"
        cambist = Cambist(tmp_path, {"ethereum": url, "polygon": stack.rpc_urls["polygon"]})
        cambist.environment["CAMBIST_LOG_LEVEL"] = "debug"
        cambist.run("init", "--json")
        with running_service(cambist, tmp_path / "service.log") as address:
            said += use_everything(cambist, address, canaries, break_node=lambda: proxy.add(Rule(action=Drop())))
    canaries["master key"] = (tmp_path / "master.key").read_text().strip()
    canaries["keystore password"] = (tmp_path / "keystore.password").read_text().strip()
    assert len(said) >= 12
    kept = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {"service.log", "data/cambist.sqlite"} <= kept.keys()
    for name in ("master.key", "keystore.password"):
        del kept[name]
    for secret, value in canaries.items():
        for form in forms(value):
            assert not [where for where, content in kept.items() if form in content], secret
            assert not any(form in text.encode() for text in said), secret


def use_everything(
    cambist: Cambist, address: str, canaries: dict[str, str], *, break_node: Callable[[], None]
) -> list[str]:
    """Do what touches secrets, well and badly; the answer is all that was said about it."""
    said = [command(cambist, "wallet", "import", "main", "--from", "-", stdin=canaries["private key"])]
    said.append(
        command(cambist, "wallet", "import", "hd", "--kind", "mnemonic", "--from", "-", stdin=canaries["mnemonic"])
    )
    said.append(command(cambist, "wallet", "import", "bad", "--from", "-", stdin=canaries["private key"] + "00"))
    said.append(command(cambist, "wallet", "import", "twice", "--from", "-", stdin=canaries["private key"]))
    keys = make_keys(cambist, "0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
    canaries |= {f"secret of the {name} key": key.secret for name, key in keys.items()}
    said += [command(cambist, "key", "list"), command(cambist, "config", "check"), command(cambist, "status")]
    said.append(httpx.get(f"{address}/v1/openapi.json").text)
    clients = {name: Client(address, key=key.key, secret=key.secret, patience_s=0) for name, key in keys.items()}
    forger = Client(address, key=keys["read"].key, secret=keys["trade"].secret, patience_s=0)
    order = {"market": "ETHUSDC", "side": "sell", "base_amount": "1", "client_order_id": "a"}
    payment = {"asset": "ETH", "amount": "1", "address": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"}
    attempts: list[Callable[[], Any]] = [
        lambda: clients["read"].get("/v1/ethereum/balances"),
        lambda: clients["read"].post("/v1/ethereum/orders", order),
        lambda: clients["trade"].post("/v1/ethereum/orders", order),
        lambda: clients["trade"].post("/v1/ethereum/orders", {**order, "side": keys["trade"].secret}),
        lambda: clients["withdraw"].post("/v1/ethereum/withdrawals", {**payment, "client_withdrawal_id": "a"}),
        lambda: forger.get("/v1/orders"),
    ]
    said += [answer_of(attempt) for attempt in attempts]
    break_node()
    said += [answer_of(attempts[0]), answer_of(attempts[2]), httpx.get(f"{address}/v1/ethereum/ticker").text]
    said += [httpx.get(f"{address}/readyz").text, command(cambist, "config", "check")]
    for client in (*clients.values(), forger):
        client.close()
    return said


def answer_of(attempt: Callable[[], Any]) -> str:
    try:
        return str(attempt())
    except Refused as refused:
        return f"{refused.code} {refused.detail}"


def command(cambist: Cambist, *words: str, stdin: str = "") -> str:
    done = subprocess.run(
        cambist.command(*words),
        input=stdin,
        capture_output=True,
        text=True,
        env=cambist.environment,
        cwd=cambist.folder,
        timeout=120,
    )
    return done.stdout + done.stderr


def forms(value: str) -> set[bytes]:
    """How a secret may be spelled."""
    found = {value.encode(), value.upper().encode()}
    if len(value) % 2 == 0 and set(value) <= set("0123456789abcdef"):
        raw = bytes.fromhex(value)
        found |= {raw, repr(raw)[2:-1].encode(), base64.b64encode(raw).rstrip(b"=")}
    return found
