"""`python -m scripts.bench logs`: 10,000 Transfer logs in one eth_getLogs, beside other ways and the floor.

Every way gives sender, recipient and amount of each log, which are known beforehand. The floor is the same request sent
again on one socket, with nothing made of the answer.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from functools import partial
from typing import Final

from rich.console import Console
from rich.table import Table

from chains.logs import SPAN_BLOCKS, LogQuery, logs_in
from chains.rpc.transport import HttpTransport
from chains.sizing import Portion
from chains.types import Address, ChainId, address_bytes, address_from_bytes
from contracts.abi import load_abi
from contracts.deployments import MULTICALL3, load_deployments
from contracts.multicall import encode_aggregate3
from scripts.bench.peers.logs import Transfers, Web3Logs, by_hand, plain
from scripts.bench.peers.wire import Wire
from scripts.bench.results import Bar, Sense
from scripts.bench.rounds import ROUNDS, Way, interleaved
from scripts.devnet.calls import call_data, send_raw
from scripts.devnet.catalogue import CHAINS
from scripts.devnet.cheats import fund_token, impersonate
from scripts.devnet.network import LocalChain, start_devnet
from scripts.devnet.placing import TREASURY
from scripts.devnet.rpc import DevRpc

CHAIN: Final = "ethereum"
TOKEN: Final = "DAI"
LOGS: Final = 10_000
IN_A_BLOCK: Final = 250
GAS: Final = 28_000_000
TIMES_WEB3: Final = 40.0
TIMES_FLOOR: Final = 2.5
WEB3: Final = "web3.py contract.events.get_logs"
OURS: Final = "ours"
FLOOR: Final = "floor: same bytes"


def run(*, seed: int, console: Console) -> list[Bar]:
    """Make the logs, read them in all ways in turn, compare, print."""
    with start_devnet(names=(CHAIN,)) as devnet, asyncio.Runner() as runner:
        return _measure(devnet.chains[CHAIN], runner, seed=seed, console=console)


def _measure(chain: LocalChain, runner: asyncio.Runner, *, seed: int, console: Console) -> list[Bar]:
    token = Address(CHAINS[CHAIN].tokens[TOKEN].address)
    first, expected = _made(chain, token, random.Random(seed))
    last = first + len(expected) // IN_A_BLOCK - 1
    topic = load_abi("erc20").event("Transfer").topic
    query, span = LogQuery(addresses=frozenset({token}), topics=frozenset({topic})), Portion(SPAN_BLOCKS)
    transport = HttpTransport(chain.rpc_url, name=CHAIN)
    wire, web3 = Wire(chain.rpc_url), Web3Logs(chain.rpc_url, token=token, topic="0x" + topic.hex())

    async def read_into(found: Transfers) -> None:
        async for chunk in logs_in(transport, query, first=first, last=last, span=span):
            found += [(log.topics[1][12:], log.topics[2][12:], int.from_bytes(log.data, "big")) for log in chunk.logs]

    def ours() -> Transfers:
        # Not returned through the loop: `Runner.run` makes a repr of what its task returned, 5 us for each log.
        found: Transfers = []
        runner.run(read_into(found))
        return found

    request = wire.request("eth_getLogs", [{**query.filter, "fromBlock": hex(first), "toBlock": hex(last)}])
    reads: dict[str, Callable[[], Transfers]] = {
        OURS: ours,
        "orjson and eth_abi by hand": partial(by_hand, wire, request),
        WEB3: partial(web3.events, first, last),
        "web3.py eth.get_logs, not decoded": partial(web3.get_logs, first, last),
    }
    wrong = [name for name, read in reads.items() if plain(read()) != expected]
    ways = {name: Way(work=read, units=len(expected)) for name, read in reads.items()}
    ways[FLOOR] = Way(work=lambda: wire.ask(request), units=len(expected))
    took = interleaved(ways)
    wire.close()
    runner.run(transport.close())
    base = took[OURS].us
    table = Table(
        "way", "logs", "µs a log", "client's CPU", "x ours", title=f"Transfer logs, {ROUNDS} interleaved rounds"
    )
    for name, each in took.items():
        table.add_row(name, f"{ways[name].units:,}", f"{each.us:,.2f}", f"{each.cpu_us:,.1f}", f"{each.us / base:,.1f}")
    console.print(table)
    for name in wrong:
        console.print(f"{name}: wrong")
    exact = 0 if OURS in wrong else len(expected)
    return [
        Bar(name="logs: as they were made", measured=exact, needed=LOGS, unit=f" of {LOGS:,}"),
        Bar(name=f"logs: {WEB3}, over ours", measured=took[WEB3].us / base, needed=TIMES_WEB3),
        Bar(name="logs: ours over the floor", measured=base / took[FLOOR].us, needed=TIMES_FLOOR, sense=Sense.AT_MOST),
    ]


def _made(chain: LocalChain, token: Address, rng: random.Random) -> tuple[int, list[tuple[str, str, int]]]:
    """Transfers by Multicall3, whose tokens anyone may send: the first block, and what the logs from there say."""
    multicall = load_deployments().address(ChainId(chain.chain_id), MULTICALL3)
    recipients = [address_from_bytes(rng.randbytes(20)) for _ in range(IN_A_BLOCK)]
    rpc = DevRpc(chain.rpc_url)
    impersonate(rpc, TREASURY)
    fund_token(rpc, CHAIN, TOKEN, multicall, 10**30)
    first, made = int(rpc("eth_blockNumber"), 16) + 1, list[tuple[str, str, int]]()
    while len(made) < LOGS:
        amounts = {to: rng.randrange(1, 10**18) for to in recipients}
        calls = [(token, call_data("transfer(address,uint256)", to, raw)) for to, raw in amounts.items()]
        send_raw(rpc, multicall, data=encode_aggregate3(calls), sender=TREASURY, gas=GAS)
        made += [("0x" + address_bytes(multicall).hex(), to.lower(), raw) for to, raw in amounts.items()]
    rpc.close()
    return first, made
