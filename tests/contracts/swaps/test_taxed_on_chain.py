"""A token that begins to tax its transfers after it was listed: what the sender gets is still the limit, or nothing."""

from dataclasses import dataclass, replace

import pytest

from contracts import erc20
from contracts.assets import Asset, AssetList, token_id
from contracts.deployments import RouterKind, Venue
from contracts.pools import V2_FEE
from contracts.routes import Exact
from contracts.swaps import Swap, SwapLeg, encode_swap
from tests.contracts.desk import FOREVER_S, Desk
from tests.contracts.hostile import Hostile, make_pool, place_token
from tests.contracts.swaps.drawn import router

pytestmark = pytest.mark.chain

SOLD = 10**20
ROUTER = router(1, RouterKind.SWAP_ROUTER_02).address


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A hostile token in an asset list, with a V2 pool that has a hundred of it for each WETH."""

    token: Hostile
    asset: Asset
    assets: AssetList

    def swap(self, desk: Desk, *, exact: Exact, legs: int) -> Swap:
        """Sells some of it for WETH over the pair, an eighth below the price or better, in equal legs."""
        wrapped, least = desk.assets.wrapped, SOLD // 100 * 7 // 8
        leg = SwapLeg(
            path=(self.token.address, wrapped.token_address),
            venues=(Venue.UNISWAP_V2,),
            fees_pips=(V2_FEE,),
            max_in=SOLD // legs,
            exact_out=least // legs if exact == "out" else 0,
        )
        return Swap(
            chain_id=desk.chain_id,
            router=ROUTER,
            sold=self.asset,
            bought=wrapped,
            exact=exact,
            max_in=SOLD,
            min_out=least // legs * legs,
            recipient=desk.wallet,
            deadline_s=FOREVER_S,
            legs=(leg,) * legs,
        )


@pytest.fixture
async def listed(ethereum_desk: Desk) -> Listed:
    desk = ethereum_desk
    token = place_token(desk)
    make_pool(desk, token)
    asset = replace(
        desk.assets.by_symbol("DAI"), id=token_id(desk.chain_id, token.address), symbol="HOS", address=token.address
    )
    assets = AssetList(
        desk.chain_id, [*desk.assets, asset], wrapped=desk.assets.wrapped, connectors=desk.assets.connectors
    )
    return Listed(token=token, asset=asset, assets=assets)


@pytest.mark.parametrize("legs", [1, 2])
@pytest.mark.parametrize("exact", ["in", "out"])
async def test_a_tax_on_what_is_sold_never_makes_the_wallet_get_less_than_its_limit(
    ethereum_desk: Desk, listed: Listed, exact: Exact, legs: int
) -> None:
    """With exact output SwapRouter02 itself would pass on less than was asked: the collecting step reverts then."""
    desk = ethereum_desk
    call = encode_swap(listed.swap(desk, exact=exact, legs=legs), deployments=desk.deployments, assets=listed.assets)
    await desk.send(erc20.approve_call(listed.token.address, ROUTER, amount=SOLD))
    (honest,) = await desk.client.simulate([call], sender=desk.wallet)
    assert honest.succeeded, honest.reason

    listed.token.misbehave(fee_bps=2_000)

    (taxed,) = await desk.client.simulate([call], sender=desk.wallet)
    assert not taxed.succeeded
    assert taxed.reason == ("Too little received" if exact == "in" and legs == 1 else "Insufficient token")
    before = await desk.balances(await desk.head())
    receipt = await desk.send(call)
    assert not receipt.succeeded
    before[desk.assets.native.id] -= receipt.fee_wei
    assert await desk.balances(receipt.block) == before
