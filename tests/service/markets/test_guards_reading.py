"""Second opinions read on a fork: feeds that go wrong, pools that are pushed, averages that remember."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from chains.client import EvmClient
from chains.config import ChainConfig
from chains.types import Address, BlockRef, BlockTag, CallRequest
from contracts.assets import AssetList
from contracts.deployments import Deployments
from contracts.routing.model import RoutedSwap
from scripts.devnet.calls import Contract
from scripts.devnet.catalogue import CHAINS, Pool, Venue
from scripts.devnet.cheats import fund_token, set_feed
from scripts.devnet.liquidity import pool_address
from scripts.devnet.network import LocalChain
from scripts.devnet.placing import TREASURY
from scripts.devnet.trades import Swap
from service.errors import ApiError
from service.markets.bounds import Bounds, Required
from service.markets.guards import Opinions, Source, check_price, deviation_bps, guarded_price, market_price
from service.markets.guards_reading import OpinionBoard
from service.markets.trades import Side
from tests.clock import FakeClock
from tests.contracts.desk import Desk, open_desk

SPEC = CHAINS["ethereum"]
POOL = next(
    pool for pool in SPEC.pools if pool.venue is Venue.UNISWAP_V3 and (pool.base, pool.fee) == ("WETH", 500)
    and pool.quote == "USDC"
)  # fmt: skip
POOLS = [
    pool for pool in SPEC.pools if pool.venue is Venue.UNISWAP_V3 and {pool.base, pool.quote} == {"WETH", "USDC"}
]  # fmt: skip
BOUNDS = Bounds(max_deviation_bps=200)
NUDGE = 200_000 * 10**6
"""USDC: a few ticks in any of the pools, and far less than the bound."""
PUSH = 14_000_000 * 10**6
"""USDC into the deepest pool: it moves its price by far more than the bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """A chain as the board needs it."""

    config: ChainConfig
    client: EvmClient
    assets: AssetList
    deployments: Deployments


@dataclass(slots=True)
class Counting:
    """Counts what a client is asked."""

    client: EvmClient
    calls: list[CallRequest] = field(default_factory=list)

    async def call(self, request: CallRequest, *, block: BlockRef | BlockTag | int = "latest") -> bytes:
        self.calls.append(request)
        return await self.client.call(request, block=block)


@pytest.fixture
async def desk(ethereum: LocalChain) -> AsyncIterator[Desk]:
    async with open_desk(ethereum) as found:
        found.rpc("anvil_impersonateAccount", TREASURY)
        yield found


async def opinions(desk: Desk, symbol: str = "ETHUSDC", *, board: OpinionBoard | None = None) -> Opinions:
    header = await desk.client.head()
    clock = FakeClock(header.timestamp_s * 1000)
    board = OpinionBoard(desk.chain_id, clock=clock) if board is None else board
    return await board.read(parts(desk), desk.assets.markets[symbol], header=header)


def parts(desk: Desk, client: Any = None) -> Parts:
    return Parts(
        config=desk.client.config,
        client=desk.client if client is None else client,
        assets=desk.assets,
        deployments=desk.deployments,
    )


async def quote(desk: Desk) -> RoutedSwap:
    return await desk.quote("ETH", "USDC", amount=10**18, exact="in")


async def push(desk: Desk, amount: int = PUSH, *, pool: Pool = POOL) -> None:
    """Buy WETH from the pool (the deepest by default) with so much USDC, in a block of its own."""
    fund_token(desk.rpc, "ethereum", "USDC", desk.wallet, amount)
    swap = Swap(pool=pool, kind="noise", sold="USDC", bought="WETH", amount=amount)
    router = Address(swap.router(SPEC))
    Contract(desk.rpc, SPEC.tokens["USDC"].address).send("approve(address,uint256)", router, amount, sender=desk.wallet)
    receipt = await desk.send(CallRequest(to=router, data=swap.calldata(SPEC, trader=desk.wallet)), gas=20_000_000)
    assert receipt.succeeded


def pass_time(desk: Desk, seconds: int) -> None:
    desk.rpc("evm_increaseTime", seconds)
    desk.rpc("evm_mine")


async def forget(desk: Desk) -> None:
    """Let the pools remember nothing: with one observation each, a swap that moves the tick overwrites it.

    Without it they remember as far back as the chain was built, which depends on how long the tests have run.
    """
    for pool in POOLS:
        await push(desk, NUDGE, pool=pool)


async def remembering(desk: Desk, seconds: int) -> None:
    """Give the deepest pool a memory of so many seconds, and no more."""
    await forget(desk)
    pool = Contract(desk.rpc, pool_address(desk.rpc, SPEC, pool=POOL))
    pool.send("increaseObservationCardinalityNext(uint16)", 8, sender=desk.wallet)
    await push(desk, 1)
    pass_time(desk, seconds)
    await push(desk, 1)


