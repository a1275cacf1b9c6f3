"""`python -m scripts.bench http`: signed hot reads of a running service, beside what people write and what is possible.

The service is the real one (`cambist serve`, SQLite, all workers, logs as in production) on a local Ethereum; a
thousand keys take turns, every request is signed, has a nonce of its own and counts for its key's limit. The others
(`peers.webapps`) get the same requests and send the same bodies; each is a uvicorn of its own. Ways take turns within
each round, so that ratios are of one moment of the machine. Loads come from this process (`httpload`).

The bars are ratios of requests a second on the clock, with 32 connections. What a request takes of the server's CPU
time, all its threads and workers included, is printed beside, and so are the same ratios by it: this process spends
some 15 µs a request itself, so that beyond some 50,000 a second the clock says how fast it is, not the server; that
flatters whoever is compared with bare ASGI.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection

from chains.signing.signer import UnlockedKey
from scripts.bench.httpload import Load, Server, body_of, drive
from scripts.bench.results import Bar
from scripts.devnet.cheats import fund_native
from scripts.devnet.network import start_devnet
from scripts.devnet.rpc import DevRpc
from service.accounts.people import ensure_account
from service.accounts.registration import register_wallet
from service.auth.keys import Algorithm, NewKey, Permission, create_key
from service.auth.secrets import MasterKey
from service.auth.signature import sign_request
from service.build import build
from service.settings import Settings

CHAIN: Final = "ethereum"
ETHER: Final = 10**18
FUNDING_BLOCKS: Final = 20
KEYS: Final = 1_000
ED25519_KEYS: Final = 50
WARMING: Final = 100
REQUESTS: Final = 4_000
"""Of one way in one round; signed before the clock starts, and sent well within their window."""
USUAL_REQUESTS: Final = 1_500
"""Of the slowest way, which would not get through more within the window where others use the machine, too."""
ED25519_REQUESTS: Final = 300
ROUNDS: Final = 9
"""Odd; one more comes first and is not counted."""
READY_S: Final = 60.0
UNLIMITED: Final = str(10**9)
ORDER: Final = "/v1/orders/1"
TARGETS: Final = {
    "order status": ORDER,
    "balances": "/v1/ethereum/balances",
    "ticker": "/v1/ethereum/ticker?market=ETHUSDC",
    "depth of 20": "/v1/ethereum/depth?market=ETHUSDC&limit=20",
}
OURS: Final = "cambist"
ED25519: Final = "cambist, Ed25519"
USUAL: Final = "usual"
PEERS: Final = ("asgi", "bytes", "starlette", USUAL)
"""`bytes` is printed beside: Starlette without a body to make."""
TIMES_USUAL: Final = 5.0
TIMES_STARLETTE: Final = 1.0
TIMES_ASGI: Final = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Secrets by key id; Ed25519 keys have the private half."""

    hmac: dict[str, str]
    ed25519: dict[str, Ed25519PrivateKey]
    trade: tuple[str, str]


