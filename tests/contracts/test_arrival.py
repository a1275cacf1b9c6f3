"""What would arrive, on a fork, of honest tokens and of one that taxes."""

import pytest

from chains.errors import ExecutionReverted
from contracts.arrival import moved
from contracts.assets import Asset, AssetList, token_id
from contracts.quoting import best_quote
from contracts.routing.model import RoutedSwap
from contracts.swaps import compile_route
from tests.contracts.desk import FOREVER_S, Desk
from tests.contracts.hostile import Hostile, make_pool, place_token

pytestmark = pytest.mark.chain


def with_token(desk: Desk, token: Hostile) -> AssetList:
    asset = Asset(
        id=token_id(desk.chain_id, token.address),
        chain_id=desk.chain_id,
        symbol="HOS",
        name="Hostile",
        decimals=18,
        address=token.address,
    )
    return AssetList(desk.chain_id, [*desk.assets, asset], wrapped=desk.assets.wrapped)


async def quoted(desk: Desk, assets: AssetList, sold: str, bought: str, *, amount: int) -> RoutedSwap:
    return await best_quote(
        desk.client,
        assets=assets,
        deployments=desk.deployments,
        sold=assets.by_symbol(sold),
        bought=assets.by_symbol(bought),
        amount=amount,
        exact="in",
    )


async def arrived(desk: Desk, assets: AssetList, quote: RoutedSwap, *, min_out: int) -> int:
    swap = compile_route(
        quote,
        deployments=desk.deployments,
        assets=assets,
        recipient=desk.wallet,
        max_in=quote.amount_in,
        min_out=min_out,
        deadline_s=FOREVER_S,
    )
    head = await desk.client.head()
    found = await moved(
        desk.client, [swap.call], wallet=desk.wallet, assets=[quote.bought], multicall=desk.multicall, head=head
    )
    return found.changes[0]


async def test_what_was_quoted_arrives(desk: Desk) -> None:
    quote = await quoted(desk, desk.assets, desk.assets.native.symbol, "USDC", amount=10**18)
    assert await arrived(desk, desk.assets, quote, min_out=quote.amount_out) == quote.amount_out


async def test_native_coins_arrive_without_gas_taken_off(ethereum_desk: Desk) -> None:
    desk = ethereum_desk
    quote = await quoted(desk, desk.assets, "USDC", "ETH", amount=3_000 * 10**6)
    with pytest.raises(ExecutionReverted):  # nothing was approved
        await arrived(desk, desk.assets, quote, min_out=1)
    await desk.approve(desk.compile(quote, max_in=quote.amount_in, min_out=1))
    assert await arrived(desk, desk.assets, quote, min_out=1) == quote.amount_out


async def test_a_tax_behind_the_pool_shows_although_the_swap_keeps_its_limit(ethereum_desk: Desk) -> None:
    """F38: the call succeeds with the whole quote as its limit, and five percent less arrive."""
    desk = ethereum_desk
    token = place_token(desk)
    make_pool(desk, token)
    assets = with_token(desk, token)
    token.misbehave(fee_bps=500)
    quote = await quoted(desk, assets, "ETH", "HOS", amount=10**18)
    came = await arrived(desk, assets, quote, min_out=quote.amount_out)
    assert came == quote.amount_out - quote.amount_out * 500 // 10_000
