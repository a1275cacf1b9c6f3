"""A fork's pools as a graph of plain states at one block."""

from itertools import combinations

from chains.types import BlockRef
from contracts.deployments import Venue
from contracts.plans import Plan, run_plans
from contracts.pools import PoolKey, discover, pool_keys
from contracts.routing.graph import PoolGraph
from contracts.routing.model import GraphPool
from contracts.uniswap_v2.pool import V2Pool
from contracts.uniswap_v2.pool import load_pool as load_v2
from contracts.uniswap_v3.pool import V3Pool
from contracts.uniswap_v3.reading import load_pool as load_v3
from tests.contracts.desk import Desk
from tests.contracts.routing.markets import SPACINGS

TICKS_AROUND = 7_000


async def graph_at(desk: Desk, block: BlockRef) -> PoolGraph:
    """Every pool of the registry's factories between the listed tokens, with the ticks of half and twice the price."""
    tokens = [asset.token_address for asset in desk.assets if not asset.is_native]
    venues = [found.venue for found in desk.deployments.venues(desk.chain_id)]
    keys = [key for pair in combinations(tokens, 2) for key in pool_keys(venues, pair)]
    await discover(desk.client, desk.pools, deployments=desk.deployments, keys=keys, block=block)
    known: list[tuple[PoolKey, str]] = []
    plans: list[Plan[V2Pool | V3Pool]] = []
    for key in keys:
        address = desk.pools.address(key)
        if address is None:
            continue
        known.append((key, address))
        if key.venue is Venue.UNISWAP_V3:
            plans.append(
                load_v3(address, fee_pips=key.fee_pips, tick_spacing=SPACINGS[key.fee_pips], ticks_around=TICKS_AROUND)
            )
        else:
            plans.append(load_v2(address))
    states = await run_plans(desk.client, plans, multicall=desk.multicall, block=block)
    return PoolGraph.of(GraphPool(key=key, state=state) for (key, _), state in zip(known, states, strict=True))
