"""History beside the chain's own logs: order flow on a fork, with reorgs and restarts, through nodes that refuse."""

import itertools
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import decode
from eth_utils.crypto import keccak
from sqlalchemy import Connection, select

from chains.client import EvmClient
from chains.config import load_chains
from chains.errors import RpcError, RpcRefused
from chains.rpc.transport import HttpTransport, Transport
from chains.tx.leases import SoleLeases
from chains.types import ChainId
from contracts.assets import load_assets
from contracts.deployments import Venue, load_deployments
from scripts.devnet.flow import OrderFlow
from scripts.devnet.network import LocalChain
from scripts.devnet.rpc import DevRpc
from service.clock import SystemClock
from service.db import models as m
from service.db.engine import Database
from service.markets.history import storage
from service.markets.history.candles import BASES, of_trades
from service.markets.history.ingester import Ingester
from service.markets.history.model import LEAST_UNITS
from service.markets.history.source import ConfirmedChain
from service.markets.history.writing import candles_between, trades_between
from tests.service.markets.history.forkable import POLICY, Silent

FOR_EVER_S = 2**40
V2 = keccak(text="Swap(address,uint256,uint256,uint256,uint256,address)")
V3 = keccak(text="Swap(address,address,int256,int256,uint160,uint128,int24)")
TABLES = (m.market_pairs, m.market_pools, m.market_trades, m.market_candles)


class RangesRefused:
    """A transport to a node that refuses ranges of more than some blocks."""

    def __init__(self, inner: Transport, most: int) -> None:
        self.inner = inner
        self.most = most
        self.name = inner.name
        self.refused = 0

    async def request(self, method: str, params: Sequence[Any]) -> Any:
        if method == "eth_getLogs" and "fromBlock" in params[0]:
            blocks = int(params[0]["toBlock"], 16) - int(params[0]["fromBlock"], 16) + 1
            if blocks > self.most:
                self.refused += 1
                raise RpcRefused("block range is too wide", endpoint=self.name, method=method, code=-32062)
        return await self.inner.request(method, params)

    async def batch(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any | RpcError]:
        return await self.inner.batch(calls)

    async def close(self) -> None:
        await self.inner.close()


@pytest.fixture
async def transport(fresh_ethereum: LocalChain) -> AsyncIterator[HttpTransport]:
    found = HttpTransport(fresh_ethereum.rpc_url, name="anvil")
    yield found
    await found.close()


@pytest.fixture
async def polygon_transport(fresh_polygon: LocalChain) -> AsyncIterator[HttpTransport]:
    found = HttpTransport(fresh_polygon.rpc_url, name="anvil")
    yield found
    await found.close()


@pytest.fixture
def urls(tmp_path: Path, sqlite_template: Path) -> tuple[str, str]:
    """Two empty databases."""
    for name in ("kept", "fresh"):
        (tmp_path / f"{name}.sqlite").write_bytes(sqlite_template.read_bytes())
    return f"sqlite:///{tmp_path}/kept.sqlite", f"sqlite:///{tmp_path}/fresh.sqlite"


def on_anvil(db: Database, transport: Transport, *, chain: str = "ethereum") -> Ingester:
    config, deployments = load_chains()[chain], load_deployments()
    return Ingester(
        ConfirmedChain(EvmClient(config, transport), deployments=deployments),
        config=config,
        assets=load_assets(config.chain_id),
        deployments=deployments,
        uow=db,
        leases=SoleLeases(),
        policy=POLICY,
        watcher=Silent(),
        clock=SystemClock(),
    )


async def finish(one: Ingester) -> None:
    for _ in range(200):
        if not await one.step():
            return
    pytest.fail("it never has nothing to do")


def rows(c: Connection) -> Mapping[str, list[tuple[object, ...]]]:
    return {
        table.name: [tuple(row) for row in c.execute(select(table).order_by(*table.primary_key))] for table in TABLES
    }


def swaps_of(rpc: DevRpc, pools: Mapping[str, int], *, upto: int) -> list[tuple[object, ...]]:
    """Every trade of the pools as block, log index, pool id, direction and amounts, decoded by eth_abi."""
    found: list[tuple[object, ...]] = []
    logs = rpc("eth_getLogs", {"fromBlock": "0x0", "toBlock": hex(upto), "address": list(pools)})
    for log in logs:
        topic, data = bytes.fromhex(log["topics"][0][2:]), bytes.fromhex(log["data"][2:])
        if topic == V2:
            in0, in1, out0, out1 = decode(["uint256"] * 4, data)
            gained0, gained1 = in0 - out0, in1 - out1
        elif topic == V3:
            gained0, gained1, *_ = decode(["int256", "int256", "uint160", "uint128", "int24"], data)
        else:
            continue
        if min(abs(gained0), abs(gained1)) < LEAST_UNITS:
            continue
        place = (int(log["blockNumber"], 16), int(log["logIndex"], 16))
        found.append((*place, pools[log["address"].lower()], gained0 > 0, abs(gained0), abs(gained1)))
    return sorted(found)


