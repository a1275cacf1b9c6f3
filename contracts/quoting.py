"""What a trade by one path would give, asked of the contracts themselves at one block.

A second way to the same numbers: the service quotes from pools in memory (contracts.routing). This needs no state and
believes only the chain. The checks of a token before it is listed use it, and tests compare with it.

QuoterV2 and Router02's getAmounts are executed by the node over the block's state, so that an amount is what the
swap would move if it were the next transaction. Guarantees: every number of a quote belongs to `block`; a partial
fill is never reported as a fill; the same state gives the same quote. Not guaranteed: that the state is still the
same when the swap is mined (its limit is on-chain for that), or that no better route than two hops exists.

Node calls: with a warm `PoolDirectory` two (pool states, then all quotes), one more for pairs never asked before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from chains.types import Address, BlockRef, ChainId
from contracts.abi import load_abi
from contracts.assets import Asset, AssetList
from contracts.call import Call, HeadReader, call_all, call_one
from contracts.deployments import MULTICALL3, Deployments, Venue
from contracts.errors import (
    AmountTooSmall,
    InsufficientLiquidity,
    InvalidTradeAmount,
    NoRoute,
    UnlistedAsset,
    UnsupportedPair,
)
from contracts.multicall import Ok, aggregate
from contracts.paths import encode_path
from contracts.pools import PoolDirectory, discover, pool_keys, read_states
from contracts.routes import (
    Exact,
    Route,
    candidates,
    combined_fee_pips,
    has_route,
    legs,
    price_impact_bps,
)
from contracts.routing.model import Leg, RoutedSwap

MAX_TRADE: Final = 2**128 - 1
"""Base units; far above any supply, and far below where the routers' int256 casts would matter."""
# Where a V3 swap stops when a pool has nothing left (TickMath.MIN_SQRT_RATIO + 1 and MAX_SQRT_RATIO - 1, the limits
# that QuoterV2 and SwapRouter02 pass for "no limit").
_SQRT_PRICE_ENDS: Final = frozenset({4295128740, 1461446703485210103287273052203988822378723970341})
# Gas as measured on the local chains over all shapes of swap, within 20 %. QuoterV2 counts a pool's work itself,
# so that V3 needs only the transaction, the router and paying the first pool; V2 needs all of it.
_GAS_V3_BASE: Final = 30_000
_GAS_V2_BASE: Final = 40_000
_GAS_V2_HOP: Final = 95_000
_GAS_NATIVE: Final = 12_000
"""Wrapping before or unwrapping after the pools."""


