"""Random quotes on a fork, and what the chain's own quoters say to each: for `quotes` and for the tests on chains.

`load_markets` reads all pools of a local chain at one block; `draw_cases` draws sizes from one base unit to far beyond
what a pool holds, ends of steps to the wei, price limits and what reverts; `compare` asks QuoterV2 and Router02 for
every case and returns the differences. Guarantees: the same seed on the same state draws the same cases; every answer
is of the markets' block. Not guaranteed: that a difference is a fault here (a node that runs out of gas says "revert").
"""

from __future__ import annotations

import json
import random
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from chains.types import Address, BlockRef, ChainId, address_bytes
from contracts.abi import Function, decode_output, encode_call, load_abi
from contracts.call import ContractReader
from contracts.deployments import MULTICALL3, Venue, load_deployments
from contracts.errors import QuoteError
from contracts.plans import Plan, run_plans
from contracts.uniswap_v2 import pool as v2
from contracts.uniswap_v3 import quoting as v3
from contracts.uniswap_v3 import reading
from contracts.uniswap_v3.ladder import HIGHEST_LIMIT, LOWEST_LIMIT
from contracts.uniswap_v3.pool import V3Pool
from scripts.devnet.calls import hexed, unhexed
from scripts.devnet.catalogue import CHAINS, Pool
from scripts.devnet.catalogue import Venue as PoolVenue
from scripts.devnet.liquidity import TICK_SPACING, pool_address
from scripts.devnet.rpc import DevRpc