async def test_chainlink_agrees_with_the_pools_on_every_market_of_the_list(desk: Desk) -> None:
    header = await desk.client.head()
    board = OpinionBoard(desk.chain_id, clock=FakeClock(header.timestamp_s * 1000))
    for market in desk.assets.markets.values():
        found = await board.read(parts(desk), market, header=header)
        mid = (
            await desk.quote(market.base.symbol, market.quote.symbol, amount=10**market.base.decimals, exact="in")
        ).mid_price
        check_price(found, price=mid, bounds=BOUNDS)
        assert found.found[0].source is Source.CHAINLINK
        assert found.found[0].age_s is not None


async def test_a_pool_that_was_just_pushed_is_refused(desk: Desk) -> None:
    """F49."""
    before = await quote(desk)
    check_price(await opinions(desk), price=market_price(Side.SELL, before.mid_price), bounds=BOUNDS)
    await push(desk)
    pushed = await quote(desk)
    assert deviation_bps(pushed.mid_price, before.mid_price) > 200
    with pytest.raises(ApiError) as refused:
        check_price(await opinions(desk), price=market_price(Side.SELL, pushed.mid_price), bounds=BOUNDS)
    assert refused.value.code == "price_deviates"
    assert "Chainlink says 3000" in refused.value.message


async def test_an_average_remembers_the_price_before_the_push(desk: Desk) -> None:
    """F49 with no feed at all: the pool's own average refuses."""
    await remembering(desk, 700)
    before = await quote(desk)
    set_feed(desk.rpc, SPEC, base="ETH", answer=0)
    told = await opinions(desk)
    assert [(one.source, one.window_s) for one in told.found] == [(Source.TWAP, 600)]
    assert deviation_bps(told.found[0].price, before.mid_price) <= 10
    check_price(told, price=before.mid_price, bounds=BOUNDS)
    await push(desk)
    pushed = await quote(desk)
    with pytest.raises(ApiError) as refused:
        check_price(await opinions(desk), price=pushed.mid_price, bounds=BOUNDS)
    assert refused.value.code == "price_deviates"
    assert "the average over 600 s" in refused.value.message


async def test_a_pool_that_remembers_seconds_has_no_average(desk: Desk) -> None:
    await forget(desk)
    told = await opinions(desk)
    assert [one.source for one in told.missing] == [Source.TWAP]


@pytest.mark.parametrize("answer", [0, -1])
async def test_a_feed_that_answers_nothing_positive_fails_closed(desk: Desk, answer: int) -> None:
    """F99."""
    await forget(desk)
    set_feed(desk.rpc, SPEC, base="ETH", answer=answer)
    told = await opinions(desk)
    mid = (await quote(desk)).mid_price
    assert guarded_price(told, price=mid, bounds=BOUNDS) is None
    with pytest.raises(ApiError) as refused:
        check_price(told, price=mid, bounds=BOUNDS)
    assert refused.value.code == "no_second_opinion"
    assert "ETH / USD has no valid answer" in refused.value.message


async def test_a_feed_that_fell_asleep_fails_closed(desk: Desk) -> None:
    """F99."""
    pass_time(desk, 4_000)
    told = await opinions(desk)
    # Nobody traded meanwhile, so that the pool remembers: its average is an opinion, the feed's answer is none.
    assert [one.source for one in told.found] == [Source.TWAP]
    both = replace(BOUNDS, required=Required.ALL)
    mid = (await quote(desk)).mid_price
    assert guarded_price(told, price=mid, bounds=both) is None
    with pytest.raises(ApiError) as refused:
        check_price(told, price=mid, bounds=both)
    assert refused.value.code == "stale_price_source"
    assert "ETH / USD is 4" in refused.value.message


async def test_a_feed_that_answers_ten_times_too_much_fails_closed(desk: Desk) -> None:
    """F99."""
    set_feed(desk.rpc, SPEC, base="ETH", answer=30_000 * 10**8)
    told, mid = await opinions(desk), (await quote(desk)).mid_price
    assert guarded_price(told, price=mid, bounds=BOUNDS) is None
    with pytest.raises(ApiError) as refused:
        check_price(told, price=mid, bounds=BOUNDS)
    assert refused.value.code == "price_deviates"


async def test_a_market_is_read_once_a_block_in_one_node_call(desk: Desk) -> None:
    header = await desk.client.head()
    board = OpinionBoard(desk.chain_id, clock=FakeClock(header.timestamp_s * 1000))
    counting = Counting(desk.client)
    market = desk.assets.markets["ETHUSDC"]
    for calls in (2, 2):  # the pools of the pair, then everything else
        await board.read(parts(desk, counting), market, header=header)
        assert len(counting.calls) == calls
    desk.rpc("evm_mine")
    told = await board.read(parts(desk, counting), market, header=await desk.client.head())
    assert (len(counting.calls), told.block) == (3, await desk.head())
