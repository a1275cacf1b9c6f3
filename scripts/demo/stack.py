"""Everything the demo runs on: both local chains with order flow, a funded wallet, the service, three keys.

The owner's acts are done with the `cambist` command, as anyone would; what only a local chain allows (money from
nowhere) is done before the service sees the wallet, so that its opening balances show it.

Guarantees: when the context ends, the service was asked to stop and every process is gone; when this process is
killed, Anvils and service go with it within moments. Every key and password is a throwaway of this run.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import httpx

from chains.signing.signer import UnlockedKey
from scripts.demo.show import Screen, short
from scripts.devnet.artifacts import REPOSITORY
from scripts.devnet.cheats import fund_native, fund_token
from scripts.devnet.flow import order_flow
from scripts.devnet.network import Devnet, start_devnet
from scripts.devnet.rpc import DevRpc
from service.control.client import ask
from service.control.protocol import ControlUnavailable

BLOCK_TIME_S = 0.5
"""Polygon's fills show 16 blocks after they are mined: 8 s here."""
BURIED_BLOCKS = 20
"""Mined on top of the funding, more than either chain's confirmed depth, so that the books open on it."""
FUNDING: Mapping[str, Mapping[str, int]] = {
    "ethereum": {"native": 5 * 10**18, "USDC": 10_000 * 10**6, "USDT": 2_500 * 10**6, "WBTC": 10**7},
    "polygon": {"native": 4_000 * 10**18, "USDC": 3_000 * 10**6, "WETH": 10**18},
}
"""Base units."""
SERVICE_START_S = 60.0
SERVICE_STOP_S = 12.0
COMMAND_S = 120.0
POLL_S = 0.1
SILENT_AFTER_S = 15.0
"""A chain answers within milliseconds, on a machine with twenty others at work within a second."""
WATCHER = 'while read -r _; do :; done; kill -s KILL -- "-$1"'
"""Reads a pipe that only this process holds; see scripts/devnet/anvil.py."""


class StackFailed(Exception):
    """Something the demo needs did not start; the message says what and where its log is."""


class ChainSilent(Exception):
    """A local chain no longer answers; what the demo says of everything else follows from that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key of the demo's account."""

    key: str
    secret: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """What runs, and how to reach it."""

    url: str
    rpc_urls: Mapping[str, str]
    keys: Mapping[str, ApiKey]
    withdraw_address: str
    folder: Path

    def environment(self) -> dict[str, str]:
        """The variables of `.cambist/demo/env`, which the bot reads."""
        variables = {"CAMBIST_URL": self.url, "CAMBIST_WITHDRAW_ADDRESS": self.withdraw_address}
        variables |= {f"CAMBIST_{chain.upper()}_RPC": url for chain, url in self.rpc_urls.items()}
        for name, key in self.keys.items():
            variables[f"CAMBIST_{name.upper()}_KEY"] = key.key
            variables[f"CAMBIST_{name.upper()}_SECRET"] = key.secret
        return variables


@contextmanager
def running_stack(folder: Path, screen: Screen) -> Iterator[Stack]:
    """Start everything in `folder`, which is fresh and ours; end everything afterwards.

    Raises:
        StackFailed: the service or one of the owner's commands failed.
        ChainSilent: something failed, inside the context too, while a chain did not answer.
    """
    logs = folder / "logs"
    with ExitStack() as parts:
        with screen.waiting("starting a local Ethereum and a local Polygon"):
            devnet = parts.enter_context(start_devnet(block_time_s=BLOCK_TIME_S, log_dir=logs))
            rpc_urls = {chain.name: chain.rpc_url for chain in devnet.chains.values()}
            parts.enter_context(named_if_silent(rpc_urls))
            parts.enter_context(order_flow(list(devnet.chains.values())))
        for chain in devnet.chains.values():
            screen.fact(f"{chain.name:<9} chain {chain.chain_id:<4} {chain.rpc_url}")
        key = secrets.token_bytes(32)
        wallet = UnlockedKey(key).address
        with screen.waiting("funding a wallet"):
            _fund(devnet, wallet)
        cambist = Cambist(folder, rpc_urls)
        with screen.waiting("starting the service"):
            cambist.run("init", "--account", "demo", "--json")
            url = parts.enter_context(running_service(cambist, logs / "service.log"))
        screen.fact(f"service   on SQLite     {url}")
        with screen.waiting("registering the wallet and making three keys"):
            cambist.run("wallet", "import", "main", "--from", "-", "--json", stdin=key.hex())
            withdraw_address = UnlockedKey(secrets.token_bytes(32)).address
            keys = make_keys(cambist, withdraw_address)
        screen.fact(f"wallet    main          {wallet}")
        screen.fact("keys      read, trade, withdraw (to " + short(withdraw_address) + " only)")
        yield Stack(url=url, rpc_urls=rpc_urls, keys=keys, withdraw_address=withdraw_address, folder=folder)


@contextmanager
def named_if_silent(rpc_urls: Mapping[str, str]) -> Iterator[None]:
    """What fails inside is a `ChainSilent` if a chain of those does not answer then.

    An Anvil that forks a real network may stop answering for good, alive and with its port open (docs/devnet.md): all
    that anybody notices of it is what waits for it.
    """
    try:
        yield
    except Exception as failure:
        if silent := [name for name, url in rpc_urls.items() if not _answers(url)]:
            names = " and ".join(f"{name} ({rpc_urls[name]})" for name in silent)
            raise ChainSilent(f"the local {names} no longer answers: its Anvil stands still") from failure
        raise