def run(*, console: Console, rounds: int = ROUNDS) -> list[Bar]:
    """Measure and print; the bars."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cambist-http-")))
        chain = stack.enter_context(start_devnet(names=(CHAIN,), block_time_s=None)).chains[CHAIN]
        keys = uvloop.run(_installed(directory, chain.rpc_url))
        servers = {OURS: stack.enter_context(_service(directory, chain.rpc_url))}
        bodies = uvloop.run(_bodies(servers[OURS], keys))
        given = directory / "given.json"
        given.write_text(json.dumps({"bodies": bodies, "secrets": keys.hmac}))
        for way in PEERS:
            servers[way] = stack.enter_context(_peer(way, given))
        return uvloop.run(_measure(servers, keys, bodies, rounds=rounds, console=console))


async def _measure(
    servers: dict[str, Server], keys: Keys, bodies: dict[str, str], *, rounds: int, console: Console
) -> list[Bar]:
    for first in range(0, KEYS, WARMING):
        # Keys are loaded at their first use; not within one window of time on a busy machine.
        await drive(servers[OURS], _signed(keys, ORDER, WARMING, first=first))
    loads: dict[tuple[str, str], list[Load]] = {}
    for _ in range(rounds + 1):
        for what, target in TARGETS.items():
            for way, server in servers.items():
                count = USUAL_REQUESTS if way == USUAL else REQUESTS
                loads.setdefault((what, way), []).append(await drive(server, _signed(keys, target, count)))
            requests = _signed(keys, target, ED25519_REQUESTS, ed25519=True)
            loads.setdefault((what, ED25519), []).append(await drive(servers[OURS], requests))
    for (what, way), found in loads.items():
        refused = [load.statuses for load in found if set(load.statuses) != {"200"}]
        if refused:
            raise ConnectionError(f"{what} by {way} was answered {refused[0]}")
    us = {done: statistics.median(load.us for load in found[1:]) for done, found in loads.items()}
    cpu_us = {done: statistics.median(load.cpu_us for load in found[1:]) for done, found in loads.items()}
    p99 = {done: statistics.median(load.p99_ms for load in found[1:]) for done, found in loads.items()}
    bars: list[Bar] = []
    table = Table(
        "read", "way", "a second", "CPU µs", "a CPU second", "p99 ms", title=f"32 connections, {rounds} rounds, medians"
    )
    by_cpu = Table("read", "beside", "times", title="the same, requests a second of the server's CPU")
    for what, target in TARGETS.items():
        for way in (*PEERS, OURS, ED25519):
            size = f"{what} ({len(bodies[target.partition('?')[0]])} bytes)"
            on_cpu = cpu_us[what, way]
            shown = [f"{1e6 / us[what, way]:,.0f}", f"{on_cpu:,.0f}", f"{1e6 / on_cpu:,.0f}", f"{p99[what, way]:.1f}"]
            table.add_row(size, way, *shown)
        for way, needed in ((USUAL, TIMES_USUAL), ("starlette", TIMES_STARLETTE), ("asgi", TIMES_ASGI)):
            times = us[what, way] / us[what, OURS]
            bars.append(Bar(name=f"signed {what}, requests a second, beside {way}", measured=times, needed=needed))
            by_cpu.add_row(what, way, f"{cpu_us[what, way] / cpu_us[what, OURS]:.2f}x")
    console.print(table)
    console.print(by_cpu)
    return bars


def _signed(keys: Keys, target: str, count: int, *, first: int = 0, ed25519: bool = False) -> list[bytes]:
    """Requests of all keys in turn, signed now."""
    now_ms = time.time_ns() // 1_000_000
    holders: Sequence[tuple[str, bytes | Ed25519PrivateKey]]
    if ed25519:
        holders = list(keys.ed25519.items())
    else:
        holders = [(key_id, secret.encode()) for key_id, secret in keys.hmac.items()]
    return [
        _request(*holders[at % len(holders)], method="GET", target=target, now_ms=now_ms)
        for at in range(first, first + count)
    ]


def _request(
    key_id: str, secret: bytes | Ed25519PrivateKey, *, method: str, target: str, now_ms: int, body: bytes = b""
) -> bytes:
    nonce = secrets.token_urlsafe(16)
    headers = sign_request(
        key_id, secret, method=method, target=target, body=body, timestamp_ms=now_ms, nonce=nonce
    )  # fmt: skip
    lines = [f"{method} {target} HTTP/1.1", "host: 127.0.0.1", "accept: application/json"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body:
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def _bodies(server: Server, keys: Keys) -> dict[str, str]:
    """What the service answers, by path; an order is placed for it."""
    body = json.dumps({"market": "ETHUSDC", "side": "sell", "base_amount": "1", "client_order_id": "bench"}).encode()
    key_id, secret = keys.trade
    now_ms = time.time_ns() // 1_000_000
    order = _request(
        key_id, secret.encode(), method="POST", target="/v1/ethereum/orders", now_ms=now_ms, body=body
    )  # fmt: skip
    placed = await drive(server, [order], connections=1)
    if placed.statuses != {"202": 1}:
        raise ConnectionError(f"the order was answered {placed.statuses}")
    found = {}
    for target in TARGETS.values():
        found[target.partition("?")[0]] = (await body_of(server, _signed(keys, target, 1)[0])).decode()
    return found


async def _installed(directory: Path, rpc_url: str) -> Keys:
    """A database with an account, a funded wallet and its keys."""
    services = await build(_settings(directory, rpc_url))
    rpc = DevRpc(rpc_url)
    try:
        key = UnlockedKey(secrets.token_bytes(32))
        fund_native(rpc, key.address, 100 * ETHER)
        rpc("anvil_mine", hex(FUNDING_BLOCKS))
        services.keyring.add(key)
        for runtime in services.chains.values():
            await runtime.engine.recover()
            await runtime.engine.step()
        now_ms = services.clock.now_ms()
        account = await services.db.run(
            lambda c: ensure_account(c, "main", owner="owner", master=services.master, now_ms=now_ms)
        )
        wallet = await register_wallet(
            services, account_id=account.id, address=key.address, label="main", signer="keystore"
        )
        private = [Ed25519PrivateKey.generate() for _ in range(ED25519_KEYS)]

        def make(c: Connection, label: str, may: Permission, of: Ed25519PrivateKey | None = None) -> tuple[str, str]:
            new = NewKey(
                account_id=account.id,
                wallet_id=wallet.id,
                label=label,
                permissions=frozenset({may}),
                algorithm=Algorithm.HMAC_SHA256 if of is None else Algorithm.ED25519,
                public_key=None if of is None else of.public_key().public_bytes_raw(),
            )
            made = create_key(c, new, master=services.master, now_ms=now_ms)
            return made.key.id, made.secret or ""

        def all_keys(c: Connection) -> Keys:
            return Keys(
                hmac=dict(make(c, f"hmac-{at}", Permission.READ) for at in range(KEYS)),
                ed25519={
                    make(c, f"ed-{at}", Permission.READ, one)[0]: one for at, one in enumerate(private)
                },
                trade=make(c, "trade", Permission.TRADE),
            )  # fmt: skip

        return await services.db.run(all_keys)
    finally:
        rpc.close()
        await services.close()


def _settings(directory: Path, rpc_url: str) -> Settings:
    key_file = directory / "secret" / "master.key"
    if not key_file.exists():
        MasterKey.create(key_file)
    return Settings(data_dir=directory / "data", master_key_file=key_file, rpc={CHAIN: rpc_url})


@contextmanager
def _service(directory: Path, rpc_url: str) -> Iterator[Server]:
    """`cambist serve` as an operator runs it, with limits that this does not reach."""
    port = _free_port()
    own = {name: value for name, value in os.environ.items() if not name.startswith("CAMBIST_")}
    settings = {
        "CAMBIST_DATA_DIR": str(directory / "data"),
        "CAMBIST_MASTER_KEY_FILE": str(directory / "secret" / "master.key"),
        "CAMBIST_ETHEREUM_RPC": rpc_url,
        "CAMBIST_PORT": str(port),
        "CAMBIST_IP_WEIGHT_PER_MINUTE": UNLIMITED,
        "CAMBIST_KEY_WEIGHT_PER_MINUTE": UNLIMITED,
    }
    with _running(
        [sys.executable, "-m", "service", "serve"], port, log=directory / "service.log", env=own | settings
    ) as found:
        yield found


@contextmanager
def _peer(way: str, given: Path) -> Iterator[Server]:
    port = _free_port()
    command = [sys.executable, "-m", "scripts.bench.peers.webapps", way, str(port), str(given)]
    with _running(command, port, log=given.with_name(f"{way}.log"), env=dict(os.environ)) as found:
        yield found


@contextmanager
def _running(command: list[str], port: int, *, log: Path, env: dict[str, str]) -> Iterator[Server]:
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output, env=env) as process:
        try:
            until_s = time.monotonic() + READY_S
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    if process.poll() is not None or time.monotonic() > until_s:
                        raise ConnectionError(f"{command[2]} does not listen: {log.read_text()[-2_000:]}") from None
                    time.sleep(0.1)
            yield Server(port=port, pid=process.pid)
        finally:
            process.terminate()
            process.wait()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
