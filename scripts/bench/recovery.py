"""`python -m scripts.bench recovery`: how soon stored bytes are sent again after a start with 10,000 open transactions.

A database is filled with signed and sent transactions of 20 wallets whose bytes the node does not have (as after an
eviction), and key files for all of them. Then a process of its own starts the service, as `cambist serve` does, against
an endpoint that notes when bytes arrive. The clock starts when the imports are done.
"""

import asyncio
import json
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import orjson
from aiohttp import ClientSession, web
from rich.console import Console

from chains.rpc.endpoint import SEND
from chains.signing.keystore import Keystore
from chains.tx.model import AttemptKind, IntentState, Lane, OpenTx
from chains.tx.signing import SignedHere, sign_attempt
from chains.types import Fees
from scripts.bench.installation import CHAIN, Installation, installation
from scripts.devnet.network import start_devnet
from service.accounts.wallets import Wallet
from service.db.txstore import SqlTxStore
from service.serving import serve
from service.settings import Settings

FIRST_WITHIN_S: Final = 3.0
WALLETS: Final = 20
GWEI: Final = 10**9
FEES: Final = Fees(max_fee_wei=50 * GWEI, priority_fee_wei=GWEI)
PASSWORD: Final = "benchmark"
MOST_S: Final = 120.0
JSON: Final = {"Content-Type": "application/json"}
KEY_FILES: Final = 5
UNACKNOWLEDGED: Final = 10
"""One slot in so many was signed and never acknowledged; the others were, and dropped by the pool."""
IMPORTED: Final = "imports finished at "


@dataclass
class Watching:
    """An endpoint in front of the node: passes everything on, and notes when raw transactions come."""

    url: str
    seen: dict[str, float] = field(default_factory=dict)

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        asked = orjson.loads(body)
        now = time.time()
        for call in asked if isinstance(asked, list) else [asked]:
            if call["method"] == SEND:
                self.seen.setdefault(call["params"][0], now)
        async with ClientSession() as session, session.post(self.url, data=body, headers=JSON) as answer:
            return web.Response(body=await answer.read(), status=answer.status, content_type="application/json")


@asynccontextmanager
async def watching(url: str) -> AsyncIterator[tuple[Watching, str]]:
    """Serves until the end; the address to give to the service."""
    watcher = Watching(url)
    app = web.Application(client_max_size=2**26)
    app.router.add_post("/", watcher.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield watcher, f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


async def _fill(made: Installation, wallet: Wallet, count: int) -> None:
    """Transactions as an earlier process left them: their bytes are stored, and no node has them any more."""
    store, services = SqlTxStore(), made.services
    chain_id, now_ms = made.chain.config.chain_id, services.clock.now_ms()
    lane = Lane(chain_id=chain_id, wallet=wallet.address)
    await made.accept(wallet, [1] * count)
    plans = await services.db.read(lambda c: store.next_plans(c, lane, count))
    wanted = [(plan.intents[0].id, 21_000) for plan in plans]
    txs = await services.db.run(lambda c: store.reserve(c, lane, wanted, first_nonce=0, now_ms=now_ms))
    intents = {plan.intents[0].id: replace(plan.intents[0], state=IntentState.PLACED) for plan in plans}
    slots = [OpenTx(tx=tx, intent=intents[tx.intent_id], attempts=()) for tx in txs]
    signed = SignedHere()
    attempts = [
        await sign_attempt(services.keyring, slot, FEES, kind=AttemptKind.REAL, now_ms=now_ms, signed=signed)
        for slot in slots
    ]
    sent = [attempt.hash for index, attempt in enumerate(attempts) if index % UNACKNOWLEDGED]
    await services.db.run(lambda c: store.save_attempts(c, attempts, now_ms))
    await services.db.run(lambda c: store.mark_sent(c, sent, now_ms))


async def _measure(count: int, console: Console) -> bool:
    with start_devnet(names=(CHAIN,), block_time_s=1) as net, tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        async with (
            watching(net.chains[CHAIN].rpc_url) as (watcher, url),
            installation(directory, net.chains[CHAIN].rpc_url, wallets=WALLETS) as made,
        ):
            for wallet in made.wallets:
                await _fill(made, wallet, count // WALLETS)
            settings = made.services.settings
            keystore = Keystore(settings.keystore_dir)
            for _ in range(KEY_FILES):
                await asyncio.to_thread(keystore.create, PASSWORD)
            keystore.close()
            await made.services.close()
            console.print(f"{count} open transactions of {WALLETS} wallets are stored; the service starts")
            start = directory / "start.json"
            start.write_text(
                json.dumps(
                    {
                        "data_dir": str(settings.data_dir),
                        "master_key_file": str(settings.master_key_file),
                        "chains_file": str(settings.chains_file),
                        "rpc": {CHAIN: url},
                        "port": 0,
                        "metrics_port": 0,
                    }
                )
            )
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "scripts.bench.recovery",
                str(start),
                stdout=PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            try:
                imported, serving = await _started(process, watcher, count)
            finally:
                if process.returncode is None:
                    process.terminate()
                await process.communicate()
    arrived = sorted(watcher.seen.values())
    first, last = arrived[0] - imported, arrived[-1] - imported
    console.print(f"first stored bytes at the node   {first:6.2f} s after the imports")
    console.print(f"the last of {len(arrived):6d}              {last:6.2f} s")
    console.print(f"key files unlocked, serving      {serving - imported:6.2f} s ({KEY_FILES} files)")
    complete = len(arrived) == count
    held = complete and first <= FIRST_WITHIN_S and arrived[0] < serving
    console.print(
        f"bar: the first within {FIRST_WITHIN_S:.0f} s and before the keystores are unlocked, all sent once more"
    )
    console.print("PASS" if held else "FAIL")
    return held


async def _started(process: Process, watcher: Watching, count: int) -> tuple[float, float]:
    """When the imports were done, and when the process served; returns once all bytes were seen, too."""
    if process.stdout is None:
        raise RuntimeError("the process has no output")
    imported = serving = 0.0
    async with asyncio.timeout(MOST_S):
        while not (imported and serving and len(watcher.seen) >= count):
            try:
                line = (await asyncio.wait_for(process.stdout.readline(), 0.2)).decode()
            except TimeoutError:
                continue
            if line.startswith(IMPORTED):
                imported = float(line.removeprefix(IMPORTED))
            elif "serving" in line and not serving:
                serving = time.time()
            elif not line and process.returncode is not None:
                raise RuntimeError(f"the service ended with {process.returncode}")
    return imported, serving


def run(*, count: int, console: Console) -> bool:
    """Measure once; True if the bar holds."""
    return asyncio.run(_measure(count, console))


if __name__ == "__main__":
    print(f"{IMPORTED}{time.time()}", flush=True)
    values = json.loads(Path(sys.argv[1]).read_text())
    values |= {name: Path(values[name]) for name in ("data_dir", "master_key_file", "chains_file")}
    asyncio.run(serve(Settings(**values), keystore_password=PASSWORD))
