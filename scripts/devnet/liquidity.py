"""Pools with liquidity in the shape of the real ones: reserves in V2, several overlapping ranges in V3.

Guarantees: pools open at the ratio of the catalogue's starting prices; a V3 pool gets positions whose ends lie
within a few per cent of the price, so that an ordinary trade crosses ticks. Addresses are what the factories
make of them: those of the real network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from scripts.devnet.calls import Contract
from scripts.devnet.catalogue import FEED_DECIMALS, START_PRICES, ChainSpec, Pool, Venue
from scripts.devnet.placing import TREASURY
from scripts.devnet.rpc import DevRpc

FOREVER = 2**40
UNLIMITED = 2**256 - 1
# Router that adds and trades for a V2-like venue, as named in the catalogue.
V2_ROUTERS: Mapping[Venue, str] = {
    Venue.UNISWAP_V2: "UniswapV2Router02",
    Venue.QUICKSWAP_V2: "QuickSwapRouter",
}
V2_FACTORIES: Mapping[Venue, str] = {
    Venue.UNISWAP_V2: "UniswapV2Factory",
    Venue.QUICKSWAP_V2: "QuickSwapFactory",
}
TICK_SPACING: Mapping[int, int] = {100: 1, 500: 10, 3000: 60, 10_000: 200}
# Position ends as ticks from the opening price; a tick is a hundredth of a per cent. Wide, middle, narrow, and
# one on either side that is out of range until the price gets there.
VOLATILE_RANGES = ((-6_900, 6_900), (-960, 960), (-180, 180), (-300, -20), (20, 300))
STABLE_RANGES = ((-100, 100), (-20, 20), (-5, 5), (-40, -2), (2, 40))
STABLE_FEE = 100
MINT = "mint((address,address,uint24,int24,int24,uint256,uint256,uint256,uint256,address,uint256))"


def add_pools(rpc: DevRpc, spec: ChainSpec) -> None:
    """Make every pool of the catalogue, from the treasury's tokens."""
    spenders = [spec.contracts["NonfungiblePositionManager"]]
    spenders += [spec.contracts[V2_ROUTERS[venue]] for venue in {p.venue for p in spec.pools} & set(V2_ROUTERS)]
    for token in spec.tokens.values():
        for spender in spenders:
            contract = Contract(rpc, token.address)
            contract.send("approve(address,uint256)", spender, UNLIMITED, sender=TREASURY)
    for pool in spec.pools:
        if pool.venue in V2_ROUTERS:
            _add_v2(rpc, spec, pool=pool)
        else:
            _add_v3(rpc, spec, pool=pool)


def pool_address(rpc: DevRpc, spec: ChainSpec, *, pool: Pool) -> str:
    """Where the pool is, as its factory says; the zero address when there is none."""
    base, quote = spec.tokens[pool.base].address, spec.tokens[pool.quote].address
    if pool.venue in V2_FACTORIES:
        factory = Contract(rpc, spec.contracts[V2_FACTORIES[pool.venue]])
        found = factory.view("getPair(address,address)(address)", base, quote)
    else:
        factory = Contract(rpc, spec.contracts["UniswapV3Factory"])
        found = factory.view("getPool(address,address,uint24)(address)", base, quote, pool.fee)
    return Contract(rpc, found).address


def worth(spec: ChainSpec, symbol: str, *, usd: int) -> int:
    """Raw amount of a token that is worth so many whole dollars at the starting price."""
    token = spec.tokens[symbol]
    unit: int = 10 ** (token.decimals + FEED_DECIMALS)
    return usd * unit // START_PRICES[token.prices]


def _add_v2(rpc: DevRpc, spec: ChainSpec, *, pool: Pool) -> None:
    half = pool.depth_usd // 2
    Contract(rpc, spec.contracts[V2_ROUTERS[pool.venue]]).send(
        "addLiquidity(address,address,uint256,uint256,uint256,uint256,address,uint256)",
        spec.tokens[pool.base].address,
        spec.tokens[pool.quote].address,
        worth(spec, pool.base, usd=half),
        worth(spec, pool.quote, usd=half),
        0,
        0,
        TREASURY,
        FOREVER,
        sender=TREASURY,
    )


def _add_v3(rpc: DevRpc, spec: ChainSpec, *, pool: Pool) -> None:
    ranges = STABLE_RANGES if pool.fee == STABLE_FEE else VOLATILE_RANGES
    share_usd = pool.depth_usd // 2 // len(ranges)
    sides = [(spec.tokens[s].address, worth(spec, s, usd=share_usd)) for s in (pool.base, pool.quote)]
    (token0, amount0), (token1, amount1) = sorted(sides, key=lambda side: int(side[0], 16))
    manager = Contract(rpc, spec.contracts["NonfungiblePositionManager"])
    manager.send(
        "createAndInitializePoolIfNecessary(address,address,uint24,uint160)",
        token0,
        token1,
        pool.fee,
        math.isqrt((amount1 << 192) // amount0),
        sender=TREASURY,
    )
    slot0 = "slot0()(uint160,int24,uint16,uint16,uint16,uint8,bool)"
    tick = Contract(rpc, pool_address(rpc, spec, pool=pool)).view(slot0)[1]
    spacing = TICK_SPACING[pool.fee]
    for below, above in ranges:
        lower = (tick + below) // spacing * spacing
        upper = -((-(tick + above)) // spacing) * spacing
        position = (token0, token1, pool.fee, lower, upper, amount0, amount1, 0, 0, TREASURY, FOREVER)
        manager.send(MINT, position, sender=TREASURY)
