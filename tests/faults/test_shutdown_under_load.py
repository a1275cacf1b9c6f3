"""F96: SIGTERM to the service as a process while clients keep asking for payments."""

import itertools
import json
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from chains.signing.signer import UnlockedKey
from scripts.demo.stack import Cambist, wait_until_ready
from scripts.devnet.cheats import fund_native
from scripts.devnet.network import LocalChain
from scripts.devnet.rpc import DevRpc
from service.auth.signature import sign_request
from tests.e2e.harness import BOB
from tests.faults.proxy import FaultProxy
from tests.faults.remote import ThreadedProxy
from tests.faults.rules import Delay, Rule

E18: Final = 10**18
PATH: Final = "/v1/ethereum/withdrawals"
PROMISE_S: Final = 10.0
CLIENTS: Final = 4
ACCEPTED_FIRST: Final = 20
SETTLE_S: Final = 240.0
LOOK_EVERY_S: Final = 0.2
SLOW_NODE_S: Final = 0.3
DONE: Final = ("confirmed", "final")

pytestmark = [pytest.mark.e2e, pytest.mark.chain]


@dataclass(slots=True)
class Clients:
    """Withdraw with new ids as fast as they are answered, until the server is gone. `accepted`: amount by client id."""

    url: str
    key: Mapping[str, str]
    accepted: dict[str, int] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def run(self) -> None:
        with httpx.Client(timeout=120) as http:
            while True:
                number = next(self.numbers)
                # Amounts differ, so that each payment can be told from all others.
                self.asked[f"w{number}"] = number
                try:
                    answer = self.ask(http, number)
                except httpx.TransportError:
                    return
                if answer.status_code == 202:
                    self.accepted[f"w{number}"] = number
                elif answer.status_code >= 500:
                    return

    def ask(self, http: httpx.Client, number: int) -> httpx.Response:
        body = {
            "asset": "ETH",
            "amount": f"0.{number:018d}",
            "address": BOB,
            "client_withdrawal_id": f"w{number}",
        }
        return self.send(http, "POST", PATH, json.dumps(body).encode())

    def send(self, http: httpx.Client, method: str, path: str, body: bytes = b"") -> httpx.Response:
        signed = sign_request(
            self.key["key"],
            self.key["secret"].encode(),
            method=method,
            target=path,
            body=body,
            timestamp_ms=time.time_ns() // 1_000_000,
            nonce=secrets.token_hex(16),
        )
        headers = {**signed, "Content-Type": "application/json"}
        return http.request(method, self.url + path, content=body, headers=headers)


@contextmanager
def served(cambist: Cambist, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    with log.open("ab") as output:
        process = subprocess.Popen(
            cambist.command("serve"),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=cambist.environment,
            cwd=cambist.folder,
            start_new_session=True,
        )
    try:
        yield process, wait_until_ready(cambist, process, log)
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def proxy(fresh_ethereum: LocalChain) -> Any:
    with ThreadedProxy(FaultProxy(fresh_ethereum.rpc_url)) as made:
        yield made


@pytest.fixture
def rpc(fresh_ethereum: LocalChain) -> Iterator[DevRpc]:
    made = DevRpc(fresh_ethereum.rpc_url)
    made("anvil_setCode", BOB, "0x")
    yield made
    made.close()


def test_F96_a_stop_under_load_ends_in_ten_seconds_and_loses_nothing_that_was_accepted(
    proxy: FaultProxy, rpc: DevRpc, tmp_path: Path
) -> None:
    private = secrets.token_bytes(32)
    wallet = UnlockedKey(private).address
    fund_native(rpc, wallet, 50 * E18)
    rpc("anvil_mine", hex(20))
    tmp_path.chmod(0o700)
    cambist = Cambist(tmp_path, {"ethereum": proxy.url})
    cambist.environment |= {"CAMBIST_KEY_WEIGHT_PER_MINUTE": "100000", "CAMBIST_IP_WEIGHT_PER_MINUTE": "100000"}
    cambist.run("init", "--account", "main", "--json")
    log = tmp_path / "service.log"

    with served(cambist, log) as (process, url):
        cambist.run("wallet", "import", "main", "--from", "-", "--json", stdin=private.hex())
        words = [
            "--wallet=main",
            "--permission=read",
            "--permission=withdraw",
            "--expires=1d",
            "--ip=127.0.0.1/32",
            "--json",
        ]
        key = cambist.run("key", "create", "withdraw", f"--destination=ethereum:{BOB}", *words)
        proxy.add(Rule(action=Delay(seconds=SLOW_NODE_S), method="eth_sendRawTransaction"))
        clients = Clients(url=url, key=key)
        threads = [threading.Thread(target=clients.run) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        while len(clients.accepted) < ACCEPTED_FIRST:
            assert any(thread.is_alive() for thread in threads), log.read_text()[-2_000:]
            time.sleep(LOOK_EVERY_S)

        asked = time.monotonic()
        process.send_signal(signal.SIGTERM)
        status = process.wait(timeout=PROMISE_S)
        assert time.monotonic() - asked <= PROMISE_S
        assert status == 0, log.read_text()[-2_000:]
        for thread in threads:
            thread.join(timeout=30)
    assert b"giving up" not in log.read_bytes()

    proxy.clear()
    with served(cambist, log) as (_, url):
        clients.url = url
        with httpx.Client(timeout=120) as http:
            found = {name: clients.ask(http, number) for name, number in clients.accepted.items()}
            # What was accepted is the same withdrawal; nothing of it is made anew.
            assert {answer.status_code for answer in found.values()} == {200}
            left = {f"/v1/withdrawals/{answer.json()['id']}" for answer in found.values()}
            deadline = time.monotonic() + SETTLE_S
            while left and time.monotonic() < deadline:
                rpc("anvil_mine", hex(2))
                time.sleep(LOOK_EVERY_S)
                left = {path for path in left if clients.send(http, "GET", path).json()["state"] not in DONE}
            assert not left
    # Each effect under one nonce, and what Bob has is what was asked for, each amount once at most.
    assert all(len(nonces) == 1 for nonces in proxy.recorder.effects().values())
    paid = [tx.effect.value_wei for tx in proxy.recorder.accepted() if tx.effect.to == BOB]
    assert len(paid) == len(set(paid))
    assert set(clients.accepted.values()) <= set(paid) <= set(clients.asked.values())
