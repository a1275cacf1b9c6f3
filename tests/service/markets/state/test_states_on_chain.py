"""Pool states on a fork: order flow, reorgs, quotes that walk out of the loaded ticks, a node that lies or is down."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from chains.client import EvmClient
from chains.config import load_chains
from chains.recent import RecentHead
from chains.rpc.transport import HttpTransport
from chains.types import Address
from contracts.assets import AssetList, load_assets
from contracts.deployments import MULTICALL3, load_deployments
from contracts.errors import TicksNotLoaded
from contracts.pools import PoolDirectory
from contracts.uniswap_v3.pool import V3Pool
from contracts.uniswap_v3.quoting import quote_exact_in
from scripts.bench.churn import CREATE, NEW_POOL_GAS, Churn
from scripts.bench.state import prove
from scripts.devnet.calls import call_data, submit_raw
from scripts.devnet.catalogue import CHAINS
from scripts.devnet.network import LocalChain
from scripts.devnet.placing import TREASURY
from service.markets.state.loading import PoolLoader
from service.markets.state.model import USABLE_FOR_S, MarketView, StaleMarket
from service.markets.state.states import PoolStates
from tests.clock import FakeClock
from tests.faults.proxy import FaultProxy
from tests.faults.rules import Drop, EmptyLogs, Freeze, NodeError, Rule

BLOCKS = 80
REORGS = 8
NOW = -0.001
"""Seconds: not even a look of this very moment, in which a test's clock stands still."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """States that ask their node through a proxy, and a flow of trades on that node."""

    states: PoolStates
    fresh: PoolLoader
    proxy: FaultProxy
    churn: Churn
    assets: AssetList
    clock: FakeClock

    async def view(self) -> MarketView:
        tokens = [asset.token_address for asset in self.assets if not asset.is_native]
        return await self.states.view(tokens, max_age_s=NOW)

    async def differences(self) -> list[Address]:
        view = await self.view()
        return [found.pool for found in await self.fresh.differences(list(view.pools.values()), block=view.block)]

    @property
    def head(self) -> int:
        return int(self.churn.rpc("eth_blockNumber"), 16)


@pytest.fixture
async def bench(fresh_ethereum: LocalChain) -> AsyncIterator[Bench]:
    churn = Churn(fresh_ethereum, seed=3, positions=3)
    direct = HttpTransport(fresh_ethereum.rpc_url, name="direct")
    async with FaultProxy(fresh_ethereum.rpc_url) as proxy:
        transport = HttpTransport(proxy.url, name="anvil")
        config, deployments, clock = load_chains()["ethereum"], load_deployments(), FakeClock()
        assets = load_assets(config.chain_id)
        multicall = deployments.address(config.chain_id, MULTICALL3)
        yield Bench(
            states=PoolStates(
                EvmClient(config, transport),
                assets=assets,
                deployments=deployments,
                directory=PoolDirectory(config.chain_id),
                recent=RecentHead(clock),
                clock=clock,
            ),
            fresh=PoolLoader(EvmClient(config, direct), multicall=multicall),
            proxy=proxy,
            churn=churn,
            assets=assets,
            clock=clock,
        )
        await transport.close()
    await direct.close()
    churn.close()


async def test_held_states_are_those_of_fresh_loads_through_order_flow_and_reorgs(fresh_ethereum: LocalChain) -> None:
    done = await prove(fresh_ethereum, blocks=BLOCKS, reorgs=REORGS, seed=11)
    assert done.differences == []
    assert done.held
    assert done.counts["blocks"] >= BLOCKS
    assert done.counts["reorgs"] == REORGS
    assert done.figures is not None
    assert done.figures.removed >= REORGS
    # That the flow had everything in it.
    assert min(done.counts[kind] for kind in ("swaps", "mints", "burns", "donations", "V2 additions")) > 0


