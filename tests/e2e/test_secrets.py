"""Secrets of a real installation, at work with its log at debug, are nowhere that others read."""

import base64
import contextlib
import secrets
import sqlite3
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from chains.signing import mnemonic
from chains.signing.signer import UnlockedKey
from scripts.demo.stack import Cambist, running_service
from scripts.devnet.cheats import fund_native
from scripts.devnet.network import LocalChain
from scripts.devnet.rpc import DevRpc
from service.auth.signature import sign_request
from tests.e2e.harness import BOB
from tests.ports import free_port

pytestmark = pytest.mark.e2e

ORDER = b'{"market":"ETHUSDC","side":"sell","base_amount":"0.01"}'
WITHDRAWAL = f'{{"asset":"ETH","amount":"0.01","address":"{BOB}","client_withdrawal_id":"w"}}'.encode()
DEAD = "http://user:{0}@127.0.0.1:9/v3/{0}?key={0}"
"""Nothing listens at port 9 (discard)."""

STOP_S = 60
ANSWER_S = 60
SETTLED_S = 120
"""Bounds of a wait each, no promises."""


def forms(secret: str) -> Mapping[str, bytes]:
    """A secret as text, and where it is hex also its bytes and their base64, as a dump may show them."""
    found = {"text": secret.encode(), "capitals": secret.upper().encode()}
    with contextlib.suppress(ValueError):
        raw = bytes.fromhex(secret)
        found |= {"bytes": raw, "base64": base64.b64encode(raw), "decimal": str(int.from_bytes(raw)).encode()}
    return found


def run(cambist: Cambist, *words: str, **extra: str) -> bytes:
    """All that a command prints, whatever its status."""
    environment = {**cambist.environment, **extra}
    done = subprocess.run(
        cambist.command(*words), capture_output=True, env=environment, cwd=cambist.folder, timeout=ANSWER_S
    )
    return done.stdout + done.stderr


