"""Routes made by hand over the pools of a fork, quoted leg by leg as one transaction would execute them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from chains.types import Address, BlockRef
from contracts.deployments import Router, RouterKind, Venue
from contracts.plans import Plan, run_plans
from contracts.pools import V2_FEE, PoolKey, discover
from contracts.ratio import Ratio
from contracts.routes import Exact, Hop
from contracts.routing.model import Leg, RoutedSwap
from contracts.uniswap_v2 import pool as v2
from contracts.uniswap_v3 import quoting as v3
from contracts.uniswap_v3.pool import V3Pool
from contracts.uniswap_v3.reading import load_pool
from tests.contracts.desk import Desk

State = v2.V2Pool | V3Pool
TICKS_AROUND: Final = 4_000
"""Half as much again or a third less than the price: further than any of these trades goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A path by symbols, wrapped tokens included, and its share: sold (exact input) or bought (exact output).

    `pools` has a V3 fee tier in pips for each hop, or 0 for the V2 pool.
    """

    tokens: tuple[str, ...]
    pools: tuple[int, ...]
    amount: int


class Market:
    """The states of the pools that some ways go through, at one block."""

    def __init__(self, desk: Desk, states: Mapping[PoolKey, State], *, block: BlockRef) -> None:
        self.desk: Final = desk
        self.states = dict(states)
        self.block: Final = block

    @classmethod
    async def load(cls, desk: Desk, ways: Sequence[Way]) -> "Market":
        block = await desk.head()
        keys = list(dict.fromkeys(key for way in ways for key in _keys(desk, way)))
        await discover(desk.client, desk.pools, deployments=desk.deployments, keys=keys, block=block)
        addresses = {key: desk.pools.address(key) for key in keys}
        states: dict[PoolKey, State] = {}
        for key, address in addresses.items():
            assert address is not None, f"there is no pool {key}"
            states[key] = await _loaded(desk, key, address=address, block=block)
        return cls(desk, states, block=block)

    def route(self, ways: Sequence[Way], *, sold: str, bought: str, exact: Exact, kind: RouterKind) -> RoutedSwap:
        """The ways as legs, each over the states that the ones before it left."""
        assets, chain_id = self.desk.assets, self.desk.chain_id
        router = next(found for found in self.desk.deployments.routers(chain_id) if found.kind is kind)
        legs = tuple(self._leg(way, exact=exact, router=router) for way in ways)
        return RoutedSwap(
            chain_id=chain_id,
            router=router,
            legs=legs,
            sold=assets.by_symbol(sold),
            bought=assets.by_symbol(bought),
            exact=exact,
            amount_in=sum(leg.amount_in for leg in legs),
            amount_out=sum(leg.amount_out for leg in legs),
            gas_estimate=0,
            mid_price=Ratio.of(1, 1),
            price_impact_bps=0,
            lp_fee_pips=0,
            block=self.block,
        )

    @property
    def addresses(self) -> frozenset[Address]:
        return frozenset(state.address for state in self.states.values())

    def _leg(self, way: Way, *, exact: Exact, router: Router) -> Leg:
        keys = _keys(self.desk, way)
        tokens = _tokens(self.desk, way)
        hops = tuple(
            Hop(
                venue=key.venue,
                token_in=token_in,
                token_out=token_out,
                fee_pips=key.fee_pips,
                pool=self.states[key].address,
            )
            for key, (token_in, token_out) in zip(keys, pairwise(tokens), strict=True)
        )
        if exact == "in":
            return Leg(hops=hops, amount_in=way.amount, amount_out=self._sell(keys, tokens, amount=way.amount))
        if keys[0].venue is Venue.UNISWAP_V3 or router.kind is RouterKind.ROUTER_02:
            return Leg(hops=hops, amount_in=self._buy(keys, tokens, amount=way.amount), amount_out=way.amount)
        # SwapRouter02 asks getAmountsIn, and then lets each pair give what it received buys.
        before = dict(self.states)
        amount_in = self._buy(keys, tokens, amount=way.amount)
        self.states = before
        given = self._sell(keys, tokens, amount=amount_in)
        return Leg(hops=hops, amount_in=amount_in, amount_out=given, asked_out=way.amount)

    def _sell(self, keys: Sequence[PoolKey], tokens: Sequence[Address], *, amount: int) -> int:
        for key, token in zip(keys, tokens, strict=False):
            state, down = self.states[key], token == key.token0
            if isinstance(state, V3Pool):
                quote = v3.quote_exact_in(state, amount, zero_for_one=down)
                assert quote.amount_in == amount, "the pool ran out"
                self.states[key], amount = v3.swapped(state, quote, zero_for_one=down), quote.amount_out
            else:
                swap = v2.quote_exact_in(state, amount, zero_for_one=down)
                self.states[key], amount = v2.swapped(state, swap, zero_for_one=down), swap.amount_out
        return amount

    def _buy(self, keys: Sequence[PoolKey], tokens: Sequence[Address], *, amount: int) -> int:
        for key, token in zip(reversed(keys), reversed(tokens[:-1]), strict=True):
            state, down = self.states[key], token == key.token0
            if isinstance(state, V3Pool):
                quote = v3.quote_exact_out(state, amount, zero_for_one=down)
                self.states[key], amount = v3.swapped(state, quote, zero_for_one=down), quote.amount_in
            else:
                swap = v2.quote_exact_out(state, amount, zero_for_one=down)
                self.states[key], amount = v2.swapped(state, swap, zero_for_one=down), swap.amount_in
        return amount


async def _loaded(desk: Desk, key: PoolKey, *, address: Address, block: BlockRef) -> State:
    async def run(plan: Plan[Any]) -> Any:
        [state] = await run_plans(desk.client, [plan], multicall=desk.multicall, block=block)
        return state

    if key.venue is not Venue.UNISWAP_V3:
        pair: State = await run(v2.load_pool(address))
        return pair
    pool: State = await run(load_pool(address, fee_pips=key.fee_pips, ticks_around=TICKS_AROUND))
    return pool


def _tokens(desk: Desk, way: Way) -> tuple[Address, ...]:
    return tuple(desk.assets.by_symbol(symbol).token_address for symbol in way.tokens)


def _keys(desk: Desk, way: Way) -> list[PoolKey]:
    v2_venue = Venue.UNISWAP_V2 if desk.chain.name == "ethereum" else Venue.QUICKSWAP_V2
    return [
        PoolKey.of(Venue.UNISWAP_V3 if fee else v2_venue, pair, fee_pips=fee or V2_FEE)
        for fee, pair in zip(way.pools, pairwise(_tokens(desk, way)), strict=True)
    ]