CALL_GAS: Final = 300_000_000
"""Walking all words of a drained pool with a tick spacing of 1 takes 20 million and more."""
BATCH: Final = 200
"""eth_calls in one JSON-RPC request."""
REVERTS: Final = ("revert", "InvalidFEOpcode")
"""How Anvil words it; the second is Solidity 0.6's division by zero. Out of gas is neither."""
TIMEOUT_S: Final = 300.0
DRAINED_SHARE: Final = 0.02
"""Of the cases: each makes the node walk thousands of words."""
REFUSED_SHARE: Final = 0.04
"""Of the cases: amounts and limits that no pool takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """One pool with its tokens in the pool's order, and the contract that quotes it."""

    pool: V3Pool | v2.V2Pool
    token0: Address
    token1: Address
    quoter: Address
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Markets:
    """All pools of a chain at one block."""

    url: str
    block: BlockRef
    each: tuple[Market, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One quote: `amount` is sold (`exact_in`) or bought. `limit` only for V3."""

    market: Market
    exact_in: bool
    zero_for_one: bool
    amount: int
    limit: int | None = None

    def describe(self) -> str:
        """For a person who looks for the fault."""
        side = "0->1" if self.zero_for_one else "1->0"
        return f"{self.market.label} {'in' if self.exact_in else 'out'} {side} {self.amount} limit {self.limit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How many cases agreed, in what kinds, and the text of each that did not."""

    asked: int
    reverted: int
    partial: int
    limited: int
    ticks_crossed: int
    most_crossed: int
    differences: tuple[str, ...]


async def load_markets(
    client: ContractReader, *, chain: str, url: str, block: BlockRef, more: Sequence[Pool] = ()
) -> Markets:
    """Every pool of the catalogue (and `more`) that its factory knows."""
    spec, deployments = CHAINS[chain], load_deployments()
    chain_id = ChainId(spec.chain_id)
    rpc = DevRpc(url)
    plans: list[Plan[V3Pool | v2.V2Pool]] = []
    known = []
    for pool in (*spec.pools, *more):
        address = Address(pool_address(rpc, spec, pool=pool))
        tokens = sorted((Address(spec.tokens[s].address) for s in (pool.base, pool.quote)), key=address_bytes)
        if pool.venue is PoolVenue.UNISWAP_V3:
            plans.append(reading.load_pool(address, fee_pips=pool.fee, tick_spacing=TICK_SPACING[pool.fee]))
        else:
            plans.append(v2.load_pool(address))
        known.append((pool, tokens, deployments.venue(chain_id, Venue(pool.venue)).quoter))
    rpc.close()
    states = await run_plans(client, plans, multicall=deployments.address(chain_id, MULTICALL3), block=block)
    markets = tuple(
        Market(pool=state, token0=token0, token1=token1, quoter=quoter, label=f"{chain} {pool.label}")
        for state, (pool, (token0, token1), quoter) in zip(states, known, strict=True)
    )
    return Markets(url=url, block=block, each=markets)


def draw_cases(markets: Markets, count: int, rng: random.Random) -> list[Case]:
    """`count` cases, evenly over the pools."""
    depths = [[_depth(market, zero_for_one=way) for way in (False, True)] for market in markets.each]
    cases = []
    for index in range(count):
        at = index % len(markets.each)
        cases.append(_draw(markets.each[at], depths[at], rng))
    return cases


def compare(markets: Markets, cases: Sequence[Case]) -> Comparison:
    """Ask the chain for each case and compare to the wei."""
    differences: list[str] = []
    reverted = partial = limited = crossed = most = 0
    for start in range(0, len(cases), BATCH):
        chunk = cases[start : start + BATCH]
        answers = eth_calls(markets.url, [(case.market.quoter, _calldata(case)) for case in chunk], markets.block)
        for case, answer in zip(chunk, answers, strict=True):
            ours, theirs = _ours(case), _theirs(case, answer)
            if ours != theirs:
                differences.append(f"{case.describe()}: {ours} here, {theirs} on the chain")
            reverted += theirs is None
            limited += case.limit is not None
            if theirs is not None and isinstance(case.market.pool, V3Pool):
                crossed += theirs[2]
                most = max(most, theirs[2])
                partial += theirs[1] in (case.limit, LOWEST_LIMIT, HIGHEST_LIMIT)
    return Comparison(
        asked=len(cases),
        reverted=reverted,
        partial=partial,
        limited=limited,
        ticks_crossed=crossed,
        most_crossed=most,
        differences=tuple(differences),
    )


def quote(case: Case) -> v3.Quote | v2.V2Quote:
    """Our answer. Raises: QuoteError."""
    pool, zero_for_one = case.market.pool, case.zero_for_one
    if isinstance(pool, V3Pool):
        single = v3.quote_exact_in if case.exact_in else v3.quote_exact_out
        return single(pool, case.amount, zero_for_one=zero_for_one, sqrt_price_limit_x96=case.limit)
    pair = v2.quote_exact_in if case.exact_in else v2.quote_exact_out
    return pair(pool, case.amount, zero_for_one=zero_for_one)


def single_call(case: Case) -> tuple[Function, Sequence[Any]]:
    """The quoter's function and its arguments."""
    market = case.market
    sold, bought = (market.token0, market.token1) if case.zero_for_one else (market.token1, market.token0)
    if isinstance(market.pool, V3Pool):
        name = "quoteExactInputSingle" if case.exact_in else "quoteExactOutputSingle"
        return load_abi("quoter_v2").function(name), [
            (sold, bought, case.amount, market.pool.fee_pips, case.limit or 0)
        ]
    name = "getAmountsOut" if case.exact_in else "getAmountsIn"
    return load_abi("uniswap_v2_router").function(name), [case.amount, [sold, bought]]


def eth_calls(url: str, calls: Sequence[tuple[Address, bytes]], block: BlockRef) -> list[bytes | None]:
    """Answers of eth_calls in one JSON-RPC request, None for each that reverted."""
    requests = [
        {
            "jsonrpc": "2.0",
            "id": index,
            "method": "eth_call",
            "params": [{"to": to, "data": hexed(data), "gas": hex(CALL_GAS)}, hex(block.number)],
        }
        for index, (to, data) in enumerate(calls)
    ]
    asked = urllib.request.Request(url, json.dumps(requests).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(asked, timeout=TIMEOUT_S) as answer:
        found = {each["id"]: each for each in json.loads(answer.read())}
    results: list[bytes | None] = []
    for index in range(len(calls)):
        one = found[index]
        if "error" in one and not any(word in one["error"]["message"] for word in REVERTS):
            raise RuntimeError(f"eth_call: {one['error']['message']}")
        results.append(None if "error" in one else unhexed(one["result"]))
    return results


def _calldata(case: Case) -> bytes:
    function, arguments = single_call(case)
    return encode_call(function, *arguments)


def _ours(case: Case) -> tuple[int, ...] | None:
    """What the chain's quoter should answer: the other amount, for V3 also price after and ticks counted."""
    try:
        found = quote(case)
    except QuoteError:
        return None
    other = found.amount_out if case.exact_in else found.amount_in
    pool = case.market.pool
    if not isinstance(pool, V3Pool) or not isinstance(found, v3.Quote):
        return (other,)
    after = v3.swapped(pool, found, zero_for_one=case.zero_for_one)
    return other, found.sqrt_price_after_x96, v3.quoter_ticks_crossed(pool, after)


def _theirs(case: Case, answer: bytes | None) -> tuple[int, ...] | None:
    if answer is None:
        return None
    values = decode_output(single_call(case)[0], answer)
    if isinstance(case.market.pool, V3Pool):
        return values[:3]
    return (values[0][1 if case.exact_in else 0],)


def _draw(market: Market, depths: Sequence[tuple[int, int]], rng: random.Random) -> Case:
    exact_in, zero_for_one = rng.random() < 0.5, rng.random() < 0.5
    depth = depths[zero_for_one][0 if exact_in else 1]
    kind = rng.random()
    if kind < REFUSED_SHARE:
        return _refused(market, rng, exact_in=exact_in, zero_for_one=zero_for_one, depth=depth)
    if kind < REFUSED_SHARE + DRAINED_SHARE:
        amount = rng.choice((depth, depth + 1, depth * rng.randint(2, 1_000)))
    elif kind < 0.35 and isinstance(market.pool, V3Pool) and depth:
        amount = _at_a_stop(market.pool, rng, exact_in=exact_in, zero_for_one=zero_for_one)
    elif kind < 0.7:
        amount = int(2 ** rng.uniform(0, max(depth.bit_length() - 1, 1)))
    else:
        amount = rng.randint(1, max(depth * 99 // 100, 1))
    limit = _limit(market.pool, rng, zero_for_one=zero_for_one) if rng.random() < 0.25 else None
    return Case(market=market, exact_in=exact_in, zero_for_one=zero_for_one, amount=max(amount, 1), limit=limit)


def _refused(market: Market, rng: random.Random, *, exact_in: bool, zero_for_one: bool, depth: int) -> Case:
    amount, limit = rng.choice((0, 2**255, 2**256 - 1, 2**255 - 1 if not exact_in else 0, depth)), None
    if isinstance(market.pool, V3Pool) and rng.random() < 0.5:
        amount, price = max(depth // 3, 1), market.pool.sqrt_price_x96
        wrong = price + rng.randint(0, price // 100) if zero_for_one else price - rng.randint(0, price // 100)
        limit = rng.choice((wrong, LOWEST_LIMIT - 1 if zero_for_one else HIGHEST_LIMIT + 1, 2**160 - 1, 1))
    return Case(market=market, exact_in=exact_in, zero_for_one=zero_for_one, amount=amount, limit=limit)


def _at_a_stop(pool: V3Pool, rng: random.Random, *, exact_in: bool, zero_for_one: bool) -> int:
    """An amount that ends exactly on a stop of the walk, or one base unit before or after it."""
    side = pool.side(zero_for_one=zero_for_one)
    at = rng.randrange(side.first, len(side.paid)) if side.first < len(side.paid) else 0
    total = side.paid[at] - side.here.paid if exact_in else side.received[at] - side.here.received
    return max(total + rng.randint(-1, 1), 1)


def _limit(pool: V3Pool | v2.V2Pool, rng: random.Random, *, zero_for_one: bool) -> int | None:
    """A price that a swap may run into: at a stop, or anywhere between here and the end of liquidity."""
    if not isinstance(pool, V3Pool):
        return None
    side = pool.side(zero_for_one=zero_for_one)
    ahead = side.prices[side.first :]
    if not ahead:
        return None
    stop = rng.choice(ahead)
    low, high = sorted((pool.sqrt_price_x96, stop))
    limit = rng.choice((stop, rng.randint(low, high), rng.randint(low, high)))
    fits = LOWEST_LIMIT <= limit < pool.sqrt_price_x96 if zero_for_one else pool.sqrt_price_x96 < limit <= HIGHEST_LIMIT
    return limit if fits else None


def _depth(market: Market, *, zero_for_one: bool) -> tuple[int, int]:
    """All that can be sold and all that can be bought."""
    pool = market.pool
    if not isinstance(pool, V3Pool):
        reserves = (pool.reserve0, pool.reserve1) if zero_for_one else (pool.reserve1, pool.reserve0)
        return 4 * reserves[0], reserves[1]
    try:
        drained = v3.quote_exact_in(pool, v3.MAX_AMOUNT, zero_for_one=zero_for_one)
    except QuoteError:
        return 0, 0
    return drained.amount_in, drained.amount_out
