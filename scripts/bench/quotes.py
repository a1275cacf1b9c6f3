"""`python -m scripts.bench quotes`: quotes from memory, proved against the chain's quoters and timed beside other ways.

The proof: random quotes on both local chains (see `quotecases`) at several blocks of seeded order flow, each compared
with QuoterV2, getAmountsOut or getAmountsIn at its block; any difference fails. The times: the same V3 exact-input
quotes by each way in turn, in interleaved rounds, medians; ratios are of one run and mean more than microseconds.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from typing import Final

from rich.console import Console
from rich.table import Table

from chains.client import EvmClient
from chains.config import load_chains
from chains.rpc.transport import HttpTransport
from contracts.uniswap_v2.pool import V2Pool
from contracts.uniswap_v3.pool import Event, PositionChanged, Swapped, V3Pool, apply
from contracts.uniswap_v3.quoting import MAX_AMOUNT, quote_exact_in, quote_exact_out, swapped
from scripts.bench.peers.quoters import RawCalls, RequestsCalls, Web3Calls, degenbot
from scripts.bench.quotecases import (
    Case,
    Comparison,
    Market,
    Markets,
    compare,
    draw_cases,
    load_markets,
    quote,
)
from scripts.bench.quotepools import enrich, more_pools
from scripts.bench.results import Bar, Sense
from scripts.bench.rounds import ROUNDS, Way, interleaved
from scripts.devnet.flow import OrderFlow
from scripts.devnet.network import Devnet, LocalChain, start_devnet
from scripts.devnet.rpc import DevRpc

TIMES_DEGENBOT: Final = 8.0
TIMES_RAW: Final = 500.0
TIMES_WEB3: Final = 4_000.0
APPLIED_WITHIN_US: Final = 100.0
TIMED: Final = 240
"""Quotes that every way answers, over three pools and both directions."""
WEB3_EACH: Final = 24
RAW_EACH: Final = 80
OURS_TIMES: Final = 8
"""How often a round repeats all of ours: they take half a millisecond."""
BLOCKS: Final = 4
"""States of each chain that the proof takes its share at."""
FLOW_STEPS: Final = 12
POSITIONS: Final = 24
ORDINARY: Final = (-6.0, -2.0)
"""An ordinary trade as a power of ten of all that the pool takes."""
SHOWN: Final = 10


def run(*, count: int, seed: int, peers: bool, console: Console) -> list[Bar]:
    """Prove, measure, print."""
    with start_devnet() as devnet:
        proved = _prove(devnet, count=count, seed=seed, console=console)
        return [proved, *_measure(devnet.chains["ethereum"], seed=seed, peers=peers, console=console)]


def _prove(devnet: Devnet, *, count: int, seed: int, console: Console) -> Bar:
    done: dict[str, list[Comparison]] = {}
    began = time.perf_counter()
    for number, chain in enumerate(devnet.chains.values()):
        rng = random.Random(seed + number)
        rpc = DevRpc(chain.rpc_url)
        enrich(rpc, chain.name, rng, positions=POSITIONS)
        rpc.close()
        flow = OrderFlow([chain], seed=seed)
        flow.prepare()
        share = -(-count // (BLOCKS * len(devnet.chains)))
        for _ in range(BLOCKS):
            for _ in range(FLOW_STEPS):
                flow.step()
            markets = asyncio.run(_load(chain))
            done.setdefault(chain.name, []).append(compare(markets, draw_cases(markets, share, rng)))
    table = Table("chain", "quotes", "equal", "reverted", "at a limit or drained", "ticks crossed", "most in one")
    for name, parts in done.items():
        asked, wrong = sum(each.asked for each in parts), sum(len(each.differences) for each in parts)
        table.add_row(
            *(name, f"{asked:,}", f"{asked - wrong:,}", f"{sum(each.reverted for each in parts):,}"),
            *(f"{sum(each.partial for each in parts):,}", f"{sum(each.ticks_crossed for each in parts):,}"),
            str(max(each.most_crossed for each in parts)),
        )
    console.print(table)
    asked = sum(each.asked for parts in done.values() for each in parts)
    differences = [text for parts in done.values() for each in parts for text in each.differences]
    for text in differences[:SHOWN]:
        console.print(text)
    console.print(
        f"{asked - len(differences):,} of {asked:,} quotes equal to the wei, price after and ticks counted included, "
        f"in {time.perf_counter() - began:.0f} s"
    )
    name = "quotes: equal to QuoterV2, getAmountsOut and getAmountsIn to the wei"
    # All that were asked must be equal, and that many must have been asked.
    needed = max(asked, count)
    return Bar(name=name, measured=asked - len(differences), needed=needed, unit=f" of {needed:,}")


def _measure(chain: LocalChain, *, seed: int, peers: bool, console: Console) -> list[Bar]:
    markets = asyncio.run(_load(chain))
    cases = _timed_cases(markets, random.Random(seed))
    expected = [quote(case).amount_out for case in cases]
    crossed = sum(_ticks(case) for case in cases)
    singles = [(_v3(case.market), case.amount, case.zero_for_one) for case in cases]
    outs = [(pool, out, down) for (pool, _, down), out in zip(singles, expected, strict=True)]
    raw, requested, web3 = RawCalls(markets, cases), RequestsCalls(markets, cases), Web3Calls(markets)
    ways: dict[str, tuple[Callable[[], object], int]] = {
        "ours, exact input": (lambda: _ours(singles), TIMED * OURS_TIMES),
        "ours, exact output": (lambda: _ours_out(outs), TIMED * OURS_TIMES),
        "QuoterV2, raw eth_call, requests": (lambda: requested.ask(RAW_EACH), RAW_EACH),
        "QuoterV2, ready-made bytes on a socket": (lambda: raw.ask(RAW_EACH), RAW_EACH),
        "QuoterV2, one JSON-RPC batch": (lambda: raw.batch(), TIMED),
        "web3.py and QuoterV2": (lambda: web3.ask(cases[:WEB3_EACH]), WEB3_EACH),
    }
    same = raw.ask(TIMED) == requested.ask(TIMED) == expected and web3.ask(cases[:WEB3_EACH]) == expected[:WEB3_EACH]
    with degenbot(markets, cases, wanted=peers, console=console) as peer:
        if peer is not None:
            wrong = sum(ours != theirs for ours, theirs in zip(expected, peer.answers, strict=True))
            console.print(f"{peer.name}: {TIMED - wrong} of {TIMED} answers equal to QuoterV2's")
            ways[peer.name] = (peer.round, TIMED)
        took = _interleaved(ways)
        if peer is not None:
            took[peer.name] = peer.median_us(TIMED)
    raw.close()
    requested.close()
    base = took["ours, exact input"]
    title = f"{TIMED} V3 quotes over three pools, {crossed / TIMED:.1f} ticks crossed each, {ROUNDS} interleaved rounds"
    table = Table("way", "µs a quote, median", "x ours", title=title)
    for name, median in took.items():
        table.add_row(name, f"{median:,.2f}", f"{median / base:,.1f}")
    console.print(table)
    beside = [("QuoterV2, raw eth_call, requests", TIMES_RAW), ("web3.py and QuoterV2", TIMES_WEB3)]
    if peers:
        beside.append((next((name for name in took if name.startswith("degenbot")), "degenbot"), TIMES_DEGENBOT))
    return [
        Bar(name="quotes: timed answers equal, all ways", measured=float(same), needed=1.0, unit=""),
        *(
            Bar(
                name=f"quotes: {name}, over ours",
                measured=took[name] / base if name in took else None,
                needed=least,
            )
            for name, least in beside
        ),
        _applied(_v3(cases[0].market), console=console),
    ]


def _applied(pool: V3Pool, *, console: Console) -> Bar:
    """What a block's log costs: the new state, and its first quote, which works out where it stands."""
    small = quote_exact_in(pool, 10**6, zero_for_one=True)
    after = swapped(pool, small, zero_for_one=True)
    far = swapped(
        pool, quote_exact_in(pool, _depth(pool, zero_for_one=True) // 2, zero_for_one=True), zero_for_one=True
    )
    spacing = pool.tick_spacing
    low = pool.tick // spacing * spacing
    minted = PositionChanged(lower=low - 2 * spacing, upper=low + 2 * spacing, delta=10**9)

    def event_of(state: V3Pool) -> Swapped:
        return Swapped(sqrt_price_x96=state.sqrt_price_x96, tick=state.tick, liquidity=state.liquidity)

    def first_quote(event: Event) -> object:
        return quote_exact_in(apply(pool, event), 10**6, zero_for_one=True)

    within, beyond = event_of(after), event_of(far)
    kinds: dict[str, Callable[[], object]] = {
        "Swap, no tick crossed": lambda: apply(pool, within),
        "Swap, no tick crossed, and a quote": lambda: first_quote(within),
        "Swap across half the pool, and a quote": lambda: first_quote(beyond),
        "Mint, and a quote": lambda: first_quote(minted),
    }
    took = _interleaved({name: (_repeated(work, 100), 100) for name, work in kinds.items()})
    table = Table("applied", "µs, median")
    for name, median in took.items():
        table.add_row(name, f"{median:.1f}")
    console.print(table)
    slowest = took["Swap, no tick crossed, and a quote"]
    name = "quotes: a Swap applied that crosses no tick, and a quote"
    return Bar(name=name, measured=slowest, needed=APPLIED_WITHIN_US, unit=" µs", sense=Sense.AT_MOST)


def _ticks(case: Case) -> int:
    """Initialised ticks that a case crosses."""
    return quote_exact_in(_v3(case.market), case.amount, zero_for_one=case.zero_for_one).ticks_crossed


async def _load(chain: LocalChain) -> Markets:
    transport = HttpTransport(chain.rpc_url, name=chain.name)
    try:
        client = EvmClient(load_chains()[chain.name], transport)
        head = (await client.head()).ref
        return await load_markets(client, chain=chain.name, url=chain.rpc_url, block=head, more=more_pools(chain.name))
    finally:
        await transport.close()


def _timed_cases(markets: Markets, rng: random.Random) -> list[Case]:
    """Exact inputs on three fee tiers: every second of an ordinary size, the others to a stop drawn evenly from all."""
    labels = {f"ethereum uniswap_v3 {pair} %" for pair in ("WETH/USDC 0.05", "WETH/USDC 0.3", "USDC/USDT 0.01")}
    chosen = [market for market in markets.each if market.label in labels]
    cases = []
    for index in range(TIMED):
        market, down = chosen[index % len(chosen)], index % 2 == 0
        pool = _v3(market)
        amount = int(_depth(pool, zero_for_one=down) * 10 ** rng.uniform(*ORDINARY))
        if index // len(chosen) % 2:
            side = pool.side(zero_for_one=down)
            amount = rng.choice(side.paid[side.first :]) - side.here.paid - 1
        cases.append(Case(market=market, exact_in=True, zero_for_one=down, amount=max(amount, 1)))
    return cases


def _depth(pool: V3Pool, *, zero_for_one: bool) -> int:
    return quote_exact_in(pool, MAX_AMOUNT, zero_for_one=zero_for_one).amount_in


def _v3(market: Market) -> V3Pool:
    if isinstance(market.pool, V2Pool):
        raise TypeError(f"{market.label} is not a V3 pool")
    return market.pool


def _ours(singles: Sequence[tuple[V3Pool, int, bool]]) -> None:
    for _ in range(OURS_TIMES):
        for pool, amount, down in singles:
            quote_exact_in(pool, amount, zero_for_one=down)


def _ours_out(singles: Sequence[tuple[V3Pool, int, bool]]) -> None:
    for _ in range(OURS_TIMES):
        for pool, amount, down in singles:
            quote_exact_out(pool, amount, zero_for_one=down)


def _repeated(work: Callable[[], object], times: int) -> Callable[[], object]:
    def repeat() -> None:
        for _ in range(times):
            work()

    return repeat


def _interleaved(ways: dict[str, tuple[Callable[[], object], int]]) -> dict[str, float]:
    """Median µs of one unit of each way, all ways in turn in every round."""
    took = interleaved({name: Way(work=work, units=units) for name, (work, units) in ways.items()})
    return {name: each.us for name, each in took.items()}
