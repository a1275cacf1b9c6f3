"""Several processes of the service on one PostgreSQL and one chain: `cambist serve --role api|worker`, as operators
run it.

    async with replicas(stack, folder, rpc_url=proxy.url) as fleet:
        one, two = await fleet.start("worker"), await fleet.start("worker")
        api = await fleet.start("api")
        answer = await fleet.post(api, path, body, key="withdraw")

The chain makes a block every `BLOCK_S`. The stack of the test has made wallet and keys; it reads the database
meanwhile and must not step its own engine, which would be one more worker.
"""

import asyncio
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
from sqlalchemy import select

from chains.signing.keystore import Keystore
from scripts.devnet.artifacts import REPOSITORY
from service.db import models as m
from tests.e2e.harness import Stack
from tests.ports import free_port

BLOCK_S: Final = 0.4
START_S: Final = 120.0
STOP_S: Final = 60.0
ANSWER_S: Final = 120.0
"""Bounds of a wait each, no promises."""
POLL_S: Final = 0.1
PASSWORD: Final = secrets.token_hex(8)
CHEAP_SCRYPT_N: Final = 2**10
RATE: Final = "10000000"
"""Requests a minute: what is tested is not the rate limit."""


@dataclass(slots=True, kw_only=True)
class Replica:
    """A process of the fleet."""

    role: str
    process: asyncio.subprocess.Process
    url: str
    log: Path

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def said(self, text: str) -> bool:
        return text in self.log.read_text(errors="replace")


@dataclass(slots=True, kw_only=True)
class Fleet:
    """Processes on one database, and a client."""

    stack: Stack
    folder: Path
    environment: Mapping[str, str]
    client: httpx.AsyncClient
    replicas: list[Replica] = field(default_factory=list)
    mining: asyncio.Event = field(default_factory=asyncio.Event)
    """While it is set, a block comes every `BLOCK_S`."""

    async def start(self, role: str) -> Replica:
        """A process of that role, ready."""
        number = len(self.replicas)
        port = free_port()
        log = self.folder / f"{role}-{number}.log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "service", "serve", "--role", role,
                stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, cwd=self.folder,
                env={
                    **self.environment,
                    "CAMBIST_PORT": str(port),
                    "CAMBIST_CONTROL_SOCKET": str(self.folder / f"run-{number}" / "control.sock"),
                },
            )  # fmt: skip
        replica = Replica(role=role, process=process, url=f"http://127.0.0.1:{port}", log=log)
        self.replicas.append(replica)
        await self.until(lambda: self._is_ready(replica), within_s=START_S)
        return replica

    async def post(self, api: Replica, path: str, body: Mapping[str, Any], *, key: str) -> httpx.Response:
        raw = json.dumps(body).encode()
        return await self._signed(api, "POST", path, raw, key=key)

    async def get(self, api: Replica, path: str) -> Any:
        answer = await self._signed(api, "GET", path, b"", key="read")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def _signed(self, api: Replica, method: str, path: str, raw: bytes, *, key: str) -> httpx.Response:
        """Signed anew while the machine is so busy that it comes too late: refused at the door, it has done nothing."""
        while True:
            headers = {"content-type": "application/json"} if raw else {}
            headers |= self.stack.headers(method, path, raw, key=key)
            answer = await self.client.request(method, api.url + path, content=raw, headers=headers)
            if not (answer.status_code == 401 and answer.json()["code"] == "timestamp_out_of_window"):
                return answer

    async def holder(self, name: str) -> str | None:
        """The process id, as registered, that holds a lease."""
        found = select(m.leases.c.process_id).where(m.leases.c.name == name)
        return await self.stack.services.db.read(lambda c: c.execute(found).scalar_one_or_none())

    async def worker_of_lane(self) -> Replica:
        """The worker that holds the test wallet's lane."""
        name = f"lane:1:{self.stack.wallet.address}"
        await self.until(lambda: self.holder(name), within_s=START_S)
        holder = await self.holder(name)
        return next(one for one in self.replicas if holder is not None and one.said(holder))

    async def until(self, holds: Callable[[], Any], *, within_s: float) -> None:
        """Ask again and again, until the answer is true."""
        deadline = time.monotonic() + within_s
        while not await holds():
            assert time.monotonic() < deadline, f"not within {within_s} s"
            await asyncio.sleep(POLL_S)

    async def stop(self) -> None:
        """Ask all to end, as a supervisor does."""
        for replica in self.replicas:
            if replica.process.returncode is None:
                replica.signal(signal.SIGCONT)
                replica.signal(signal.SIGTERM)
        for replica in self.replicas:
            async with asyncio.timeout(STOP_S):
                await replica.process.wait()

    async def _is_ready(self, replica: Replica) -> bool:
        assert replica.process.returncode is None, replica.log.read_text(errors="replace")[-3_000:]
        with suppress(httpx.TransportError):
            return (await self.client.get(f"{replica.url}/readyz")).is_success
        return False


@asynccontextmanager
async def replicas(stack: Stack, folder: Path, *, rpc_url: str, private_key: bytes) -> AsyncIterator[Fleet]:
    """No process yet; all are gone at the end. The key is that of the stack's wallet."""
    settings = stack.services.settings
    settings.keystore_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    Keystore(settings.keystore_dir, scrypt_n=CHEAP_SCRYPT_N).import_key(private_key, PASSWORD)
    password = folder / "keystore.password"
    password.write_text(PASSWORD)
    password.chmod(0o600)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CAMBIST_")}
    environment = {
        **clean,
        "PYTHONPATH": str(REPOSITORY),
        "CAMBIST_DATA_DIR": str(settings.data_dir),
        "CAMBIST_MASTER_KEY_FILE": str(settings.master_key_file),
        "CAMBIST_DATABASE_URL": settings.database_address,
        "CAMBIST_KEYSTORE_PASSWORD_FILE": str(password),
        "CAMBIST_ETHEREUM_RPC": rpc_url,
        "CAMBIST_IP_WEIGHT_PER_MINUTE": RATE,
        "CAMBIST_KEY_WEIGHT_PER_MINUTE": RATE,
        "CAMBIST_ORDERS_PER_10S": RATE,
        "CAMBIST_MAX_OPEN_ORDERS": "1000",
        "CAMBIST_MAX_OPEN_ORDERS_MARKET": "1000",
    }
    # What this test's own service was given to set things up.
    await stack.services.membership.leave()
    async with AsyncExitStack() as parts:
        client = await parts.enter_async_context(
            httpx.AsyncClient(timeout=ANSWER_S, limits=httpx.Limits(max_connections=64))
        )
        fleet = Fleet(stack=stack, folder=folder, environment=environment, client=client)
        fleet.mining.set()
        parts.push_async_callback(_cancelled, asyncio.create_task(_mine(stack, fleet.mining)))
        try:
            yield fleet
        finally:
            for replica in fleet.replicas:
                if replica.process.returncode is None:
                    replica.process.kill()
                    await replica.process.wait()


async def _mine(stack: Stack, mining: asyncio.Event) -> None:
    while True:
        await mining.wait()
        await stack.mine("ethereum")
        await asyncio.sleep(BLOCK_S)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