def served_for_a_while(cambist: Cambist, **extra: str) -> bytes:
    """All that a server prints that starts without its node: up to its line `serving`, then it is asked to end."""
    environment = {**cambist.environment, **extra}
    process = subprocess.Popen(
        cambist.command("serve"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        cwd=cambist.folder,
    )
    said = b""
    try:
        assert process.stdout is not None
        while b'"serving"' not in said and (line := process.stdout.readline()):
            said += line
    finally:
        process.terminate()
        rest, _ = process.communicate(timeout=STOP_S)
    assert b'"serving"' in said, said
    return said + rest


def ask(url: str, key: Mapping[str, str], path: str, body: bytes = b"", *, secret: str | None = None) -> bytes:
    """A signed request's whole answer, headers included."""
    method = "POST" if body else "GET"
    signed = sign_request(
        key["key"],
        (secret or key["secret"]).encode(),
        method=method,
        target=path,
        body=body,
        timestamp_ms=time.time_ns() // 1_000_000,
        nonce=secrets.token_hex(16),
    )
    headers = {**signed, "Content-Type": "application/json"}
    answer = httpx.request(method, url + path, content=body, headers=headers, timeout=ANSWER_S)
    return repr(answer.headers).encode() + answer.content


def settled(url: str, key: Mapping[str, str], path: str) -> bytes:
    """What the path answers once the transaction behind it was mined or refused."""
    deadline = time.monotonic() + SETTLED_S
    while b'"state":"NEW"' in (found := ask(url, key, path)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def dumped(folder: Path) -> bytes:
    """The database as SQL, and every file of the data directory byte by byte; the keystore is encrypted too."""
    with contextlib.closing(sqlite3.connect(folder / "data" / "cambist.sqlite")) as database:
        sql = "\n".join(database.iterdump()).encode()
    files = [path.read_bytes() for path in (folder / "data").rglob("*") if path.is_file()]
    return b"\n".join((sql, *files))


def test_F84_no_key_seed_secret_password_or_endpoint_shows_anywhere(ethereum: LocalChain, tmp_path: Path) -> None:
    endpoint, password = secrets.token_hex(16), secrets.token_hex(16)
    private, seed = secrets.token_hex(32), mnemonic.generate()
    rpc = DevRpc(ethereum.rpc_url)
    fund_native(rpc, UnlockedKey(bytes.fromhex(private)).address, 10**18)
    rpc("anvil_mine", hex(20))
    rpc.close()
    tmp_path.chmod(0o700)
    cambist = Cambist(tmp_path, {"ethereum": f"{ethereum.rpc_url}/?key={endpoint}"})
    cambist.environment["CAMBIST_LOG_LEVEL"] = "debug"
    metrics = free_port()
    cambist.environment["CAMBIST_METRICS_PORT"] = str(metrics)
    said = {"init": run(cambist, "init", "--account", "main")}
    (tmp_path / "keystore.password").write_text(password)
    log = tmp_path / "service.log"

    with running_service(cambist, log) as url:
        cambist.run("wallet", "import", "main", "--from", "-", "--json", stdin=private)
        cambist.run("wallet", "import", "words", "--kind", "mnemonic", "--from", "-", "--json", stdin=seed)
        common = ["--wallet=main", "--permission=read", "--expires=1d", "--ip=127.0.0.1/32", "--json"]
        trade = cambist.run("key", "create", "trade", "--permission=trade", *common)
        to_bob = f"--destination=ethereum:{BOB}"
        withdraw = cambist.run("key", "create", "withdraw", "--permission=withdraw", to_bob, *common)
        said |= {
            "openapi": httpx.get(f"{url}/v1/openapi.json").content,
            "order": ask(url, trade, "/v1/ethereum/orders", ORDER),
            "withdrawal": ask(url, withdraw, "/v1/ethereum/withdrawals", WITHDRAWAL),
            "settled": settled(url, trade, "/v1/orders/1"),
            "refused": ask(url, trade, "/v1/ethereum/withdrawals", WITHDRAWAL),
            "wrong secret": ask(url, trade, "/v1/orders", secret=withdraw["secret"]),
            "metrics": httpx.get(f"http://127.0.0.1:{metrics}/metrics").content,
            "transaction": run(cambist, "tx", "show", "order:1", "--json"),
            "keys": run(cambist, "key", "list", "--json"),
            "wallets": run(cambist, "wallet", "list", "--json"),
            # What people paste into the wrong place.
            "secret as a parameter": ask(url, trade, f"/v1/orders?secret={trade['secret']}"),
            "key as a field": ask(url, trade, "/v1/ethereum/orders", f'{{"private_key":"{private}"}}'.encode()),
            "key as a value": ask(url, trade, "/v1/ethereum/orders", ORDER.replace(b"sell", private.encode())),
        }
    said |= {
        "check": run(cambist, "config", "check"),
        "check of a dead endpoint": run(cambist, "config", "check", CAMBIST_ETHEREUM_RPC=DEAD.format(endpoint)),
        "start on a dead endpoint": served_for_a_while(cambist, CAMBIST_ETHEREUM_RPC=DEAD.format(endpoint)),
        "start on what is no address": run(cambist, "serve", CAMBIST_ETHEREUM_RPC=f"{endpoint}://x"),
        "log": log.read_bytes(),
        "database": dumped(tmp_path),
    }

    # The searches below look at something: the order traded, and what is no secret is there.
    assert b'"state":"FILLED"' in said["settled"], said["settled"]
    assert b"cambist_" in said["metrics"]
    assert b"nonce" in said["transaction"]
    for place in ("log", "database", "keys"):
        assert trade["key"].encode() in said[place], place
    canaries = {
        "private key": private,
        "seed": seed,
        "trade secret": trade["secret"],
        "withdraw secret": withdraw["secret"],
        "keystore password": password,
        "master key": (tmp_path / "master.key").read_text().split()[-1],
        "endpoint": endpoint,
    }
    shown = [
        (name, place, form)
        for name, secret in canaries.items()
        for form, pattern in forms(secret).items()
        for place, text in said.items()
        if pattern in text
    ]
    assert not shown
