"""`python -m scripts.bench jsonrpc`: one small read of a node, one after the other and 32 at a time, by each client.

Ours is measured at three heights: the transport, the typed client on it, and the client on a pool of one endpoint. The
floor is a bare stream that knows nothing of JSON. The node is a plain Anvil; the read is a balance at a block.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from rich.console import Console
from rich.table import Table

from chains.client import EvmClient
from chains.config import load_chains
from chains.rpc.endpoint import EndpointConfig
from chains.rpc.pool import RpcPool
from chains.rpc.transport import HttpTransport
from chains.types import Address, ChainId, address_from_bytes
from scripts.bench.peers.jsonrpc import METHOD, AiohttpCalls, AsyncWeb3Calls, HttpxCalls, RawStreams
from scripts.bench.results import Bar, Sense
from scripts.bench.rounds import ROUNDS, Took, Way, interleaved
from scripts.devnet.network import LocalChain, start_devnet
from scripts.devnet.rpc import DevRpc
from service.clock import SystemClock

CHAIN: Final = "ethereum"
AT_ONCE: Final = 32
IN_TURN: Final = 100
TOGETHER: Final = 320
FLOOR: Final = "bare stream (floor)"
AIOHTTP: Final = "aiohttp and orjson by hand"
WEB3: Final = "AsyncWeb3"
HTTPX: Final = "httpx and orjson"
TRANSPORT: Final = "ours, the transport"
CLIENT: Final = "ours, the typed client"
POOL: Final = "ours, the client on a pool"
TIMES_WEB3: Final = {"in turn": 3.0, "32 at once": 3.0}
"""No bar of anybody's but this module's: AsyncWeb3 took 1,434 / 1,268 us where aiohttp with orjson took 432 / 250."""
TIMES_HTTPX: Final = {"in turn": 3.0, "32 at once": 8.0}
TIMES_AIOHTTP: Final = 1.5
"""Ours checks ids, sizes, repeated keys and shapes on top of what it stands on."""


class Asks(Protocol):
    async def ask(self, address: Address) -> int: ...

    async def close(self) -> None: ...


def run(*, seed: int, console: Console) -> list[Bar]:
    """Ask in all ways in turn, compare, print."""
    with start_devnet(names=(CHAIN,)) as devnet, asyncio.Runner() as runner:
        return _measure(devnet.chains[CHAIN], runner, rng=random.Random(seed), console=console)


def _measure(chain: LocalChain, runner: asyncio.Runner, *, rng: random.Random, console: Console) -> list[Bar]:
    url = chain.rpc_url
    held = {address_from_bytes(rng.randbytes(20)): rng.randrange(1, 10**20) for _ in range(IN_TURN)}
    rpc = DevRpc(url)
    rpc.batch([("anvil_setBalance", address, hex(wei)) for address, wei in held.items()])
    block = int(rpc("eth_blockNumber"), 16)
    rpc.close()
    config = load_chains()[CHAIN]
    transports = [HttpTransport(url, name=CHAIN) for _ in range(3)]
    pool = RpcPool(
        [EndpointConfig(transport=transports[2])], name=CHAIN, chain_id=ChainId(chain.chain_id), clock=SystemClock()
    )
    client, pooled = EvmClient(config, transports[1]), EvmClient(config, pool)
    peers: dict[str, Asks] = {
        FLOOR: RawStreams(url, block=block),
        AIOHTTP: AiohttpCalls(url, block=block),
        HTTPX: HttpxCalls(url, block=block),
        WEB3: AsyncWeb3Calls(url, block=block),
    }

    async def plain(address: Address) -> int:
        return int(await transports[0].request(METHOD, [address, hex(block)]), 16)

    asks: dict[str, Callable[[Address], Awaitable[int]]] = {
        FLOOR: peers[FLOOR].ask,
        AIOHTTP: peers[AIOHTTP].ask,
        TRANSPORT: plain,
        CLIENT: lambda address: client.balance(address, block=block),
        POOL: lambda address: pooled.balance(address, block=block),
        WEB3: peers[WEB3].ask,
        HTTPX: peers[HTTPX].ask,
    }
    addresses = list(held)
    wrong = sum(runner.run(_in_turn(ask, addresses)) != list(held.values()) for ask in asks.values())
    in_turn = interleaved(_ways(runner, asks, _in_turn, addresses=addresses))
    at_once = interleaved(_ways(runner, asks, _at_once, addresses=addresses * (TOGETHER // IN_TURN)))
    for transport in transports:
        runner.run(transport.close())
    for peer in peers.values():
        runner.run(peer.close())
    console.print(_table(in_turn, at_once))
    took = {"in turn": in_turn, "32 at once": at_once}
    bars = [Bar(name="JSON-RPC: every client right", measured=len(asks) - wrong, needed=len(asks), unit="")]
    for how, figures in took.items():
        ours = figures[TRANSPORT].us
        for name, times in ((WEB3, TIMES_WEB3[how]), (HTTPX, TIMES_HTTPX[how])):
            bars.append(
                Bar(name=f"JSON-RPC: {name}, over ours ({how})", measured=figures[name].us / ours, needed=times)
            )
        name = f"JSON-RPC: ours over {AIOHTTP} ({how})"
        ratio = ours / figures[AIOHTTP].us
        bars.append(Bar(name=name, measured=ratio, needed=TIMES_AIOHTTP, sense=Sense.AT_MOST))
    return bars


async def _in_turn(ask: Callable[[Address], Awaitable[int]], addresses: list[Address]) -> list[int]:
    return [await ask(address) for address in addresses]


async def _at_once(ask: Callable[[Address], Awaitable[int]], addresses: list[Address]) -> list[int]:
    """Always 32 under way, as long as there are so many."""
    left = iter(addresses)

    async def one_after_the_other() -> list[int]:
        return [await ask(address) for address in left]

    found = await asyncio.gather(*(one_after_the_other() for _ in range(AT_ONCE)))
    return [value for values in found for value in values]


def _ways(
    runner: asyncio.Runner,
    asks: dict[str, Callable[[Address], Awaitable[int]]],
    how: Callable[[Callable[[Address], Awaitable[int]], list[Address]], Any],
    *,
    addresses: list[Address],
) -> dict[str, Way]:
    def way(ask: Callable[[Address], Awaitable[int]]) -> Way:
        return Way(work=lambda: runner.run(how(ask, addresses)), units=len(addresses))

    return {name: way(ask) for name, ask in asks.items()}


def _table(in_turn: dict[str, Took], at_once: dict[str, Took]) -> Table:
    headings = ("client", "µs a call, in turn", "client's CPU", f"{AT_ONCE} at once", "client's CPU", "x floor")
    table = Table(*headings, title=f"a small read, {ROUNDS} interleaved rounds")
    for name, each in in_turn.items():
        together = at_once[name]
        floors = f"{each.us / in_turn[FLOOR].us:.1f} / {together.us / at_once[FLOOR].us:.1f}"
        figures = (each.us, each.cpu_us, together.us, together.cpu_us)
        table.add_row(name, *(f"{value:,.0f}" for value in figures), floors)
    return table
