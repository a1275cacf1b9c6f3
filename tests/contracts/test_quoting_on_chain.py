"""Quotes against the contracts asked directly, and what is answered when there is nothing to trade with."""

from contextlib import suppress
from typing import Any

import pytest

from chains.errors import ExecutionReverted
from chains.types import BlockRef, BlockTag, CallRequest, ChainId, Header
from contracts.abi import Function, encode_call, load_abi
from contracts.assets import load_assets
from contracts.call import call_all, call_one, execute
from contracts.deployments import Venue
from contracts.errors import (
    AmountTooSmall,
    InsufficientLiquidity,
    InvalidTradeAmount,
    NoRoute,
    UnlistedAsset,
    UnsupportedPair,
)
from contracts.pools import V3_FEE_TIERS
from contracts.quoting import MAX_TRADE, best_quote
from contracts.routes import Exact
from tests.contracts.desk import Desk

pytestmark = pytest.mark.chain
BOTH: tuple[Exact, Exact] = ("in", "out")


async def _direct_amounts(desk: Desk, *, amount: int, exact: Exact, block: BlockRef) -> list[int]:
    """What each direct WETH -> USDC pool says, through its own contract's single-pool functions."""
    weth, usdc = desk.assets.wrapped.token_address, desk.assets.by_symbol("USDC").token_address
    quoter = desk.deployments.venue(desk.chain_id, Venue.UNISWAP_V3).quoter
    amounts = []
    for fee in V3_FEE_TIERS:
        path = bytes.fromhex(weth[2:]) + fee.to_bytes(3, "big") + bytes.fromhex(usdc[2:])
        backwards = bytes.fromhex(usdc[2:]) + fee.to_bytes(3, "big") + bytes.fromhex(weth[2:])
        name, way = ("quoteExactInput", path) if exact == "in" else ("quoteExactOutput", backwards)
        call = call_all(quoter, load_abi("quoter_v2").function(name), way, amount)
        with suppress(ExecutionReverted):  # there is no pool with that fee
            amounts.append((await execute(desk.client, call, block=block))[0])
    router = load_abi("uniswap_v2_router")
    v2 = desk.deployments.venue(desk.chain_id, Venue.UNISWAP_V2).quoter
    name, position = ("getAmountsOut", -1) if exact == "in" else ("getAmountsIn", 0)
    found = await execute(desk.client, call_one(v2, router.function(name), amount, (weth, usdc)), block=block)
    return [*amounts, found[position]]


@pytest.mark.parametrize("exact", BOTH)
@pytest.mark.parametrize("scale", [1, 10**6, 10**9])
async def test_the_best_of_all_direct_pools_is_taken(ethereum_desk: Desk, exact: Exact, scale: int) -> None:
    desk = ethereum_desk
    amount = scale * (10**9 if exact == "in" else 300)
    block = await desk.head()
    quote = await desk.quote("ETH", "USDC", amount=amount, exact=exact, direct_only=True)
    amounts = await _direct_amounts(desk, amount=amount, exact=exact, block=block)
    assert len(amounts) >= 3
    if exact == "in":
        assert (quote.amount_in, quote.amount_out) == (amount, max(amounts))
    else:
        assert (quote.amount_in, quote.amount_out) == (min(amounts), amount)
    assert quote.block == block


async def test_a_connector_is_used_where_it_gives_more(ethereum_desk: Desk) -> None:
    direct = await ethereum_desk.quote("ETH", "USDT", amount=200 * 10**18, exact="in", direct_only=True)
    routed = await ethereum_desk.quote("ETH", "USDT", amount=200 * 10**18, exact="in")
    assert len(routed.legs[0].hops) == 2
    assert routed.amount_out > direct.amount_out
    assert routed.lp_fee_pips >= routed.legs[0].hops[0].fee_pips


async def test_the_same_block_gives_the_same_quote(desk: Desk) -> None:
    sold = desk.assets.native.symbol
    first = await desk.quote(sold, "USDC", amount=10**18, exact="in")
    again = await desk.quote(sold, "USDC", amount=10**18, exact="in")
    assert first == again


async def test_native_and_wrapped_trade_in_the_same_pools(desk: Desk) -> None:
    native = await desk.quote(desk.assets.native.symbol, "USDC", amount=10**18, exact="in")
    wrapped = await desk.quote(desk.assets.wrapped.symbol, "USDC", amount=10**18, exact="in")
    assert native.legs[0].hops == wrapped.legs[0].hops
    assert native.amount_out == wrapped.amount_out
    assert native.sold.is_native
    assert not wrapped.sold.is_native


async def test_impact_grows_with_the_amount_and_small_trades_get_the_mid_price(ethereum_desk: Desk) -> None:
    impacts = []
    for amount in (10**15, 10**18, 300 * 10**18, 900 * 10**18):
        quote = await ethereum_desk.quote("ETH", "USDC", amount=amount, exact="in", venue=Venue.UNISWAP_V3)
        impacts.append(quote.price_impact_bps)
        at_mid = quote.mid_price.times(amount)
        assert quote.amount_out < at_mid
        assert quote.amount_out >= at_mid * (10_000 - quote.price_impact_bps - 1) // 10_000 * 997 // 1_000
    assert impacts[0] == 0
    assert impacts == sorted(impacts)
    assert impacts[-1] > 20


