"""Routes beside Uniswap's smart-order-router on the same Anvil, and beside the convex bound of any router.

    against the peer     random trades at 20 gwei, exact input and output. Its legs are run through the same pool states
                         and charged the same gas as ours, so that both are measured with one ruler; its own figure for
                         what it gives must be the one that our states give, or the case does not count as equal state
    against the bound    trades of 100 to 1,000 ETH at gas price zero, on states from which cyclic arbitrage was taken
                         (the bound would take it, a trade from one token to another does not)
    latency              one route each, warm, ours and the peer's in turn

Amounts are those of `find_route`; that they execute to the wei is tested on the forks (tests/contracts/routing).
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from rich.console import Console
from rich.table import Table

from chains.client import EvmClient
from chains.config import load_chains
from chains.rpc.transport import HttpTransport
from chains.types import BlockRef, ChainId
from contracts.assets import Asset, AssetList, load_assets
from contracts.deployments import MULTICALL3, Deployments, RouterKind, Venue, load_deployments
from contracts.errors import QuoteError
from contracts.plans import Plan, run_plans
from contracts.pools import PoolDirectory, discover, pool_keys
from contracts.routes import Exact
from contracts.routing.execution import Share, execute
from contracts.routing.gas import GasModel, GasPricing, judged_asset
from contracts.routing.graph import Edge, PoolGraph
from contracts.routing.model import GraphPool, RoutedSwap
from contracts.routing.search import find_route
from contracts.uniswap_v2.pool import V2Pool
from contracts.uniswap_v2.pool import load_pool as load_v2
from contracts.uniswap_v3.pool import V3Pool
from contracts.uniswap_v3.reading import load_pool as load_v3
from scripts.bench.arbitrage import without_arbitrage
from scripts.bench.convex import upper_bound
from scripts.bench.peers.environment import PeerUnavailable
from scripts.bench.peers.sor import SmartOrderRouter, SorAnswer, smart_order_router
from scripts.bench.results import Bar, Sense
from scripts.bench.routingmarket import POOLS, open_market
from scripts.devnet.catalogue import ETHEREUM
from scripts.devnet.liquidity import TICK_SPACING

ETHEREUM_ID: Final = ChainId(1)
GAS_PRICE_WEI: Final = 20 * 10**9
LOG10_SIZES: Final = (0.0, 3.0)
"""Trades of 1 to 1,000 ETH's worth, evenly in the logarithm."""
BOUND_SIZES_ETH: Final = (100, 200, 400, 700, 1_000)
BOUND_MARKETS: Final = 3
USD: Final[Mapping[str, int]] = {"WETH": 3_000, "WBTC": 60_000, "USDC": 1, "USDT": 1, "DAI": 1}
WORST_BP: Final = 0.1
LEAST_OF_BOUND: Final = 0.9999
WARM_P95_MS: Final = 10.0
TIMES_FASTER: Final = 30.0
LATENCY_ROUNDS: Final = 9
LATENCY_SIZES_ETH: Final = (10, 100, 400, 1_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    sold: Asset
    bought: Asset
    amount: int
    exact: Exact


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """The pools as loaded at one block."""

    url: str
    assets: AssetList
    deployments: Deployments
    block: BlockRef
    graph: PoolGraph


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """One case: how far our net is below the peer's in basis points (negative: above), and both times."""

    case: Case
    below_bp: float
    same_state: bool
    ours_ms: float
    peer_ms: float
    requests: int
    legs: int
    peer_legs: int


def run(*, cases: int, seed: int, peer: bool, console: Console) -> list[Bar]:
    """Print what was measured and return the bars."""
    with open_market(seed) as chain:
        market = asyncio.run(_load(chain.rpc_url))
        console.print(f"{len(market.graph.pools)} pools, block {market.block.number}, seed {seed}")
        beside, times = _against_peer(market, cases, random.Random(seed), wanted=peer, console=console)
    bars = _peer_bars(beside, times, cases, console=console)
    bars.append(_bound_bar(market, seed, console=console))
    bars.append(_latency_bar(market, console=console))
    return bars


def route(market: Market, case: Case, *, gas_price_wei: int, graph: PoolGraph | None = None) -> RoutedSwap:
    """Our route."""
    at = graph or market.graph
    judged = judged_asset(case.sold, case.bought, case.exact)
    return find_route(
        at,
        assets=market.assets,
        deployments=market.deployments,
        sold=case.sold,
        bought=case.bought,
        amount=case.amount,
        exact=case.exact,
        gas=GasPricing.of(at, assets=market.assets, judged=judged, price_wei=gas_price_wei),
        block=market.block,
    )


def _against_peer(
    market: Market, count: int, rng: random.Random, *, wanted: bool, console: Console
) -> tuple[list[Beside], list[tuple[float, float]]]:
    if not wanted:
        return [], []
    depths = _depths(market)
    found: list[Beside] = []
    times: list[tuple[float, float]] = []
    try:
        with smart_order_router(market.url, market.assets, market.graph.pools, depths_eth=depths) as peer:
            while len(found) < count:
                case = _random_case(market, rng)
                one = _beside(market, peer, case)
                if one is not None:
                    found.append(one)
            times = _timed(market, peer)
    except PeerUnavailable as reason:
        console.print(f"smart-order-router cannot be had here, or failed: {reason}")
    return found, times


def _beside(market: Market, peer: SmartOrderRouter, case: Case) -> Beside | None:
    """None where neither can fill the trade."""
    began = time.perf_counter()
    try:
        ours = route(market, case, gas_price_wei=GAS_PRICE_WEI)
    except QuoteError:
        return None
    ours_ms = (time.perf_counter() - began) * 1e3
    answer = peer.route(case.sold, case.bought, amount=case.amount, exact=case.exact, gas_price_wei=GAS_PRICE_WEI)
    if not answer.legs:
        return None
    theirs, quoted = _net(market, case, answer)
    gas = GasPricing.of(
        market.graph,
        assets=market.assets,
        judged=judged_asset(case.sold, case.bought, case.exact),
        price_wei=GAS_PRICE_WEI,
    )
    cost = gas.cost(ours.gas_estimate)
    if case.exact == "in":
        net, sign = ours.amount_out - cost, 1
    else:
        net, sign = ours.amount_in + cost, -1
    return Beside(
        case=case,
        below_bp=sign * (theirs - net) / abs(theirs) * 1e4,
        same_state=abs(quoted - answer.quote) <= len(answer.legs),
        ours_ms=ours_ms,
        peer_ms=answer.ms,
        requests=answer.requests,
        legs=len(ours.legs),
        peer_legs=len(answer.legs),
    )


def _net(market: Market, case: Case, answer: SorAnswer) -> tuple[int, int]:
    """The peer's legs with our states and our gas: net; and gross as they are, to compare with what it says itself."""
    pools = {pool.address.lower(): pool for pool in market.graph.pools}
    shares = []
    for leg in answer.legs:
        token, path = market.assets.token_of(case.sold).token_address, []
        for address in leg.pools:
            pool = pools[address.lower()]
            path.append(Edge(pool=pool, zero_for_one=pool.zero_for_one(token)))
            token = path[-1].token_out
        shares.append(Share(tuple(path), leg.amount))
    gross = execute(shares, case.exact, rounds_v2_up=False)
    # Percentages round: what is missing or too much is the largest leg's.
    rest = case.amount - sum(share.amount for share in shares)
    largest = max(range(len(shares)), key=lambda index: shares[index].amount)
    shares[largest] = shares[largest]._replace(amount=shares[largest].amount + rest)
    alone_v2 = len(shares) == 1 and {edge.pool.key.venue for edge in shares[0].path} == {Venue.UNISWAP_V2}
    kind = RouterKind.ROUTER_02 if alone_v2 else RouterKind.SWAP_ROUTER_02
    done = execute(shares, case.exact, rounds_v2_up=not alone_v2)
    model = GasModel(kind=kind, exact=case.exact, native_in=case.sold.is_native, native_out=case.bought.is_native)
    gas = model.route([share.path for share in shares], ticks_crossed=done.ticks_crossed)
    judged = judged_asset(case.sold, case.bought, case.exact)
    cost = GasPricing.of(market.graph, assets=market.assets, judged=judged, price_wei=GAS_PRICE_WEI).cost(gas)
    if case.exact == "in":
        return done.amount_out - cost, gross.amount_out
    return done.amount_in + cost, gross.amount_in


def _timed(market: Market, peer: SmartOrderRouter) -> list[tuple[float, float]]:
    """(ours, the peer's) milliseconds of the same routes, warm, in turn."""
    times = []
    for round_ in range(LATENCY_ROUNDS):
        for eth in LATENCY_SIZES_ETH:
            case = _case(market, "WBTC", "WETH", eth=eth)
            began = time.perf_counter()
            route(market, case, gas_price_wei=GAS_PRICE_WEI)
            ours = (time.perf_counter() - began) * 1e3
            theirs = peer.route(case.sold, case.bought, amount=case.amount, exact="in", gas_price_wei=GAS_PRICE_WEI).ms
            if round_:
                times.append((ours, theirs))
    return times


def _peer_bars(
    beside: Sequence[Beside], times: Sequence[tuple[float, float]], count: int, *, console: Console
) -> list[Bar]:
    worst = max((each.below_bp for each in beside), default=None)
    below = sum(each.below_bp > WORST_BP for each in beside)
    complete = len(beside) == count and all(each.same_state for each in beside)
    if beside:
        table = Table(
            "cases", "legs, ours", "legs, peer's", "ours above by bp: median", "best", "worst", "other states"
        )
        for exact in ("in", "out"):
            some = [each for each in beside if each.case.exact == exact]
            if some:
                above = sorted(-each.below_bp for each in some)
                table.add_row(
                    f"{len(some)} exact {exact}",
                    f"{statistics.mean(each.legs for each in some):.1f}",
                    f"{statistics.mean(each.peer_legs for each in some):.1f}",
                    f"{statistics.median(above):.2f}",
                    f"{above[-1]:.2f}",
                    f"{above[0]:.3f}",
                    str(sum(not each.same_state for each in some)),
                )
        console.print(table)
        for each in sorted(beside, key=lambda one: -one.below_bp)[:3]:
            case = each.case
            console.print(
                f"{case.sold.symbol} for {case.bought.symbol}, exact {case.exact} {case.amount}: ours above by "
                f"{-each.below_bp:.3f} bp with {each.legs} legs against {each.peer_legs}"
            )
    ratio = None
    if times:
        ours, theirs = (sorted(column) for column in zip(*times, strict=True))
        ratio = statistics.median(other / own for own, other in times)
        table = Table("warm, ms", "p50", "p95")
        for name, column in (("ours", ours), ("smart-order-router", theirs)):
            table.add_row(name, f"{statistics.median(column):,.2f}", f"{_percentile(column, 95):,.2f}")
        console.print(table)
    return [
        Bar(name=f"trades of {count} more than {WORST_BP} bp below smart-order-router, net at 20 gwei",
            measured=float(below) if complete else None, needed=0, unit="", sense=Sense.AT_MOST),
        Bar(name="the worst of them, below by", measured=worst if complete else None, needed=WORST_BP, unit=" bp",
            sense=Sense.AT_MOST),
        Bar(name="a warm route against smart-order-router", measured=ratio, needed=TIMES_FASTER),
    ]  # fmt: skip


def _bound_bar(market: Market, seed: int, *, console: Console) -> Bar:
    """The least part of the convex bound over sizes and markets."""
    table = Table("ETH's worth sold", *(f"market {index + 1}" for index in range(BOUND_MARKETS)))
    graphs = []
    for index in range(BOUND_MARKETS):
        pools = list(market.graph.pools)
        if index:
            with open_market(seed + index) as chain:
                pools = list(asyncio.run(_load(chain.rpc_url)).graph.pools)
        graphs.append(PoolGraph.of(without_arbitrage(pools)))
    least = 1.0
    for eth in BOUND_SIZES_ETH:
        parts = []
        for graph in graphs:
            case = _case(market, "WBTC", "WETH", eth=eth)
            found = route(market, case, gas_price_wei=0, graph=graph)
            bound = upper_bound(graph.pools, case.sold.token_address, case.bought.token_address, case.amount)
            parts.append(found.amount_out / bound)
        least = min(least, *parts)
        table.add_row(f"{eth:,}", *(f"{part:.6f}" for part in parts))
    console.print(table)
    return Bar(name="gross at gas price zero, part of the convex bound", measured=least, needed=LEAST_OF_BOUND, unit="")


def _latency_bar(market: Market, *, console: Console) -> Bar:
    """Warm: every pool's stops were built by an earlier quote."""
    table = Table("ETH's worth sold", "p50 ms", "p95 ms", "legs")
    worst = 0.0
    for eth in LATENCY_SIZES_ETH:
        took, legs = [], 0
        for _ in range(LATENCY_ROUNDS * 5):
            began = time.perf_counter()
            legs = len(route(market, _case(market, "WBTC", "WETH", eth=eth), gas_price_wei=GAS_PRICE_WEI).legs)
            took.append((time.perf_counter() - began) * 1e3)
        took = sorted(took[1:])
        worst = max(worst, _percentile(took, 95))
        table.add_row(f"{eth:,}", f"{statistics.median(took):.2f}", f"{_percentile(took, 95):.2f}", str(legs))
    console.print(table)
    return Bar(name="a warm route, p95 of the slowest size", measured=worst, needed=WARM_P95_MS, unit=" ms",
               sense=Sense.AT_MOST)  # fmt: skip


def _random_case(market: Market, rng: random.Random) -> Case:
    """Half of them between the shallow token and the deep one, where splits matter most; one in four exact output."""
    if rng.random() < 0.5:
        sold, bought = "WBTC", "WETH"
    else:
        sold, bought = rng.sample(sorted(USD), 2)
    exact: Exact = "in" if rng.random() < 0.75 else "out"
    return _case(market, sold, bought, eth=10 ** rng.uniform(*LOG10_SIZES), exact=exact)


def _case(market: Market, sold: str, bought: str, *, eth: float, exact: Exact = "in") -> Case:
    fixed = market.assets.by_symbol(sold if exact == "in" else bought)
    amount = int(eth * USD["WETH"] / USD[fixed.symbol] * 10**fixed.decimals)
    return Case(sold=market.assets.by_symbol(sold), bought=market.assets.by_symbol(bought), amount=amount, exact=exact)


def _depths(market: Market) -> dict[str, float]:
    """What each pool was given, in ETH, by address."""
    given = {}
    for spec in POOLS:
        ends = {ETHEREUM.tokens[spec.base].address, ETHEREUM.tokens[spec.quote].address}
        for pool in market.graph.pools:
            key = pool.key
            if key.venue.value == spec.venue.value and key.fee_pips == spec.fee and ends == set(map(str, key.pair)):
                given[str(pool.address)] = spec.depth_usd / USD["WETH"]
    return given


async def _load(url: str) -> Market:
    transport = HttpTransport(url, name="routing")
    try:
        client = EvmClient(load_chains()["ethereum"], transport)
        assets, deployments = load_assets(ETHEREUM_ID), load_deployments()
        block = (await client.head()).ref
        directory = PoolDirectory(ETHEREUM_ID)
        tokens = [asset.token_address for asset in assets if not asset.is_native]
        venues = [found.venue for found in deployments.venues(ETHEREUM_ID)]
        keys = [key for pair in combinations(tokens, 2) for key in pool_keys(venues, pair)]
        await discover(client, directory, deployments=deployments, keys=keys, block=block)
        known = [(key, address) for key in keys if (address := directory.address(key)) is not None]
        plans: list[Plan[V2Pool | V3Pool]] = [
            load_v2(address)
            if key.venue is not Venue.UNISWAP_V3
            else load_v3(address, fee_pips=key.fee_pips, tick_spacing=TICK_SPACING[key.fee_pips])
            for key, address in known
        ]
        multicall = deployments.address(ETHEREUM_ID, MULTICALL3)
        states = await run_plans(client, plans, multicall=multicall, block=block)
        pools = [GraphPool(key=key, state=state) for (key, _), state in zip(known, states, strict=True)]
        return Market(url=url, assets=assets, deployments=deployments, block=block, graph=PoolGraph.of(pools))
    finally:
        await transport.close()


def _percentile(ordered: Sequence[float], percent: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
