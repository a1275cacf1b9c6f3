"""A market for routing: seventeen pools of V2 and V3 between five tokens, on an Anvil of its own.

Proportions are those of a mid-size token's market: many shallow pools at the sold end, deep ones behind. Every V3 pool
has a full range and ten narrower positions; opening prices are off by a seventh of a per cent or so, as between blocks.
Guarantees: contracts and tokens are the devnet's, at the addresses of Ethereum, so that libraries which know only those
find them; the same seed gives the same pools. Not guaranteed: equal block hashes.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from scripts.devnet import artifacts
from scripts.devnet.anvil import run_anvil
from scripts.devnet.calls import Contract
from scripts.devnet.catalogue import CHAINS, ChainSpec, Pool, Venue
from scripts.devnet.cheats import fund_token
from scripts.devnet.liquidity import FOREVER, MINT, TICK_SPACING, UNLIMITED, pool_address, worth
from scripts.devnet.network import LocalChain, Origin, build_base
from scripts.devnet.placing import TREASURY
from scripts.devnet.rpc import DevRpc

ETH_USD: Final = 3_000
"""The catalogue's starting price, in which depths are given."""
NOISE: Final = 0.0015
FULL_RANGE: Final = 0.3
NARROW: Final = 0.07
"""Parts of a V3 pool's depth: one position over all prices, ten narrower ones."""
NARROW_POSITIONS: Final = 10
OFF_CENTRE: Final = 600
WIDTHS: Final = (600, 1_500, 3_000, 8_000)
"""Ticks on either side."""
PURSE_USD: Final = 500_000_000
MAX_TICK: Final = 887_272
CALL_GAS: Final = 2_000_000_000
"""A node's cap for a call, which Anvil takes from the block: smart-order-router asks for 150 quotes in one."""
_POOLS: Final = (
    ("WBTC/WETH", 500, 300),
    ("WBTC/WETH", 3_000, 1_500),
    ("WBTC/WETH", 10_000, 400),
    ("WBTC/WETH", None, 800),
    ("WBTC/USDC", 3_000, 500),
    ("WBTC/USDC", None, 300),
    ("WBTC/DAI", 3_000, 200),
    ("WBTC/USDT", 3_000, 150),
    ("USDC/WETH", 500, 9_000),
    ("USDC/WETH", 3_000, 4_000),
    ("USDC/WETH", None, 3_000),
    ("DAI/WETH", 3_000, 1_500),
    ("DAI/WETH", None, 900),
    ("USDT/WETH", 3_000, 2_500),
    ("USDT/WETH", 500, 2_000),
    ("DAI/USDC", 500, 2_000),
    ("USDC/USDT", 500, 3_000),
)
"""Pair, V3 fee (None: V2), and what both sides are worth, in ETH."""
POOLS: Final = tuple(
    Pool(
        venue=Venue.UNISWAP_V2 if fee is None else Venue.UNISWAP_V3,
        base=pair.partition("/")[0],
        quote=pair.partition("/")[2],
        fee=fee or 3_000,
        depth_usd=eth * ETH_USD,
    )
    for pair, fee, eth in _POOLS
)


@contextmanager
def open_market(seed: int) -> Iterator[LocalChain]:
    """Chain 1 with these pools and no others."""
    toolbox = artifacts.ensure()
    spec = replace(CHAINS["ethereum"], pools=())
    arguments = ["--chain-id", str(spec.chain_id), "--gas-limit", str(CALL_GAS)]
    with run_anvil(toolbox.anvil, "routing", arguments=arguments) as anvil:
        build_base(anvil.url, spec, toolbox=toolbox)
        rpc = DevRpc(anvil.url)
        try:
            _add_pools(rpc, spec, random.Random(seed))
        finally:
            rpc.close()
        yield LocalChain(chain_id=spec.chain_id, name=spec.name, rpc_url=anvil.url, origin=Origin(state=None))


def _add_pools(rpc: DevRpc, spec: ChainSpec, rng: random.Random) -> None:
    router = spec.contracts["UniswapV2Router02"]
    for token in spec.tokens.values():
        fund_token(rpc, spec.name, token.symbol, TREASURY, worth(spec, token.symbol, usd=PURSE_USD))
        # The position manager has its allowance from `build_base`.
        Contract(rpc, token.address).send("approve(address,uint256)", router, UNLIMITED, sender=TREASURY)
    for pool in POOLS:
        amounts = [worth(spec, symbol, usd=pool.depth_usd // 2) for symbol in (pool.base, pool.quote)]
        amounts[1] += int(amounts[1] * rng.gauss(0, NOISE))
        sides = [
            (spec.tokens[symbol].address, amount)
            for symbol, amount in zip((pool.base, pool.quote), amounts, strict=True)
        ]
        if pool.venue is Venue.UNISWAP_V2:
            (base, amount_base), (quote, amount_quote) = sides
            signature = "addLiquidity(address,address,uint256,uint256,uint256,uint256,address,uint256)"
            given = (base, quote, amount_base, amount_quote, 0, 0, TREASURY, FOREVER)
            Contract(rpc, router).send(signature, *given, sender=TREASURY)
        else:
            _add_v3(rpc, spec, pool, sides, rng)


def _add_v3(rpc: DevRpc, spec: ChainSpec, pool: Pool, sides: list[tuple[str, int]], rng: random.Random) -> None:
    (token0, amount0), (token1, amount1) = sorted(sides, key=lambda side: int(side[0], 16))
    manager = Contract(rpc, spec.contracts["NonfungiblePositionManager"])
    create = "createAndInitializePoolIfNecessary(address,address,uint24,uint160)"
    price = math.isqrt((amount1 << 192) // amount0)
    manager.send(create, token0, token1, pool.fee, price, sender=TREASURY)
    slot0 = "slot0()(uint160,int24,uint16,uint16,uint16,uint8,bool)"
    tick = Contract(rpc, pool_address(rpc, spec, pool=pool)).view(slot0)[1]
    spacing = TICK_SPACING[pool.fee]
    full = MAX_TICK // spacing * spacing
    ranges = [(-full, full, FULL_RANGE)]
    for _ in range(NARROW_POSITIONS):
        centre = (tick + rng.randrange(-OFF_CENTRE, OFF_CENTRE)) // spacing * spacing
        width = rng.choice(WIDTHS) // spacing * spacing
        ranges.append((centre - width, centre + width, NARROW))
    for lower, upper, part in ranges:
        amounts = int(amount0 * part), int(amount1 * part)
        position = (token0, token1, pool.fee, lower, upper, *amounts, 0, 0, TREASURY, FOREVER)
        manager.send(MINT, position, sender=TREASURY)
