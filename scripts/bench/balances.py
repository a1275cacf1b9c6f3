"""`python -m scripts.bench balances`: balances of 10,000 pairs at one block, beside other ways and each way's floor.

The node is a plain Anvil with the devnet's contracts, not the fork of it: a fork looks every account up behind a lock,
which takes ten times as long as all the rest. Each wallet holds a random amount of five listed tokens, so that what is
read is known beforehand. A floor is the same bytes sent again on one socket, with nothing made of the answer.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from chains.client import EvmClient
from chains.config import load_chains
from chains.errors import RpcError
from chains.rpc.transport import HttpTransport
from chains.types import BlockRef, ChainId, address_from_bytes
from contracts.assets import load_assets
from contracts.balances.ladder import BalanceReader
from contracts.balances.ladder import Way as Method
from contracts.balances.packed import Pair
from contracts.deployments import MULTICALL3, load_deployments
from scripts.bench.peers.balances import AsyncWeb3Balances, BatchByHand, Web3Balances
from scripts.bench.peers.wire import Wire
from scripts.bench.peers.worker import peer
from scripts.bench.results import Bar, Sense
from scripts.bench.rounds import ROUNDS, Way, interleaved
from scripts.devnet.network import LocalChain, start_devnet
from scripts.devnet.rpc import DevRpc

CHAIN: Final = "ethereum"
PAIRS: Final = 10_000
TIMES_WEB3: Final = {Method.PLACED: 80.0, Method.MULTICALL3: 40.0}
TIMES_MULTICALL: Final = {Method.PLACED: 20.0, Method.MULTICALL3: 8.0}
TIMES_FLOOR: Final = 1.5
WEB3_MULTICALL: Final = "web3.py contract, Multicall3"
WEB3_PAIRS: Final = 1_000
EACH_PAIRS: Final = 40
AT_ONCE_PAIRS: Final = 128
BATCH_PAIRS: Final = 200
BY_HAND_PAIRS: Final = 1_000
REPEATS: Final = 4
"""Of a read of all pairs by us, and of its floor, in one round."""
DEALS: Final = 500
"""Balances that are given out in one request."""


class Recorded(HttpTransport):
    """The transport, keeping what it was asked."""

    def __init__(self, url: str) -> None:
        super().__init__(url, name=CHAIN)
        self.asked: list[tuple[str, Sequence[Any]]] = []

    async def request(self, method: str, params: Sequence[Any]) -> Any:
        self.asked.append((method, params))
        return await super().request(method, params)

    async def batch(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any | RpcError]:
        self.asked += calls
        return await super().batch(calls)


def run(*, seed: int, peers: bool, console: Console) -> list[Bar]:
    """Give out, read in all ways in turn, compare, print."""
    with start_devnet(names=(CHAIN,)) as devnet, asyncio.Runner() as runner:
        return _measure(devnet.chains[CHAIN], runner, seed=seed, peers=peers, console=console)


def _measure(chain: LocalChain, runner: asyncio.Runner, *, seed: int, peers: bool, console: Console) -> list[Bar]:
    url = chain.rpc_url
    multicall = load_deployments().address(ChainId(chain.chain_id), MULTICALL3)
    expected = _give_out(url, chain, random.Random(seed))
    pairs = list(expected)
    transport = HttpTransport(url, name=CHAIN)
    client = EvmClient(load_chains()[CHAIN], transport)
    block = runner.run(client.head()).ref
    readers = {method: BalanceReader(client, multicall=multicall, ways=[method]) for method in Method}
    web3 = Web3Balances(url, multicall=multicall, block=block.number)
    async_web3, by_hand = AsyncWeb3Balances(url, block=block.number), BatchByHand(url, block=block.number)
    wire = Wire(url)
    wrong: dict[str, int] = {}

    def checked(name: str, read: Callable[[Sequence[Pair]], Sequence[int | None]], count: int) -> Way:
        asked = pairs[:count]
        found = read(asked)
        wrong[name] = sum(value != expected[pair] for pair, value in zip(asked, found, strict=True))
        return Way(work=lambda: read(asked), units=count)

    def looped(
        read: Callable[[Sequence[Pair]], Coroutine[Any, Any, Sequence[int | None]]],
    ) -> Callable[[Sequence[Pair]], Sequence[int | None]]:
        return lambda asked: runner.run(read(asked))

    ways: dict[str, Way] = {}
    for method, reader in readers.items():
        ways[_ours(method)] = _repeated(checked(_ours(method), looped(_reading(reader, block)), PAIRS))
        requests = runner.run(_recorded(url, method, pairs=pairs, block=block))
        ways[_floor(method)] = _repeated(_replayed(wire, requests))
    ways[WEB3_MULTICALL] = checked(WEB3_MULTICALL, web3.multicall, WEB3_PAIRS)
    for name, read, count in (
        ("web3.py contract, an eth_call each", web3.each, EACH_PAIRS),
        ("AsyncWeb3 contract, 64 at a time", looped(async_web3.at_once), AT_ONCE_PAIRS),
        ("AsyncWeb3 batch_requests", looped(async_web3.batch), BATCH_PAIRS),
        ("JSON-RPC batch by hand, orjson", looped(by_hand.read), BY_HAND_PAIRS),
    ):
        ways[name] = checked(name, read, count)
    with ExitStack() as stack:
        package = None
        if peers:
            given = {"url": url, "block": block.number, "pairs": pairs[:WEB3_PAIRS]}
            package = stack.enter_context(peer("multicall", script="multicall_worker.py", given=given, console=console))
        if package is not None:
            known = [expected[pair] for pair in pairs[:WEB3_PAIRS]]
            wrong[package.name] = sum(value != right for value, right in zip(package.answers, known, strict=True))
            ways[package.name] = Way(work=package.round, units=WEB3_PAIRS)
        took = interleaved(ways)
        package_us = None if package is None else package.median_us(WEB3_PAIRS)
    runner.run(_close(transport, async_web3, by_hand))
    wire.close()
    us = {name: each.us for name, each in took.items()}
    base = us[_ours(Method.PLACED)]
    table = Table("way", "pairs", "µs a pair", "client's CPU", "x ours", title=f"balances, {ROUNDS} interleaved rounds")
    for name, each in took.items():
        cpu = "" if package is not None and name == package.name else f"{each.cpu_us:,.1f}"
        table.add_row(name, f"{min(ways[name].units, PAIRS):,}", f"{each.us:,.2f}", cpu, f"{each.us / base:,.1f}")
    console.print(table)
    for name, count in wrong.items():
        if count:
            console.print(f"{name}: {count} wrong")
    worst = max(wrong[_ours(method)] for method in Method)
    bars = [
        Bar(name="balances: exact, each of the three ways", measured=PAIRS - worst, needed=PAIRS, unit=f" of {PAIRS:,}")
    ]
    for method, least in TIMES_WEB3.items():
        ratio = us[WEB3_MULTICALL] / us[_ours(method)]
        bars.append(Bar(name=f"balances: {WEB3_MULTICALL}, over ours ({method})", measured=ratio, needed=least))
    for method, least in TIMES_MULTICALL.items() if peers else ():
        measured = None if package_us is None else package_us / us[_ours(method)]
        name = "multicall package" if package is None else package.name
        bars.append(Bar(name=f"balances: {name}, over ours ({method})", measured=measured, needed=least))
    for method in Method:
        ratio = us[_ours(method)] / us[_floor(method)]
        name = f"balances: ours over its floor ({method})"
        bars.append(Bar(name=name, measured=ratio, needed=TIMES_FLOOR, sense=Sense.AT_MOST))
    return bars


def _replayed(wire: Wire, requests: Sequence[bytes]) -> Way:
    return Way(work=lambda: [wire.ask(request) for request in requests], units=PAIRS)


def _repeated(way: Way) -> Way:
    """What takes some 20 ms is done a few times in a round, so that a pause of the machine is not all of it."""

    def work() -> None:
        for _ in range(REPEATS):
            way.work()

    return Way(work=work, units=way.units * REPEATS)


def _reading(
    reader: BalanceReader, block: BlockRef
) -> Callable[[Sequence[Pair]], Coroutine[Any, Any, Sequence[int | None]]]:
    return lambda pairs: reader.read(pairs, block=block)


async def _recorded(url: str, method: Method, *, pairs: Sequence[Pair], block: BlockRef) -> list[bytes]:
    """What reading by a way sends once it knows that the way is served."""
    transport, wire = Recorded(url), Wire(url)
    multicall = load_deployments().address(ChainId(1), MULTICALL3)
    reader = BalanceReader(EvmClient(load_chains()[CHAIN], transport), multicall=multicall, ways=[method])
    await reader.read(pairs, block=block)
    transport.asked.clear()
    await reader.read(pairs, block=block)
    await transport.close()
    requests = [wire.request(name, params) for name, params in transport.asked]
    wire.close()
    return requests


def _give_out(url: str, chain: LocalChain, rng: random.Random) -> dict[Pair, int]:
    """Random balances of all listed tokens, all in the node's state before it is read."""
    tokens = [asset.token_address for asset in load_assets(ChainId(chain.chain_id)) if not asset.is_native]
    wallets = [address_from_bytes(rng.randbytes(20)) for _ in range(PAIRS // len(tokens))]
    given = {(token, wallet): rng.randrange(10**12) for wallet in wallets for token in tokens}
    rpc = DevRpc(url)
    deals = [("anvil_dealERC20", wallet, token, hex(raw)) for (token, wallet), raw in given.items()]
    for start in range(0, len(deals), DEALS):
        rpc.batch(deals[start : start + DEALS])
    rpc("evm_mine")
    rpc.close()
    return given


async def _close(transport: HttpTransport, async_web3: AsyncWeb3Balances, by_hand: BatchByHand) -> None:
    await transport.close()
    await async_web3.close()
    await by_hand.close()


def _ours(method: Method) -> str:
    return f"ours, {method}"


def _floor(method: Method) -> str:
    return f"floor: same bytes as {method}"
