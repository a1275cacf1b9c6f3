"""Markets that never were on a chain: seventeen pools between five tokens, as in the benchmark's proportions."""

import random
from math import isqrt

from chains.types import Address, BlockHash, BlockRef, ChainId, address_bytes, address_from_bytes
from contracts.assets import AssetList, load_assets
from contracts.deployments import Venue
from contracts.pools import PoolKey
from contracts.routing.model import GraphPool
from contracts.uniswap_v2.pool import V2Pool
from contracts.uniswap_v3.maths import MAX_TICK, get_sqrt_ratio_at_tick, get_tick_at_sqrt_ratio
from contracts.uniswap_v3.pool import V3Pool
from contracts.uniswap_v3.ticks import TickLiquidity, TickMap

ASSETS: AssetList = load_assets(ChainId(1))
WETH, USDC, USDT, DAI, WBTC = (ASSETS.by_symbol(symbol) for symbol in ("WETH", "USDC", "USDT", "DAI", "WBTC"))
BLOCK = BlockRef(number=100, hash=BlockHash("0x" + "11" * 32))
SPACINGS = {100: 1, 500: 10, 3_000: 60, 10_000: 200}
"""Of the fee tiers."""
VALUES = {"WETH": 3_000, "WBTC": 60_000, "USDC": 1, "USDT": 1, "DAI": 1}
"""Dollars."""
SPECS: tuple[tuple[str, str, int | None, int], ...] = (
    ("WBTC", "WETH", 500, 300),
    ("WBTC", "WETH", 3_000, 1_500),
    ("WBTC", "WETH", 10_000, 400),
    ("WBTC", "WETH", None, 800),
    ("WBTC", "USDC", 3_000, 500),
    ("WBTC", "USDC", None, 300),
    ("WBTC", "DAI", 3_000, 200),
    ("WBTC", "USDT", 3_000, 150),
    ("USDC", "WETH", 500, 9_000),
    ("USDC", "WETH", 3_000, 4_000),
    ("USDC", "WETH", None, 3_000),
    ("DAI", "WETH", 3_000, 1_500),
    ("DAI", "WETH", None, 900),
    ("USDT", "WETH", 3_000, 2_500),
    ("USDT", "WETH", 500, 2_000),
    ("DAI", "USDC", 500, 2_000),
    ("USDC", "USDT", 500, 3_000),
)
"""Two tokens, the V3 fee (None: V2), and what both sides are worth, in ETH."""


def units(symbol: str, *, eth: int) -> int:
    """Base units of a token that are worth so many ETH."""
    unit: int = 10 ** ASSETS.by_symbol(symbol).decimals
    return eth * VALUES["WETH"] * unit // VALUES[symbol]


def key(one: str, other: str, fee_pips: int | None) -> PoolKey:
    tokens = ASSETS.by_symbol(one).token_address, ASSETS.by_symbol(other).token_address
    venue = Venue.UNISWAP_V2 if fee_pips is None else Venue.UNISWAP_V3
    return PoolKey.of(venue, tokens, fee_pips=fee_pips or 3_000)


def v2_pool(one: str, other: str, *, eth: int, noise: float = 0.0, number: int = 0) -> GraphPool:
    """A pair that holds so many ETH's worth on both sides together; the price is off by `noise`."""
    found = key(one, other, None)
    amount0, amount1 = _sides(found, eth=eth, noise=noise)
    return GraphPool(key=found, state=V2Pool(address=_address(found, number), reserve0=amount0, reserve1=amount1))


def v3_pool(
    one: str, other: str, fee_pips: int, *, eth: int, noise: float = 0.0, rng: random.Random, number: int = 0
) -> GraphPool:
    """A pool with a full range (3 of 10 parts) and ten narrower positions around the price."""
    found = key(one, other, fee_pips)
    amount0, amount1 = _sides(found, eth=eth, noise=noise)
    price = isqrt((amount1 << 192) // amount0)
    tick, spacing = get_tick_at_sqrt_ratio(price), SPACINGS[fee_pips]
    base = tick // spacing * spacing
    full = MAX_TICK // spacing * spacing
    positions = [(-full, full, 30)]
    for _ in range(10):
        centre = (base + rng.randrange(-600, 600)) // spacing * spacing
        width = max(rng.choice([600, 1_500, 3_000, 8_000]) // spacing, 1) * spacing
        positions.append((centre - width, centre + width, 7))
    ticks: dict[int, TickLiquidity] = {}
    liquidity = 0
    for lower, upper, percent in positions:
        amount = _liquidity(price, lower, upper, amount0=amount0 * percent // 100, amount1=amount1 * percent // 100)
        if not amount:
            continue
        for end, delta in ((lower, amount), (upper, -amount)):
            gross, net = ticks.get(end, (0, 0))
            ticks[end] = TickLiquidity(gross + amount, net + delta)
        liquidity += amount if lower <= tick < upper else 0
    state = V3Pool(
        address=_address(found, number),
        fee_pips=fee_pips,
        sqrt_price_x96=price,
        tick=tick,
        liquidity=liquidity,
        ticks=TickMap.of(spacing, ticks),
    )
    return GraphPool(key=found, state=state)


def market(seed: int) -> list[GraphPool]:
    """All of `SPECS`, prices off by a seventh of a per cent or so."""
    rng = random.Random(seed)
    pools = []
    for one, other, fee, eth in SPECS:
        noise = rng.gauss(0, 0.0015)
        if fee is None:
            pools.append(v2_pool(one, other, eth=eth, noise=noise))
        else:
            pools.append(v3_pool(one, other, fee, eth=eth, noise=noise, rng=rng))
    return pools


def _sides(found: PoolKey, *, eth: int, noise: float) -> tuple[int, int]:
    symbols = [ASSETS.by_address(token).symbol for token in (found.token0, found.token1)]
    halves = [units(symbol, eth=eth) // 2 for symbol in symbols]
    return halves[0], halves[1] + int(halves[1] * noise)


def _liquidity(price: int, lower: int, upper: int, *, amount0: int, amount1: int) -> int:
    """LiquidityAmounts.getLiquidityForAmounts."""
    low, high = get_sqrt_ratio_at_tick(lower), get_sqrt_ratio_at_tick(upper)
    here = min(max(price, low), high)
    of0 = (amount0 * here * high // (high - here)) >> 96 if here < high else None
    of1 = (amount1 << 96) // (here - low) if here > low else None
    return min(each for each in (of0, of1) if each is not None)


def _address(found: PoolKey, number: int) -> Address:
    seed = address_bytes(found.token0)[:6] + address_bytes(found.token1)[:6]
    return address_from_bytes(
        seed + found.fee_pips.to_bytes(4, "big") + str(found.venue).encode()[-2:] + bytes([0, number])
    )