async def is_history_of(db: Database, rpc: DevRpc, *, chain: str = "ethereum") -> int:
    """How many trades are stored, once they were found to be all of the chain, and the candles theirs."""
    head = await db.read(lambda c: storage.head_of(c, load_chains()[chain].chain_id))
    assert head is not None
    latest = rpc("eth_getBlockByNumber", "latest", False)
    assert head.hash == latest["parentHash"]
    pools = await db.read(lambda c: storage.pools_of(c, head.chain_id))
    stored = []
    for pair_id in sorted({pool.pair_id for pool in pools}):
        trades = await db.read(lambda c, p=pair_id: trades_between(c, p, start_ms=0, end_ms=FOR_EVER_S * 1000))  # type: ignore[misc]
        stored += trades
        for seconds in BASES:
            kept = await db.read(
                lambda c, p=pair_id, s=seconds: candles_between(c, p, seconds=s, start_s=0, end_s=FOR_EVER_S)  # type: ignore[misc]
            )
            assert kept == of_trades(trades, seconds=seconds)
    found = sorted(
        (one.block_number, one.id % 1_000_000, one.pool_id, one.zero_for_one, one.amount0, one.amount1)
        for one in stored
    )
    assert found == swaps_of(rpc, {pool.address.lower(): pool.id for pool in pools}, upto=head.number)
    times = {number: rpc("eth_getBlockByNumber", hex(number), False) for number in {row[0] for row in found}}
    assert {one.time_ms for one in stored} == {int(block["timestamp"], 16) * 1000 for block in times.values()}
    return len(found)


async def test_order_flow_with_reorgs_and_restarts_ends_in_the_history_of_a_fresh_start(
    fresh_ethereum: LocalChain, transport: HttpTransport, urls: tuple[str, str]
) -> None:
    rpc, chance = DevRpc(fresh_ethereum.rpc_url), random.Random(11)
    flow = OrderFlow([fresh_ethereum], seed=5)
    flow.prepare()
    db = await Database.open(urls[0])
    one = on_anvil(db, transport)
    try:
        for turn, depth in enumerate(itertools.chain(range(1, 9), range(8, 0, -1))):
            for _ in range(chance.randrange(8, 14)):
                flow.step()
                if chance.random() < 0.4:
                    await one.step()
            rpc("anvil_reorg", depth, [])
            if chance.random() < 0.5:
                await one.step()
            if turn % 4 == 3:
                # As after a crash: nothing is left but the file.
                await db.close()
                db = await Database.open(urls[0])
                one = on_anvil(db, transport)
        flow.step()
        rpc("evm_mine")
        await finish(one)
        assert await is_history_of(db, rpc) > 40
        kept = await db.read(rows)
    finally:
        flow.close()
        await db.close()
    fresh = await Database.open(urls[1])
    try:
        await finish(on_anvil(fresh, transport))
        assert await fresh.read(rows) == kept
    finally:
        await fresh.close()


async def test_a_node_that_refuses_ranges_over_five_blocks_gives_them_all(
    fresh_ethereum: LocalChain, transport: HttpTransport, sqlite_db: Database
) -> None:
    rpc = DevRpc(fresh_ethereum.rpc_url)
    flow = OrderFlow([fresh_ethereum], seed=6)
    flow.prepare()
    for _ in range(100):
        flow.step()
    flow.close()
    rpc("evm_mine")
    refusing = RangesRefused(transport, 5)
    await finish(on_anvil(sqlite_db, refusing))
    assert refusing.refused > 0
    assert await is_history_of(sqlite_db, rpc) > 60


async def test_the_newest_swap_shows_once_another_block_is_there(
    fresh_ethereum: LocalChain, transport: HttpTransport, sqlite_db: Database
) -> None:
    rpc = DevRpc(fresh_ethereum.rpc_url)
    flow = OrderFlow([fresh_ethereum], seed=7)
    flow.prepare()
    one = on_anvil(sqlite_db, transport)
    rpc("evm_mine")
    await finish(one)
    before = await is_history_of(sqlite_db, rpc)
    trade = flow.step()[0]
    flow.close()
    assert trade.succeeded
    await one.step()
    assert await is_history_of(sqlite_db, rpc) == before
    rpc("evm_mine")
    await one.step()
    assert await is_history_of(sqlite_db, rpc) > before


async def test_pools_of_other_venues_are_followed_alike(
    fresh_polygon: LocalChain, polygon_transport: HttpTransport, sqlite_db: Database
) -> None:
    rpc = DevRpc(fresh_polygon.rpc_url)
    flow = OrderFlow([fresh_polygon], seed=8)
    flow.prepare()
    for _ in range(60):
        flow.step()
    flow.close()
    rpc("evm_mine")
    await finish(on_anvil(sqlite_db, polygon_transport, chain="polygon"))
    assert await is_history_of(sqlite_db, rpc, chain="polygon") > 30
    venues = {pool.venue for pool in await sqlite_db.read(lambda c: storage.pools_of(c, ChainId(137)))}
    assert venues == {Venue.UNISWAP_V3, Venue.QUICKSWAP_V2}
