"""The pinned addresses are what they say, on the fork."""

import pytest

from chains.types import Address, CallRequest
from contracts import chainlink, erc20
from contracts.abi import Function, encode_call, load_abi
from contracts.call import call_one, execute
from contracts.deployments import WRAPPED_NATIVE, RouterKind, Venue
from contracts.errors import FeedUnusable, UndecodableReturn
from contracts.pools import discover, pool_keys, read_states
from scripts.devnet.catalogue import CHAINS
from scripts.devnet.cheats import set_feed
from scripts.devnet.placing import TREASURY
from tests.contracts.desk import Desk, fresh_address

pytestmark = pytest.mark.chain


async def test_every_address_of_the_registry_and_the_asset_list_has_code(desk: Desk) -> None:
    tokens = {asset.symbol: asset.token_address for asset in desk.assets if not asset.is_native}
    for name, address in {**desk.deployments.contracts(desk.chain_id), **tokens}.items():
        assert len(await desk.client.code(address)) > 100, name


async def test_quoters_point_at_their_factory_and_wrapped_token(desk: Desk) -> None:
    wrapped = desk.deployments.address(desk.chain_id, WRAPPED_NATIVE)
    for found in desk.deployments.venues(desk.chain_id):
        v3 = found.venue is Venue.UNISWAP_V3
        abi = load_abi("quoter_v2" if v3 else "uniswap_v2_router")
        assert await _address(desk, found.quoter, "factory") == found.factory
        weth = abi.function("WETH9" if v3 else "WETH")
        assert await execute(desk.client, call_one(found.quoter, weth), block="latest") == wrapped


async def test_routers_trade_with_the_factories_of_their_venues_and_the_wrapped_token(desk: Desk) -> None:
    wrapped = desk.deployments.address(desk.chain_id, WRAPPED_NATIVE)
    for router in desk.deployments.routers(desk.chain_id):
        factories = {venue: desk.deployments.venue(desk.chain_id, venue).factory for venue in router.venues}
        if router.kind is RouterKind.ROUTER_02:
            (factory,) = factories.values()
            assert await _address(desk, router.address, "factory") == factory
            assert await _address(desk, router.address, "WETH") == wrapped
            continue
        assert await _address(desk, router.address, "factory") == factories.pop(Venue.UNISWAP_V3)
        assert await _address(desk, router.address, "WETH9") == wrapped
        for factory in factories.values():
            assert await _address(desk, router.address, "factoryV2") == factory


async def _address(desk: Desk, contract: Address, getter: str) -> Address:
    entry = {"name": getter, "inputs": [], "outputs": [{"name": "", "type": "address"}], "stateMutability": "view"}
    found: Address = await execute(desk.client, call_one(contract, Function.from_abi(entry)), block="latest")
    return found


async def test_pools_point_at_the_factory_that_named_them(desk: Desk) -> None:
    block = await desk.head()
    venues = [found.venue for found in desk.deployments.venues(desk.chain_id)]
    tokens = [asset.token_address for asset in desk.assets if not asset.is_native]
    keys = [key for i, one in enumerate(tokens) for other in tokens[i + 1 :] for key in pool_keys(venues, (one, other))]
    await discover(desk.client, desk.pools, deployments=desk.deployments, keys=keys, block=block)
    states = await read_states(desk.client, desk.pools, deployments=desk.deployments, keys=keys, block=block)
    assert len(states) >= 10
    assert {state.key.venue for state in states} == set(venues)
    for state in states:
        abi = load_abi("uniswap_v3_pool" if state.key.venue is Venue.UNISWAP_V3 else "uniswap_v2_pair")
        said = [
            await execute(desk.client, call_one(state.address, abi.function(name)), block=block)
            for name in ("factory", "token0", "token1")
        ]
        factory = desk.deployments.venue(desk.chain_id, state.key.venue).factory
        assert said == [factory, state.key.token0, state.key.token1]


async def test_tokens_answer_with_the_listed_symbol_and_decimals(desk: Desk) -> None:
    for asset in desk.assets:
        if asset.is_native:
            continue
        assert await execute(desk.client, erc20.symbol(asset.token_address), block="latest") in asset.onchain_symbols
        assert await execute(desk.client, erc20.decimals(asset.token_address), block="latest") == asset.decimals
        assert await execute(desk.client, erc20.total_supply(asset.token_address), block="latest") > 0


async def test_every_asset_has_a_feed_that_answers(desk: Desk) -> None:
    header = await desk.client.head()
    names = sorted({asset.usd_feed for asset in desk.assets if asset.usd_feed is not None})
    feeds = [desk.deployments.address(desk.chain_id, name) for name in names]
    answers = await chainlink.latest_answers(desk.client, feeds, multicall=desk.multicall, block=header.ref)
    assert set(answers) == set(feeds)
    for name, feed in zip(names, feeds, strict=True):
        answer = answers[feed]
        assert answer is not None, name
        assert answer.decimals == desk.assets.feeds[name].decimals
        assert 0 < answer.updated_at_s <= header.timestamp_s


async def test_every_feed_of_the_list_belongs_to_an_asset(desk: Desk) -> None:
    assert set(desk.assets.feeds) == {asset.usd_feed for asset in desk.assets}


async def test_the_wrapped_token_wraps_the_native_asset_one_for_one(desk: Desk) -> None:
    wrapped = desk.assets.wrapped
    before = await desk.balances(await desk.head())
    deposit = encode_call(load_abi("weth9").function("deposit"))
    assert (await desk.send(CallRequest(to=wrapped.token_address, data=deposit, value_wei=5))).succeeded
    between = await desk.balances(await desk.head())
    assert between[wrapped.id] - before[wrapped.id] == 5
    withdraw = encode_call(load_abi("weth9").function("withdraw"), 5)
    assert (await desk.send(CallRequest(to=wrapped.token_address, data=withdraw))).succeeded
    assert (await desk.balances(await desk.head()))[wrapped.id] == before[wrapped.id]


async def test_every_market_has_a_pool_or_two_in_a_row(desk: Desk) -> None:
    for market in desk.assets.markets.values():
        quote = await desk.quote(market.base.symbol, market.quote.symbol, amount=10**market.base.decimals, exact="in")
        assert quote.amount_out > 0, market.symbol


async def test_a_feed_that_answers_zero_has_no_price(ethereum_desk: Desk) -> None:
    desk = ethereum_desk
    feed = desk.deployments.address(desk.chain_id, "chainlink_usdt_usd")
    eth = desk.deployments.address(desk.chain_id, "chainlink_eth_usd")
    desk.rpc("anvil_impersonateAccount", TREASURY)
    set_feed(desk.rpc, CHAINS["ethereum"], base="USDT", answer=0)
    block = await desk.head()
    with pytest.raises(FeedUnusable):
        await chainlink.latest_answer(desk.client, feed, multicall=desk.multicall, block=block)
    with pytest.raises(FeedUnusable):
        await chainlink.latest_answer(desk.client, fresh_address(), multicall=desk.multicall, block=block)
    answers = await chainlink.latest_answers(desk.client, [feed, eth], multicall=desk.multicall, block=block)
    assert answers[feed] is None
    assert answers[eth] is not None


async def test_a_read_of_an_address_without_code_is_an_error(desk: Desk) -> None:
    with pytest.raises(UndecodableReturn):
        await execute(desk.client, erc20.decimals(fresh_address()), block="latest")