async def test_impact_in_a_constant_product_pool_is_the_formula(ethereum_desk: Desk) -> None:
    """impact = net input / (reserve + net input), from x * y = k."""
    desk = ethereum_desk
    small = await desk.quote("WETH", "USDC", amount=10**15, exact="in", venue=Venue.UNISWAP_V2)
    reserve = (await desk.balances(await desk.head(), small.legs[0].hops[0].pool))[desk.assets.wrapped.id]
    for tenths in (1, 5, 10):
        sold = reserve * tenths // 10
        net = sold * 997 // 1_000
        quote = await desk.quote("ETH", "USDC", amount=sold, exact="in", venue=Venue.UNISWAP_V2, direct_only=True)
        assert abs(quote.price_impact_bps - 10_000 * net // (reserve + net)) <= 1


@pytest.mark.parametrize("venue", [Venue.UNISWAP_V3, Venue.UNISWAP_V2])
@pytest.mark.parametrize("exact", BOTH)
async def test_more_than_the_pools_hold_is_refused(ethereum_desk: Desk, venue: Venue, exact: Exact) -> None:
    for amount in (10**13 * 10**6 if exact == "out" else 10**9 * 10**18, MAX_TRADE):
        with pytest.raises(InsufficientLiquidity):
            await ethereum_desk.quote("ETH", "USDC", amount=amount, exact=exact, venue=venue)


@pytest.mark.parametrize("share", [50, 90, 99, 100, 101])
@pytest.mark.parametrize("exact", BOTH)
async def test_what_is_quoted_near_the_end_of_a_pool_is_still_a_whole_fill(
    ethereum_desk: Desk, exact: Exact, share: int
) -> None:
    """Around a V3 pool's whole holding: a quote that the chain honours to the wei, or a clear refusal."""
    desk = ethereum_desk
    block = await desk.head()
    small = await desk.quote("WETH", "USDC", amount=10**18, exact="in", venue=Venue.UNISWAP_V3, direct_only=True)
    usdc = desk.assets.by_symbol("USDC")
    holding = (await desk.balances(block, small.legs[0].hops[0].pool))[usdc.id] * share // 100
    amount = holding if exact == "out" else small.mid_price.inverse.times(holding)
    try:
        quote = await desk.quote("ETH", "USDC", amount=amount, exact=exact, venue=Venue.UNISWAP_V3, direct_only=True)
    except InsufficientLiquidity:
        assert share > 95
        return
    swap = desk.compile(quote, max_in=quote.amount_in, min_out=quote.amount_out)
    before = await desk.balances(await desk.head())
    receipt = await desk.send(swap.call, gas=20_000_000)
    after = await desk.balances(receipt.block)
    assert receipt.succeeded
    assert after[usdc.id] - before[usdc.id] == quote.amount_out
    spent = before[desk.assets.native.id] - after[desk.assets.native.id] - receipt.fee_wei
    assert spent == quote.amount_in


@pytest.mark.parametrize("amount", [0, -1, MAX_TRADE + 1])
async def test_an_amount_that_is_none_is_refused(ethereum_desk: Desk, amount: int) -> None:
    with pytest.raises(InvalidTradeAmount):
        await ethereum_desk.quote("ETH", "USDC", amount=amount, exact="in")


async def test_an_amount_that_buys_nothing_is_refused(ethereum_desk: Desk) -> None:
    with pytest.raises(AmountTooSmall):
        await ethereum_desk.quote("ETH", "USDC", amount=1, exact="in")


@pytest.mark.parametrize(("sold", "bought"), [("ETH", "ETH"), ("ETH", "WETH"), ("WETH", "ETH"), ("USDC", "USDC")])
async def test_an_asset_is_not_traded_for_itself(ethereum_desk: Desk, sold: str, bought: str) -> None:
    with pytest.raises(UnsupportedPair):
        await ethereum_desk.quote(sold, bought, amount=10**6, exact="in")


async def test_an_asset_of_another_chain_is_not_traded(ethereum_desk: Desk) -> None:
    with pytest.raises(UnlistedAsset):
        await best_quote(
            ethereum_desk.client,
            assets=ethereum_desk.assets,
            deployments=ethereum_desk.deployments,
            sold=ethereum_desk.assets.native,
            bought=load_assets(ChainId(137)).by_symbol("USDC"),
            amount=10**18,
            exact="in",
        )


async def test_tokens_that_no_pool_connects_have_no_route(ethereum_desk: Desk) -> None:
    with pytest.raises(NoRoute):
        await ethereum_desk.quote("DAI", "WBTC", amount=10**18, exact="in", direct_only=True)


async def test_a_pool_without_liquidity_is_no_crash(ethereum_desk: Desk) -> None:
    """Created and initialised, but empty; then one that was never initialised."""
    desk = ethereum_desk
    dai, usdt = (desk.assets.by_symbol(symbol).token_address for symbol in ("DAI", "USDT"))
    create = _function("createPool", "address", "address", "uint24")
    factory = desk.deployments.venue(desk.chain_id, Venue.UNISWAP_V3).factory
    for fee in (500, 3_000):
        receipt = await desk.send(CallRequest(to=factory, data=encode_call(create, dai, usdt, fee)), gas=10_000_000)
        assert receipt.succeeded
    get_pool = load_abi("uniswap_v3_factory").function("getPool")
    pool = await execute(desk.client, call_one(factory, get_pool, dai, usdt, 500), block="latest")
    start = encode_call(_function("initialize", "uint160"), 2**96)
    assert (await desk.send(CallRequest(to=pool, data=start))).succeeded
    for exact in BOTH:
        with pytest.raises(InsufficientLiquidity):
            await desk.quote("DAI", "USDT", amount=10**6, exact=exact, direct_only=True)
    assert (await desk.quote("DAI", "USDT", amount=10**18, exact="in")).amount_out > 0, "the other route still works"


async def test_a_token_that_reverts_costs_only_its_own_routes(ethereum_desk: Desk) -> None:
    desk = ethereum_desk
    desk.rpc("anvil_setCode", desk.assets.by_symbol("USDT").token_address, "0x60006000fd")
    desk.rpc("evm_mine")
    quote = await desk.quote("ETH", "USDC", amount=10**18, exact="in")
    assert quote.amount_out > 0
    with pytest.raises((InsufficientLiquidity, NoRoute)):
        await desk.quote("USDT", "ETH", amount=10**6, exact="in", venue=Venue.UNISWAP_V3)


async def test_a_warm_directory_needs_two_node_calls(desk: Desk) -> None:
    reader = _Counting(desk)
    block = await desk.head()
    for expected in (3, 2):
        reader.calls = 0
        await best_quote(
            reader,
            assets=desk.assets,
            deployments=desk.deployments,
            sold=desk.assets.native,
            bought=desk.assets.by_symbol("USDC"),
            amount=10**18,
            exact="in",
            pools=desk.pools,
            block=block,
        )
        assert reader.calls == expected


async def test_an_older_block_is_quoted_as_it_was(ethereum_desk: Desk) -> None:
    desk = ethereum_desk
    before = await desk.quote("ETH", "USDC", amount=10**18, exact="in")
    swap = desk.compile(before, max_in=before.amount_in, min_out=before.amount_out)
    assert (await desk.send(swap.call)).succeeded
    now = await desk.quote("ETH", "USDC", amount=10**18, exact="in")
    assert now.amount_out < before.amount_out
    again = await best_quote(
        desk.client,
        assets=desk.assets,
        deployments=desk.deployments,
        sold=before.sold,
        bought=before.bought,
        amount=10**18,
        exact="in",
        block=before.block,
    )
    assert again == before


async def test_a_swap_below_its_limit_reverts_and_moves_nothing(ethereum_desk: Desk) -> None:
    desk = ethereum_desk
    for venue in (Venue.UNISWAP_V3, Venue.UNISWAP_V2):
        quote = await desk.quote("ETH", "USDC", amount=10**18, exact="in", venue=venue)
        swap = desk.compile(quote, max_in=quote.amount_in, min_out=quote.amount_out + 1)
        before = await desk.balances(await desk.head())
        receipt = await desk.send(swap.call)
        assert not receipt.succeeded
        before[desk.assets.native.id] -= receipt.fee_wei
        assert await desk.balances(receipt.block) == before


async def test_gas_estimates_are_near_what_is_used(desk: Desk) -> None:
    two_hops = ("WBTC", "USDC") if desk.chain_id == 1 else ("POL", "USDCE")
    for venue in desk.deployments.venues(desk.chain_id):
        native, wrapped = desk.assets.native.symbol, desk.assets.wrapped.symbol
        for sold, bought in ((native, "USDC"), (wrapped, "USDC"), ("USDC", native), two_hops):
            amount = 10 ** (desk.assets.by_symbol(sold).decimals - 1)
            quote = await desk.quote(sold, bought, amount=amount, exact="in", venue=venue.venue)
            swap = desk.compile(quote, max_in=quote.amount_in, min_out=quote.amount_out)
            await desk.approve(swap)
            receipt = await desk.send(swap.call)
            used = receipt.gas_used
            # A pair that traded in this second already skips its oracle's update and is a third cheaper.
            assert used * 75 // 100 < quote.gas_estimate < used * 145 // 100, (venue.venue, sold, used)


class _Counting:
    """Passes reads on and counts them."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.calls = 0

    async def call(self, request: CallRequest, *, block: BlockRef | BlockTag | int = "latest") -> bytes:
        self.calls += 1
        return await self._desk.client.call(request, block=block)

    async def head(self) -> Header:
        raise AssertionError("the block was given")


def _function(name: str, *types: str) -> Any:
    return Function.from_abi({"name": name, "inputs": [{"type": type_} for type_ in types]})