async def best_quote(
    client: HeadReader,
    *,
    assets: AssetList,
    deployments: Deployments,
    sold: Asset,
    bought: Asset,
    amount: int,
    exact: Exact,
    venue: Venue | None = None,
    pools: PoolDirectory | None = None,
    block: BlockRef | None = None,
) -> RoutedSwap:
    """The best single route at `block` (the head when None): most bought, or least sold; then least gas.

    `venue` leaves only that protocol's pools to choose from.

    `pools` is the caller's cache for this chain; without one the factories are asked again.

    Raises:
        UnlistedAsset: an asset is not in `assets`.
        UnsupportedPair: the same asset twice, or native against wrapped (that is a wrap, not a trade).
        InvalidTradeAmount: not in 1 .. 2^128 - 1.
        NoRoute: no pool connects the two (on that venue).
        InsufficientLiquidity: pools do, but none fills the amount.
        AmountTooSmall: the amount buys nothing.
    """
    token_in, token_out = _pair(assets, sold, bought=bought)
    if not 0 < amount <= MAX_TRADE:
        raise InvalidTradeAmount("an amount to trade is between 1 and 2^128 - 1 base units")
    directory = pools if pools is not None else PoolDirectory(assets.chain_id)
    if directory.chain_id != assets.chain_id:
        raise ValueError("the pool directory is another chain's")
    at = block if block is not None else (await client.head()).ref

    paths = legs(token_in, token_out, connectors=[asset.token_address for asset in assets.connectors])
    venues = [found.venue for found in deployments.venues(assets.chain_id) if venue in (None, found.venue)]
    ends = dict.fromkeys(pair for path in paths for pair in pairwise(path))
    keys = [key for pair in ends for key in pool_keys(venues, pair)]
    await discover(client, directory, deployments=deployments, keys=keys, block=at)
    states = await read_states(client, directory, deployments=deployments, keys=keys, block=at)
    routes = candidates(states, paths, amount=amount, exact=exact)
    if not routes:
        if has_route(states, paths) or any(directory.address(key) for key in pool_keys(venues, (token_in, token_out))):
            raise InsufficientLiquidity(f"no pool holds enough to trade so much {sold.symbol} for {bought.symbol}")
        raise NoRoute(f"no pool connects {sold.symbol} and {bought.symbol}")

    answers = await aggregate(
        client,
        [_quote_call(deployments, assets.chain_id, route=route, amount=amount, exact=exact) for route in routes],
        multicall=deployments.address(assets.chain_id, MULTICALL3),
        block=at,
    )
    filled = [
        (route, answer.value)
        for route, answer in zip(routes, answers, strict=True)
        if isinstance(answer, Ok) and answer.value.complete
    ]
    if not filled:
        raise InsufficientLiquidity(f"no pool fills this trade of {sold.symbol} for {bought.symbol}")
    best = _best(filled, exact=exact)
    route, answer = best
    if answer.amount == 0:
        raise AmountTooSmall(f"so little {sold.symbol} buys no {bought.symbol}")
    amount_in, amount_out = (amount, answer.amount) if exact == "in" else (answer.amount, amount)
    return RoutedSwap(
        chain_id=assets.chain_id,
        router=deployments.router_of(assets.chain_id, route.venue),
        legs=(Leg(hops=route.hops, amount_in=amount_in, amount_out=amount_out),),
        sold=sold,
        bought=bought,
        exact=exact,
        amount_in=amount_in,
        amount_out=amount_out,
        gas_estimate=_gas(route, answer) + (_GAS_NATIVE if sold.is_native or bought.is_native else 0),
        mid_price=route.mid_price,
        price_impact_bps=price_impact_bps(route, amount_in=amount_in, amount_out=amount_out),
        lp_fee_pips=combined_fee_pips(route.fees_pips),
        block=at,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """`amount` is the other side's. `complete` is False when a pool ran out before the whole amount was traded."""

    amount: int
    pool_gas: int
    complete: bool


def _pair(assets: AssetList, sold: Asset, *, bought: Asset) -> tuple[Address, Address]:
    for asset in (sold, bought):
        if asset not in assets:
            raise UnlistedAsset(assets.chain_id, asset.symbol)
    token_in, token_out = assets.token_of(sold), assets.token_of(bought)
    if token_in == token_out:
        wrap = f"{sold.symbol} and {bought.symbol} are one asset, wrapped and not: wrap or unwrap instead"
        raise UnsupportedPair("an asset cannot be traded for itself" if sold == bought else wrap)
    return token_in.token_address, token_out.token_address


def _quote_call(
    deployments: Deployments, chain_id: ChainId, *, route: Route, amount: int, exact: Exact
) -> Call[_Answer]:
    quoter = deployments.venue(chain_id, route.venue).quoter
    if route.venue is Venue.UNISWAP_V3:
        return _v3_call(quoter, route, amount=amount, exact=exact)
    return _v2_call(quoter, route, amount=amount, exact=exact)


def _v3_call(quoter: Address, route: Route, *, amount: int, exact: Exact) -> Call[_Answer]:
    abi = load_abi("quoter_v2")
    if exact == "in":
        function, path = abi.function("quoteExactInput"), encode_path(route.tokens, route.fees_pips)
    else:
        function, path = abi.function("quoteExactOutput"), encode_path(route.tokens[::-1], route.fees_pips[::-1])
    call = call_all(quoter, function, path, amount)

    def decode(data: bytes) -> _Answer:
        other, prices_after, _ticks, gas = call.decode(data)
        # With exact input QuoterV2 reports what a drained pool gave for a part of the input.
        return _Answer(amount=other, pool_gas=gas, complete=_SQRT_PRICE_ENDS.isdisjoint(prices_after))

    return Call(to=call.to, data=call.data, decode=decode)


def _v2_call(quoter: Address, route: Route, *, amount: int, exact: Exact) -> Call[_Answer]:
    function = load_abi("uniswap_v2_router").function("getAmountsOut" if exact == "in" else "getAmountsIn")
    call = call_one(quoter, function, amount, route.tokens)

    def decode(data: bytes) -> _Answer:
        amounts = call.decode(data)
        return _Answer(amount=amounts[-1] if exact == "in" else amounts[0], pool_gas=0, complete=True)

    return Call(to=call.to, data=call.data, decode=decode)


def _best(filled: Sequence[tuple[Route, _Answer]], *, exact: Exact) -> tuple[Route, _Answer]:
    """`min` keeps the first of equals, and candidates come in a fixed order."""
    sign = -1 if exact == "in" else 1
    return min(filled, key=lambda pair: (sign * pair[1].amount, _gas(*pair)))


def _gas(route: Route, answer: _Answer) -> int:
    if route.venue is Venue.UNISWAP_V3:
        return _GAS_V3_BASE + answer.pool_gas
    return _GAS_V2_BASE + _GAS_V2_HOP * len(route.hops)
