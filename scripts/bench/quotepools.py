"""More liquidity on a local chain, in shapes that make quoting hard, minted by the devnet's treasury.

`enrich` gives every V3 pool of the catalogue positions of random width around the price, and makes two pools more:
one with a spacing of 1 whose positions reach both ends of all prices, one with a spacing of 200 and nothing at all
around its price. Guarantees: only NonfungiblePositionManager is used, as anyone would. Not guaranteed: that
every range is minted; one too narrow for its money is left out.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Final

from eth_utils.crypto import keccak

from scripts.devnet.calls import Contract, call_data, hexed, submit_raw, wait_for_receipt
from scripts.devnet.catalogue import CHAINS, ChainSpec, Pool, Venue
from scripts.devnet.cheats import fund_token, impersonate
from scripts.devnet.liquidity import FOREVER, MINT, TICK_SPACING, UNLIMITED, pool_address, worth
from scripts.devnet.placing import TREASURY
from scripts.devnet.rpc import DevRpc

POSITION_USD: Final = 50_000
"""Worth of each side of a position at most."""
PURSE_USD: Final = 1_000_000_000
"""Of each token: more than all positions take."""
WIDEST: Final = 3_000
"""Ticks from the price to a position's end; a few positions reach to the ends of all prices."""
GAP: Final = 800
"""Ticks without liquidity on either side of the price."""
MAX_TICK: Final = 887_272
SLOT0: Final = "slot0()(uint160,int24,uint16,uint16,uint16,uint8,bool)"
DECREASE: Final = "decreaseLiquidity((uint256,uint128,uint256,uint256,uint256))"
INCREASED: Final = hexed(keccak(text="IncreaseLiquidity(uint256,uint128,uint256,uint256)"))
GAS: Final = 1_500_000
_PAIRS: Final = {"ethereum": ("WETH", "USDC", 100, 10_000), "polygon": ("WPOL", "USDC", 100, 10_000)}


def more_pools(chain: str) -> tuple[Pool, Pool]:
    """The pools that `enrich` makes: a spacing of 1 over all prices, a spacing of 200 with a gap."""
    base, quote, whole, gap = _PAIRS[chain]
    make = [Pool(venue=Venue.UNISWAP_V3, base=base, quote=quote, fee=fee, depth_usd=0) for fee in (whole, gap)]
    return make[0], make[1]


def enrich(rpc: DevRpc, chain: str, rng: random.Random, *, positions: int) -> list[Pool]:
    """Mint so many positions in every V3 pool; the pools that were made."""
    spec = CHAINS[chain]
    impersonate(rpc, TREASURY)
    _afford(rpc, spec)
    manager = Contract(rpc, spec.contracts["NonfungiblePositionManager"])
    made = list(more_pools(chain))
    known = next(p for p in spec.pools if p.venue is Venue.UNISWAP_V3 and (p.base, p.quote) == _PAIRS[chain][:2])
    price = Contract(rpc, pool_address(rpc, spec, pool=known)).view(SLOT0)[0]
    for pool in made:
        token0, token1 = _tokens(spec, pool)
        manager.send(
            "createAndInitializePoolIfNecessary(address,address,uint24,uint160)",
            *(spec.tokens[token0].address, spec.tokens[token1].address, pool.fee, price),
            sender=TREASURY,
        )
    for pool in (*spec.pools, *made):
        if pool.venue is Venue.UNISWAP_V3:
            tick = Contract(rpc, pool_address(rpc, spec, pool=pool)).view(SLOT0)[1]
            ranges = [_ends(tick, TICK_SPACING[pool.fee], rng) for _ in range(positions)]
            if pool is made[0]:
                ranges += [(-MAX_TICK, MAX_TICK), (tick, MAX_TICK), (-MAX_TICK, tick)]
            if pool is made[1]:
                here = tick // 200 * 200
                ranges = [(lower, upper) for lower, upper in ranges if upper < here - GAP or lower > here + GAP]
                ranges += [(here - 3_000, here - GAP), (here + GAP, here + 60_000)]
            mint(rpc, spec, pool, ranges, rng)
    return made


def mint(
    rpc: DevRpc, spec: ChainSpec, pool: Pool, ranges: Sequence[tuple[int, int]], rng: random.Random
) -> list[dict[str, Any]]:
    """A position over each range, of random worth; the receipts. A range too small for its money is left out."""
    token0, token1 = _tokens(spec, pool)
    manager = spec.contracts["NonfungiblePositionManager"]
    sent = []
    for lower, upper in ranges:
        amounts = [worth(spec, each, usd=rng.randint(1, POSITION_USD)) for each in (token0, token1)]
        addresses = [spec.tokens[each].address for each in (token0, token1)]
        position = (*addresses, pool.fee, lower, upper, *amounts, 0, 0, TREASURY, FOREVER)
        sent.append(submit_raw(rpc, manager, data=call_data(MINT, position), sender=TREASURY, gas=GAS))
    return [wait_for_receipt(rpc, each) for each in sent]


def remove(rpc: DevRpc, spec: ChainSpec, minted: dict[str, Any]) -> None:
    """Take all liquidity out of the position that this receipt of `mint` made; nothing if it made none."""
    for log in minted["logs"]:
        if log["topics"][0] == INCREASED:
            token_id, liquidity = int(log["topics"][1], 16), int(log["data"][2:66], 16)
            manager = Contract(rpc, spec.contracts["NonfungiblePositionManager"])
            manager.send(DECREASE, (token_id, liquidity, 0, 0, FOREVER), sender=TREASURY)


def _afford(rpc: DevRpc, spec: ChainSpec) -> None:
    """Tokens and allowances for the positions; the local chains' treasury has both, a real network's fork neither."""
    manager = spec.contracts["NonfungiblePositionManager"]
    for token in spec.tokens.values():
        contract = Contract(rpc, token.address)
        needed = worth(spec, token.symbol, usd=PURSE_USD)
        if contract.view("balanceOf(address)(uint256)", TREASURY) < needed:
            fund_token(rpc, spec.name, token.symbol, TREASURY, needed)
        if contract.view("allowance(address,address)(uint256)", TREASURY, manager) < needed:
            contract.send("approve(address,uint256)", manager, UNLIMITED, sender=TREASURY)


def _ends(tick: int, spacing: int, rng: random.Random) -> tuple[int, int]:
    """A range of usable ticks near a price; one end in eight is a word's."""
    ends: set[int] = set()
    while len(ends) < 2:
        compressed = (tick + rng.randint(-WIDEST, WIDEST)) // spacing
        if rng.random() < 0.125:
            compressed = (compressed >> 8 << 8) + rng.choice((0, 255))
        ends.add(compressed * spacing)
    lower, upper = sorted(ends)
    return lower, upper


def _tokens(spec: ChainSpec, pool: Pool) -> tuple[str, str]:
    """The pool's symbols as token0 and token1."""
    first, second = sorted((pool.base, pool.quote), key=lambda symbol: int(spec.tokens[symbol].address, 16))
    return first, second