def _answers(url: str) -> bool:
    rpc = DevRpc(url, timeout_s=SILENT_AFTER_S)
    try:
        rpc("eth_blockNumber")
    except (OSError, HTTPException):
        return False
    finally:
        rpc.close()
    return True


class Cambist:
    """The command line of the demo's installation."""

    def __init__(self, folder: Path, rpc_urls: Mapping[str, str]) -> None:
        self.folder = folder
        # Settings of the person's own installation must not reach the demo's.
        clean = {name: value for name, value in os.environ.items() if not name.startswith("CAMBIST_")}
        self.environment = {
            **clean,
            "PYTHONPATH": str(REPOSITORY),
            "CAMBIST_DATA_DIR": str(folder / "data"),
            "CAMBIST_MASTER_KEY_FILE": str(folder / "master.key"),
            "CAMBIST_KEYSTORE_PASSWORD_FILE": str(folder / "keystore.password"),
            "CAMBIST_PORT": "0",
            **{f"CAMBIST_{chain.upper()}_RPC": url for chain, url in rpc_urls.items()},
        }

    def command(self, *arguments: str) -> Sequence[str]:
        """The command's argv."""
        return [sys.executable, "-m", "service", *arguments]

    def run(self, *arguments: str, stdin: str = "") -> dict[str, Any]:
        """Run a command that prints JSON; secrets go in by standard input only.

        Raises:
            StackFailed: it ended with another status than 0.
        """
        done = subprocess.run(
            self.command(*arguments),
            input=stdin,
            capture_output=True,
            text=True,
            env=self.environment,
            cwd=self.folder,
            timeout=COMMAND_S,
        )
        if done.returncode:
            raise StackFailed(f"cambist {' '.join(arguments[:2])} ended with {done.returncode}:\n{done.stderr}")
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


def with_invitation(stack: Stack) -> dict[str, str]:
    """The stack's variables, and an invitation for the person who is to own the account. It works once."""
    cambist = Cambist(stack.folder, stack.rpc_urls)
    return stack.environment() | {"CAMBIST_INVITATION": cambist.run("user", "invite", "--json")["invitation"]}


def _fund(devnet: Devnet, wallet: str) -> None:
    for name, purse in FUNDING.items():
        rpc = DevRpc(devnet.chains[name].rpc_url)
        for symbol, raw in purse.items():
            if symbol == "native":
                fund_native(rpc, wallet, raw)
            else:
                fund_token(rpc, name, symbol, wallet, raw)
        # In no time at all: the chain's clock stays where it is.
        rpc("anvil_mine", hex(BURIED_BLOCKS), hex(0))
        rpc.close()


def make_keys(cambist: Cambist, withdraw_address: str) -> dict[str, ApiKey]:
    """A key for each permission; withdraw only to that address, and all only from this machine."""
    common = ["--wallet", "main", "--expires", "7d", "--ip", "127.0.0.1/32", "--ip", "::1/128", "--json"]
    both = [f"--destination={chain}:{withdraw_address}" for chain in FUNDING]
    permissions = {
        "read": ["--permission=read"],
        "trade": ["--permission=read", "--permission=trade"],
        "withdraw": ["--permission=read", "--permission=withdraw", *both],
    }
    answers = {
        name: cambist.run("key", "create", f"demo-{name}", *arguments, *common)
        for name, arguments in permissions.items()
    }
    return {name: ApiKey(key=answer["key"], secret=answer["secret"]) for name, answer in answers.items()}


@contextmanager
def running_service(cambist: Cambist, log: Path) -> Iterator[str]:
    """`cambist serve` as a process of its own, ready; its URL. Asked to stop at the end, and made to after a while.

    Raises:
        StackFailed: it ended, or was not ready in time.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            cambist.command("serve"),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=cambist.environment,
            cwd=cambist.folder,
            # Ctrl-C is the demo's to handle: it ends the parts in order.
            start_new_session=True,
        )
    watcher = subprocess.Popen(
        ["/bin/sh", "-c", WATCHER, "service-watcher", str(process.pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield wait_until_ready(cambist, process, log)
    finally:
        process.terminate()
        try:
            process.wait(SERVICE_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        watcher.kill()
        watcher.communicate()


def wait_until_ready(cambist: Cambist, process: subprocess.Popen[bytes], log: Path) -> str:
    """The service's URL, once it says that everything behind it works.

    Raises:
        StackFailed: it ended, or was not ready in time.
    """
    deadline = time.monotonic() + SERVICE_START_S
    while True:
        if process.poll() is not None:
            raise StackFailed(f"the service ended with {process.returncode}; its log is {log}:\n{_tail(log)}")
        if time.monotonic() > deadline:
            raise StackFailed(f"the service was not ready within {SERVICE_START_S:.0f} s; its log is {log}")
        if (url := _ready_url(cambist)) is not None:
            return url
        time.sleep(POLL_S)


def _ready_url(cambist: Cambist) -> str | None:
    try:
        url = str(ask(cambist.folder / "data" / "run" / "control.sock", "status", {})["url"])
        return url if httpx.get(f"{url}/readyz", timeout=POLL_S * 50).is_success else None
    except (ControlUnavailable, httpx.TransportError):
        return None


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])
