"""`python -m scripts.bench sending`: from accepted withdrawals to the node's acknowledgement, every durability rule on.

Side by side in one run, into Anvil at 1 s blocks: one wallet and twenty wallets of the service (SQLite with
`synchronous=FULL`, the pre-sign check twice, simulation, books and confirmations under way, one endpoint call in a
hundred lost), the node's own maximum (batches signed before), and a web3.py loop that waits for each receipt.

A slot counts as acknowledged when the node said that it has the bytes, or that their nonce is used. At the end every
intent must have been executed exactly once, on nonces without a gap.
"""

import asyncio
import random
import secrets
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from eth_account import Account
from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection, select
from web3 import HTTPProvider, Web3

from chains.client import EvmClient
from chains.config import load_chains
from chains.rpc.transport import HttpTransport
from chains.signing.signer import UnlockedKey
from chains.tx.model import Outcome
from chains.types import Fees, UnsignedTx
from scripts.bench.installation import CHAIN, ETHER, SINK, Installation, installation
from scripts.devnet.network import LocalChain, start_devnet
from scripts.devnet.rpc import DevRpc
from service.db import models as m

LOST: Final = 0.01
GWEI: Final = 10**9
FEES: Final = Fees(max_fee_wei=100 * GWEI, priority_fee_wei=2 * GWEI)
BATCH: Final = 100
"""Pre-signed transactions in one request."""
LOOPED: Final = 5
"""Transactions of the web3.py loop: a second each."""
LOOK_S: Final = 0.05
MOST_S: Final = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Transactions a second, over all of them and up to 99 % (the last ones wait for what was lost)."""

    name: str
    count: int
    rate: float
    rate_99: float
    cpu_s: float | None = None
    """Of this process while they were sent: on a machine that others use, what one core of its own would give."""
    least: float | None = None
    wrong: Sequence[str] = ()
    lost: Mapping[str, int] | None = None

    @property
    def held(self) -> bool:
        return not self.wrong and (self.least is None or self.rate >= self.least)


async def _ours(chain: LocalChain, *, wallets: int, each: int, least: float, seed: int) -> Speed:
    count = wallets * each
    with tempfile.TemporaryDirectory() as folder:
        async with installation(Path(folder), chain.rpc_url, wallets=wallets) as made:
            before_wei = await made.balance_wei(SINK)
            for wallet in made.wallets:
                await made.accept(wallet, range(1, each + 1))
            faulty = made.lose(LOST, random.Random(seed))
            engine, stop = made.chain.engine, asyncio.Event()
            await engine.recover()
            cpu_s = time.process_time()
            running = asyncio.create_task(engine.run(stop))
            engine.wake()
            at_99_s = await _until(running, made.acknowledged, count * 99 // 100)
            took_s = at_99_s + await _until(running, made.acknowledged, count)
            cpu_s = time.process_time() - cpu_s
            await _until(running, made.booked, count)
            stop.set()
            await running
            spent_wei = await made.balance_wei(SINK) - before_wei
            wrong = await _wrong(made, each, spent_wei=spent_wei)
    return Speed(
        name=f"{wallets} wallet{'s' if wallets > 1 else ''}, durable",
        lost=dict(faulty.lost),
        count=count,
        rate=count / took_s,
        rate_99=count * 99 // 100 / at_99_s,
        cpu_s=cpu_s,
        least=least,
        wrong=wrong,
    )


async def _until(running: "asyncio.Task[None]", look: Callable[[], Awaitable[int]], count: int) -> float:
    """Seconds until so many are there. Raises: what ended the engine; TimeoutError."""
    began_s = time.perf_counter()
    async with asyncio.timeout(MOST_S):
        while await look() < count:
            await asyncio.wait({running}, timeout=LOOK_S)
            if running.done():
                running.result()
    return time.perf_counter() - began_s


async def _wrong(made: Installation, each: int, *, spent_wei: int) -> list[str]:
    """What is not as it must be once everything is confirmed."""

    def read(c: Connection) -> Mapping[str, list[tuple[int, str, str]]]:
        found: dict[str, list[tuple[int, str, str]]] = {}
        columns = (m.txs.c.wallet, m.txs.c.nonce, m.txs.c.outcome, m.txs.c.intent_id)
        for row in c.execute(select(*columns).order_by(m.txs.c.wallet, m.txs.c.nonce)):
            found.setdefault(row.wallet, []).append((row.nonce, row.outcome, row.intent_id))
        return found

    wrong: list[str] = []
    slots = await made.services.db.read(read)
    for wallet in made.wallets:
        own = slots.get(wallet.address, [])
        if [nonce for nonce, _, _ in own] != list(range(each)):
            wrong.append(f"{wallet.label}: the nonces have a gap")
        if await made.chain.client.nonce(wallet.address, block="latest") != each:
            wrong.append(f"{wallet.label}: the chain's nonce is not {each}")
        if Counter(outcome for _, outcome, _ in own) != {Outcome.SUCCEEDED: each}:
            wrong.append(f"{wallet.label}: not all succeeded")
        if len({intent_id for _, _, intent_id in own}) != each:
            wrong.append(f"{wallet.label}: an intent has two slots, or none")
    if spent_wei != len(made.wallets) * each * (each + 1) // 2:
        wrong.append("the destination did not receive each amount exactly once")
    return wrong


async def _node_maximum(chain: LocalChain, *, count: int) -> Speed:
    """Bytes that were signed before, in batches, nothing kept."""
    rpc, key = DevRpc(chain.rpc_url), UnlockedKey(secrets.token_bytes(32))
    await asyncio.to_thread(rpc, "anvil_setBalance", key.address, hex(1_000 * ETHER))
    rpc.close()
    config = load_chains()[CHAIN]
    raws = [
        key.sign(
            UnsignedTx(
                chain_id=config.chain_id, nonce=nonce, to=SINK, data=b"", value_wei=1, gas_limit=21_000, fees=FEES
            )
        ).raw
        for nonce in range(count)
    ]
    client = EvmClient(config, HttpTransport(chain.rpc_url, name="node"))
    began = time.perf_counter()
    for start in range(0, count, BATCH):
        await client.send_raw_all(raws[start : start + BATCH])
    took = time.perf_counter() - began
    await client.transport.close()
    return Speed(
        name="the node's maximum: signed before, in batches", count=count, rate=count / took, rate_99=count / took
    )


def _web3_loop(chain: LocalChain) -> Speed:
    """What people write: build, sign, send, wait for the receipt."""
    web3, account = Web3(HTTPProvider(chain.rpc_url)), Account.create()
    web3.provider.make_request("anvil_setBalance", [account.address, hex(ETHER)])  # type: ignore[arg-type]
    began = time.perf_counter()
    for _ in range(LOOPED):
        signed = account.sign_transaction(
            {
                "chainId": web3.eth.chain_id,
                "nonce": web3.eth.get_transaction_count(account.address),
                "to": SINK,
                "value": 1,
                "gas": 21_000,
                "maxFeePerGas": FEES.max_fee_wei,
                "maxPriorityFeePerGas": FEES.priority_fee_wei,
            }
        )
        web3.eth.wait_for_transaction_receipt(web3.eth.send_raw_transaction(signed.raw_transaction))
    rate = LOOPED / (time.perf_counter() - began)
    return Speed(name="web3.py, one after the other", count=LOOPED, rate=rate, rate_99=rate)


def _a_cpu_second(speed: Speed) -> str:
    return "" if speed.cpu_s is None else f"{speed.count / speed.cpu_s:.0f}"


async def _measure(*, one: int, each: int, wallets: int, seed: int) -> list[Speed]:
    with start_devnet(names=(CHAIN,), block_time_s=1) as net:
        chain = net.chains[CHAIN]
        return [
            await _ours(chain, wallets=1, each=one, least=200, seed=seed),
            await _ours(chain, wallets=wallets, each=each, least=400, seed=seed + 1),
            await _node_maximum(chain, count=one),
            await asyncio.to_thread(_web3_loop, chain),
        ]


def run(*, one: int, each: int, wallets: int, seed: int, console: Console) -> bool:
    """Measure once; True if both bars hold."""
    speeds = asyncio.run(_measure(one=one, each=each, wallets=wallets, seed=seed))
    naive = speeds[-1].rate
    headings = ("what", "count", "a second", "to 99 %", "a CPU s", "x web3.py", "bar")
    table = Table(*headings, title="sending, 1 s blocks, 1 % of calls lost")
    for speed in speeds:
        bar = "" if speed.least is None else f"{speed.least:.0f}"
        figures = (f"{speed.rate:.1f}", f"{speed.rate_99:.1f}", _a_cpu_second(speed), f"{speed.rate / naive:.0f}")
        table.add_row(speed.name, str(speed.count), *figures, bar)
    console.print(table)
    for speed in speeds:
        if speed.lost is not None:
            console.print(f"{speed.name}, lost: {', '.join(f'{what} {n}' for what, n in sorted(speed.lost.items()))}")
        for line in speed.wrong:
            console.print(f"{speed.name}: {line}")
    held = all(speed.held for speed in speeds)
    console.print("each intent exactly once, nonces without a gap" if not any(s.wrong for s in speeds) else "WRONG")
    console.print("PASS" if held else "FAIL")
    return held
