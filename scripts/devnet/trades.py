"""Sizing and encoding one trade on one pool: what brings its price to a reference, or an amount that is given.

Guarantees: pure apart from `read_states`; amounts are integers and never above the cap. An arbitrage stops where
the pool's price plus its fee meets the reference, as a real one would.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eth_abi.abi import decode

from scripts.devnet.calls import call_data, hexed, unhexed
from scripts.devnet.catalogue import ChainSpec, Pool, Venue
from scripts.devnet.liquidity import V2_ROUTERS
from scripts.devnet.rpc import DevRpc

FOREVER = 2**40
FEE_UNITS = 1_000_000
V2_FEE_NUMERATOR = 997
EXACT_INPUT_SINGLE = "exactInputSingle((address,address,uint24,address,uint256,uint256,uint160))"
SWAP_EXACT_TOKENS = "swapExactTokensForTokens(uint256,uint256,address[],address,uint256)"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolState:
    """A pool as the trader sees it. `reserve0` and `reserve1` for V2, `sqrt_price_x96` for V3."""

    pool: Pool
    reserve0: int = 0
    reserve1: int = 0
    sqrt_price_x96: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """One intended swap, symbols as in the catalogue. `limit_x96` is 0 for none."""

    pool: Pool
    kind: str
    sold: str
    bought: str
    amount: int
    limit_x96: int = 0

    def router(self, spec: ChainSpec) -> str:
        """Address of the router that carries it out."""
        return spec.contracts[V2_ROUTERS.get(self.pool.venue, "SwapRouter02")]

    def calldata(self, spec: ChainSpec, *, trader: str) -> bytes:
        """The router call. No minimum out: these traders make the market that others are protected from."""
        sold, bought = spec.tokens[self.sold].address, spec.tokens[self.bought].address
        if self.pool.venue is Venue.UNISWAP_V3:
            route = (sold, bought, self.pool.fee, trader, self.amount, 0, self.limit_x96)
            return call_data(EXACT_INPUT_SINGLE, route)
        return call_data(SWAP_EXACT_TOKENS, self.amount, 0, [sold, bought], trader, FOREVER)


def read_states(rpc: DevRpc, pools: Mapping[Pool, str]) -> list[PoolState]:
    """Present state of each pool (by its address), in one batch."""
    slot0, reserves = hexed(call_data("slot0()")), hexed(call_data("getReserves()"))
    calls = [
        ("eth_call", {"to": at, "data": slot0 if pool.venue is Venue.UNISWAP_V3 else reserves}, "latest")
        for pool, at in pools.items()
    ]
    states = []
    for pool, answer in zip(pools, rpc.batch(calls), strict=True):
        first, second = decode(["uint256", "int256"], unhexed(answer)[:64])
        if pool.venue is Venue.UNISWAP_V3:
            states.append(PoolState(pool=pool, sqrt_price_x96=first))
        else:
            states.append(PoolState(pool=pool, reserve0=first, reserve1=second))
    return states


def amount_worth(spec: ChainSpec, symbol: str, *, usd_micro: int, prices: Mapping[str, int]) -> int:
    """Raw amount of a token worth so many millionths of a dollar; prices have 8 decimals."""
    token = spec.tokens[symbol]
    unit: int = 10 ** (token.decimals + 2)
    return usd_micro * unit // prices[token.prices]


def arbitrage(spec: ChainSpec, state: PoolState, *, prices: Mapping[str, int], cap_usd_micro: int) -> Swap | None:
    """The swap that brings a pool to the reference prices, or None while its fee makes that pointless."""
    token0, token1 = _ordered(spec, state.pool)
    # Worth of the smallest unit of either token, over a common denominator.
    worth0 = prices[spec.tokens[token0].prices] * 10 ** spec.tokens[token1].decimals
    worth1 = prices[spec.tokens[token1].prices] * 10 ** spec.tokens[token0].decimals
    if state.pool.venue is Venue.UNISWAP_V3:
        return _arbitrage_v3(spec, state, worths=(worth0, worth1), prices=prices, cap_usd_micro=cap_usd_micro)
    for sold, bought, reserves, worths in (
        (token0, token1, (state.reserve0, state.reserve1), (worth0, worth1)),
        (token1, token0, (state.reserve1, state.reserve0), (worth1, worth0)),
    ):
        amount = _v2_amount(reserves, worths)
        if amount > 0:
            cap = amount_worth(spec, sold, usd_micro=cap_usd_micro, prices=prices)
            return Swap(pool=state.pool, kind="arbitrage", sold=sold, bought=bought, amount=min(amount, cap))
    return None


def gain_ppm(state: PoolState, spec: ChainSpec, *, prices: Mapping[str, int]) -> int:
    """How far the pool's price is from the reference, in millionths, either way."""
    token0, token1 = _ordered(spec, state.pool)
    worth0 = prices[spec.tokens[token0].prices] * 10 ** spec.tokens[token1].decimals
    worth1 = prices[spec.tokens[token1].prices] * 10 ** spec.tokens[token0].decimals
    if state.pool.venue is Venue.UNISWAP_V3:
        numerator, denominator = state.sqrt_price_x96**2, 1 << 192
    else:
        numerator, denominator = state.reserve1, state.reserve0
    ratio_ppm: int = FEE_UNITS * numerator * worth1 // (denominator * worth0)
    return abs(ratio_ppm - FEE_UNITS)


def _arbitrage_v3(
    spec: ChainSpec,
    state: PoolState,
    *,
    worths: tuple[int, int],
    prices: Mapping[str, int],
    cap_usd_micro: int,
) -> Swap | None:
    """Sell up to the cap, with the price at which the fee eats the gain as the pool's own limit."""
    worth0, worth1 = worths
    kept = FEE_UNITS - state.pool.fee
    lower = math.isqrt((worth0 * kept << 192) // (worth1 * FEE_UNITS))
    upper = math.isqrt((worth0 * FEE_UNITS << 192) // (worth1 * kept))
    token0, token1 = _ordered(spec, state.pool)
    if state.sqrt_price_x96 < lower:
        sold, bought, limit = token1, token0, lower
    elif state.sqrt_price_x96 > upper:
        sold, bought, limit = token0, token1, upper
    else:
        return None
    amount = amount_worth(spec, sold, usd_micro=cap_usd_micro, prices=prices)
    return Swap(pool=state.pool, kind="arbitrage", sold=sold, bought=bought, amount=amount, limit_x96=limit)


def _v2_amount(reserves: Sequence[int], worths: Sequence[int]) -> int:
    """Profit-maximising input; not positive when there is none.

    Source: Uniswap v2-periphery, UniswapV2LiquidityMathLibrary.computeProfitMaximizingTrade.
    """
    (reserve_in, reserve_out), (worth_in, worth_out) = reserves, worths
    goal = math.isqrt(reserve_in * reserve_out * 1000 * worth_out // (worth_in * V2_FEE_NUMERATOR))
    return goal - reserve_in * 1000 // V2_FEE_NUMERATOR


def _ordered(spec: ChainSpec, pool: Pool) -> tuple[str, str]:
    """The pool's symbols as token0 and token1."""
    first, second = sorted((pool.base, pool.quote), key=lambda symbol: int(spec.tokens[symbol].address, 16))
    return first, second
