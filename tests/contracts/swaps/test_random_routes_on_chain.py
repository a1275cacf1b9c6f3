"""Routes drawn at random over all pools of the forks: they decode to themselves, and execute to the wei."""

from collections.abc import Iterator
from itertools import pairwise
from random import Random

import pytest

from contracts.deployments import RouterKind
from contracts.routes import Exact
from scripts.devnet.catalogue import CHAINS
from scripts.devnet.catalogue import Venue as PoolVenue
from tests.contracts.desk import Desk
from tests.contracts.swaps.market import Market, Way
from tests.contracts.swaps.test_routes_on_chain import trade_and_compare

pytestmark = pytest.mark.chain

ROUTES = 8
"""A test; each is put back before the next."""
SEEDS = range(3)
THOUSAND_USD = {
    "WETH": 10**18 // 3,
    "WPOL": 2_000 * 10**18,
    "WBTC": 10**8 // 60,
    "USDC": 1_000 * 10**6,
    "USDCE": 1_000 * 10**6,
    "USDT": 1_000 * 10**6,
    "DAI": 1_000 * 10**18,
}
"""About so many base units; only the size of the trades hangs on it."""


@pytest.mark.parametrize("seed", SEEDS)
async def test_random_routes_move_exactly_what_was_quoted(desk: Desk, seed: int) -> None:
    rng = Random(f"{desk.chain.name} {seed}")
    for _ in range(ROUTES):
        snapshot = desk.rpc("evm_snapshot")
        await _one(desk, rng)
        assert desk.rpc("evm_revert", snapshot)


async def _one(desk: Desk, rng: Random) -> None:
    exact: Exact = rng.choice(["in", "out"])
    pools = _pools(desk)
    tokens = sorted({token for pair, _ in pools for token in pair})
    paths: list[tuple[tuple[str, ...], tuple[int, ...]]] = []
    while not paths:
        first, last = rng.sample(tokens, 2)
        paths = [
            (path, fees)
            for path, fees in _paths(pools, (first,), last)
            if exact == "in" or len({fee == 0 for fee in fees}) == 1
        ]
    whole = THOUSAND_USD[first if exact == "in" else last] * rng.choice([1, 30])
    ways = [
        Way(tokens=path, pools=fees, amount=max(1_000, whole * rng.randint(1, 1_000) // 1_000))
        for path, fees in rng.choices(paths, k=rng.randint(1, 4))
    ]
    native = {desk.assets.wrapped.symbol: rng.choice([desk.assets.wrapped.symbol, desk.assets.native.symbol])}
    market = await Market.load(desk, ways)
    sold, bought = native.get(first, first), native.get(last, last)
    routed = market.route(ways, sold=sold, bought=bought, exact=exact, kind=RouterKind.SWAP_ROUTER_02)
    await trade_and_compare(desk, routed, pools=market.addresses)


def _pools(desk: Desk) -> list[tuple[tuple[str, str], int]]:
    """Both ways through each pool that SwapRouter02 trades with: symbols, and the V3 tier or 0."""
    with_v2 = desk.chain.name == "ethereum"
    found = []
    for pool in CHAINS[desk.chain.name].pools:
        if pool.venue is PoolVenue.UNISWAP_V3 or (with_v2 and pool.venue is PoolVenue.UNISWAP_V2):
            fee = pool.fee if pool.venue is PoolVenue.UNISWAP_V3 else 0
            found += [((pool.base, pool.quote), fee), ((pool.quote, pool.base), fee)]
    return found


def _paths(
    pools: list[tuple[tuple[str, str], int]], path: tuple[str, ...], last: str, fees: tuple[int, ...] = ()
) -> Iterator[tuple[tuple[str, ...], tuple[int, ...]]]:
    """Ways of up to three pools that visit no token twice."""
    if path[-1] == last:
        assert len(list(pairwise(path))) == len(fees)
        yield path, fees
    elif len(fees) < 3:
        for (token_in, token_out), fee in pools:
            if token_in == path[-1] and token_out not in path:
                yield from _paths(pools, (*path, token_out), last, (*fees, fee))