async def test_a_pool_that_is_made_is_in_the_next_view_until_its_block_leaves_the_chain(bench: Bench) -> None:
    before = set((await bench.view()).pools)
    spec = CHAINS["ethereum"]
    token0, token1 = sorted((spec.tokens[each].address for each in ("DAI", "WBTC")), key=lambda each: int(each, 16))
    manager = spec.contracts["NonfungiblePositionManager"]
    data = call_data(CREATE, token0, token1, 3_000, 2**96)
    bench.churn.block()
    with bench.churn.reorg():
        submit_raw(bench.churn.rpc, manager, data=data, sender=TREASURY, gas=NEW_POOL_GAS)
        bench.churn.block()
        [made] = set((await bench.view()).pools) - before
        assert (await bench.view()).pools[made].key.pair == {token0, token1}
        assert await bench.differences() == []
        loads = bench.states.figures().loads
    bench.churn.block()
    assert set((await bench.view()).pools) == before
    submit_raw(bench.churn.rpc, manager, data=data, sender=TREASURY, gas=NEW_POOL_GAS)
    bench.churn.block()
    assert set((await bench.view()).pools) == {*before, made}
    assert bench.states.figures().loads == loads + 1


async def test_a_quote_that_walks_out_of_the_loaded_ticks_gets_more_of_them(bench: Bench) -> None:
    weth, usdc = (bench.assets.by_symbol(each).token_address for each in ("WETH", "USDC"))

    def deepest(view: MarketView) -> V3Pool:
        found = [p.state for p in view.pools.values() if p.key.pair == {weth, usdc} and isinstance(p.state, V3Pool)]
        return next(each for each in found if each.fee_pips == 100)

    whole = 10**40
    with pytest.raises(TicksNotLoaded):
        quote_exact_in(deepest(await bench.view()), whole, zero_for_one=True)
    quoted = await bench.states.ask([weth], lambda view: quote_exact_in(deepest(view), whole, zero_for_one=True))
    assert 0 < quoted.amount_in < whole
    for _ in range(4):
        bench.churn.block()
    assert await bench.differences() == []


async def test_F32_logs_that_the_node_leaves_out_are_found_and_mended(bench: Bench) -> None:
    await bench.view()
    rule = Rule(action=EmptyLogs(), method="eth_getLogs")
    bench.proxy.add(rule)
    for _ in range(6):
        bench.churn.block()
    wrong = await bench.differences()
    assert wrong
    assert bench.proxy.applied(rule)
    bench.proxy.clear()
    assert {found.pool for found in await bench.states.check()} == set(wrong)
    assert await bench.differences() == []
    assert bench.states.figures().disagreements == len(wrong)


async def test_a_block_whose_logs_the_node_does_not_have_yet_is_waited_for(bench: Bench) -> None:
    before = await bench.view()
    bench.proxy.add(Rule(action=NodeError(code=-32000, text="unknown block"), method="eth_getLogs", times=1))
    bench.churn.block()
    assert (await bench.view()).header == before.header
    assert (await bench.view()).header.number == bench.head
    assert await bench.differences() == []


async def test_F39_a_node_that_stopped_importing_confirms_nothing(bench: Bench) -> None:
    bench.churn.block()
    before = await bench.view()
    bench.proxy.add(Rule(action=Freeze(block=before.header.number - 1)))
    bench.churn.block()
    bench.clock.advance_ms(int(USABLE_FOR_S * 1000) + 1)
    with pytest.raises(StaleMarket):
        await bench.view()
    bench.proxy.clear()
    assert (await bench.view()).header.number == bench.head
    assert await bench.differences() == []


async def test_F41_a_node_that_is_down_leaves_the_last_view_for_a_while(bench: Bench) -> None:
    before = await bench.view()
    bench.proxy.add(Rule(action=Drop()))
    bench.churn.block()
    bench.clock.advance_ms(int(USABLE_FOR_S * 1000))
    assert (await bench.view()).header == before.header
    bench.clock.advance_ms(1)
    with pytest.raises(StaleMarket):
        await bench.view()
    bench.proxy.clear()
    assert (await bench.view()).header.number == bench.head
    assert await bench.differences() == []


async def test_a_node_that_takes_less_at_once_is_asked_for_less(bench: Bench) -> None:
    """An eth_call over the node's gas cap, until the calls are small."""
    most = 20_000

    def is_large(params: object) -> bool:
        return isinstance(params, list) and len(params[0].get("data", "")) > most

    bench.proxy.add(Rule(action=NodeError(code=-32000, text="out of gas"), method="eth_call", when=is_large))
    tokens = [bench.assets.by_symbol(each).token_address for each in ("WETH", "USDC")]
    found = await bench.states.view(tokens, max_age_s=NOW)
    assert len(found.pools) > 4
    assert await bench.fresh.differences(list(found.pools.values()), block=found.block) == []
