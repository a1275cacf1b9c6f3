"""Tokens looked at and tried out before they are listed, on the forks."""

import pytest

from chains.types import Address
from contracts.assets import APPROVE_RESET, NO_RETURN, Asset, AssetList, token_id
from contracts.listing import DELEGATION, ProxyKind, Trait, clone_of, read_token, traits_of
from contracts.listing_round_trip import RoundTrip, try_round_trip
from contracts.listing_transfers import Move, Tried, try_transfers
from contracts.pools import PoolDirectory, discover, pool_keys, read_states
from scripts.devnet.calls import hexed
from tests.contracts.desk import Desk, fresh_address
from tests.contracts.hostile import (
    SUPPLY,
    Hostile,
    is_paid_for,
    make_pool,
    moves_more_than,
    place_token,
    pulled_by,
    sends_to,
    trap,
)

pytestmark = pytest.mark.chain
POOLED = 10**22


async def tried(desk: Desk, token: Address, *, holder: Address, held: int) -> Tried:
    return await try_transfers(desk.client, token, holder=holder, held=held, block=await desk.client.head())


async def pooled(desk: Desk) -> tuple[Hostile, Address]:
    token = place_token(desk)
    return token, make_pool(desk, token, tokens=POOLED)


async def test_listed_tokens_move_exactly_what_they_are_told(desk: Desk) -> None:
    """With the pools as holders; the flags of the list are what the simulation finds."""
    block = await desk.head()
    venues = [found.venue for found in desk.deployments.venues(desk.chain_id)]
    connectors = [asset.token_address for asset in desk.assets.connectors]
    directory = PoolDirectory(desk.chain_id)
    for asset in desk.assets:
        if asset.is_native:
            continue
        token = asset.token_address
        keys = [key for other in connectors if other != token for key in pool_keys(venues, (token, other))]
        await discover(desk.client, directory, deployments=desk.deployments, keys=keys, block=block)
        states = await read_states(desk.client, directory, deployments=desk.deployments, keys=keys, block=block)
        deepest = max(states, key=lambda state: state.holding_of(token))
        found = await tried(desk, token, holder=deepest.address, held=deepest.holding_of(token))
        assert found.troubles == (), asset.symbol
        flags = {NO_RETURN: found.no_return, APPROVE_RESET: found.approve_reset}
        assert {flag for flag, is_so in flags.items() if is_so} == asset.flags, asset.symbol


@pytest.mark.parametrize("fee_bps", [1, 30, 10_000])
async def test_a_tax_is_found_at_every_amount_and_on_the_way_out_of_the_pool(ethereum_desk: Desk, fee_bps: int) -> None:
    token, pool = await pooled(ethereum_desk)
    token.misbehave(fee_bps=fee_bps)
    found = await tried(ethereum_desk, token.address, holder=pool, held=POOLED)
    assert [one.amount for one in found.troubles] == list(found.amounts)
    assert len(found.amounts) == 4
    assert {one.move for one in found.troubles} == {Move.OUT_OF_POOL}
    assert {one.tax_bps for one in found.troubles} == {fee_bps}


async def test_an_honest_token_has_no_trouble_and_nothing_happens_on_the_chain(ethereum_desk: Desk) -> None:
    token, pool = await pooled(ethereum_desk)
    before = await ethereum_desk.head()
    found = await tried(ethereum_desk, token.address, holder=pool, held=POOLED)
    assert (found.troubles, found.no_return, found.approve_reset) == ((), False, False)
    assert await ethereum_desk.head() == before


async def test_a_token_that_answers_false_is_found(ethereum_desk: Desk) -> None:
    token, pool = await pooled(ethereum_desk)
    token.misbehave(returns_false=True)
    found = await tried(ethereum_desk, token.address, holder=pool, held=POOLED)
    assert all(one.refused for one in found.troubles)
    assert len(found.troubles) == 4


async def test_a_paused_token_is_found_with_its_reason(ethereum_desk: Desk) -> None:
    token, pool = await pooled(ethereum_desk)
    token.misbehave(paused=True)
    found = await tried(ethereum_desk, token.address, holder=pool, held=POOLED)
    assert {"Pausable: paused" in (one.reverted or "") for one in found.troubles} == {True}


async def test_a_holder_that_has_less_than_said_is_trouble_of_its_own(ethereum_desk: Desk) -> None:
    token, _ = await pooled(ethereum_desk)
    found = await tried(ethereum_desk, token.address, holder=fresh_address(), held=SUPPLY)
    assert len(found.troubles) == 4
    with pytest.raises(ValueError, match="has nothing"):
        await tried(ethereum_desk, token.address, holder=fresh_address(), held=0)


async def test_a_wallet_is_no_token_not_even_one_that_has_delegated(ethereum_desk: Desk) -> None:
    desk = ethereum_desk
    wallet = fresh_address()
    assert (await read_token(desk.client, wallet, block=await desk.head())).is_wallet
    desk.rpc("anvil_setCode", wallet, hexed(DELEGATION + bytes(20)))
    desk.rpc("evm_mine")
    facts = await read_token(desk.client, wallet, block=await desk.head())
    assert (facts.is_wallet, facts.code_bytes, facts.symbol) == (True, 23, None)


async def test_what_a_token_says_of_itself_is_read(ethereum_desk: Desk) -> None:
    desk = ethereum_desk
    token = place_token(desk, symbol="XYZ", name="Xyz Token", decimals=9)
    facts = await read_token(desk.client, token.address, block=await desk.head())
    assert (facts.symbol, facts.name, facts.decimals, facts.total_supply) == ("XYZ", "Xyz Token", 9, SUPPLY)
    assert facts.proxy is None
    assert set(facts.traits) == {Trait.PAUSE, Trait.TAX}


async def test_text_that_is_empty_or_hides_something_is_not_read_as_text(ethereum_desk: Desk) -> None:
    desk = ethereum_desk
    token = place_token(desk, symbol="US\u202eDC", name="")
    facts = await read_token(desk.client, token.address, block=await desk.head())
    assert (facts.symbol, facts.name, facts.decimals) == (None, None, 18)


async def test_a_contract_that_is_no_token_answers_nothing(ethereum_desk: Desk) -> None:
    desk = ethereum_desk
    facts = await read_token(desk.client, desk.multicall, block=await desk.head())
    assert (facts.is_wallet, facts.symbol, facts.decimals, facts.total_supply) == (False, None, None, None)


async def test_a_contract_that_burns_all_gas_answers_nothing(ethereum_desk: Desk) -> None:
    desk = ethereum_desk
    burner = fresh_address()
    desk.rpc("anvil_setCode", burner, "0x5b600056")  # JUMPDEST PUSH1 0 JUMP
    desk.rpc("evm_mine")
    facts = await read_token(desk.client, burner, block=await desk.head())
    assert (facts.is_wallet, facts.symbol, facts.decimals) == (False, None, None)


@pytest.mark.parametrize(
    ("kind", "slot"),
    [
        # As EIP-1967, EIP-1822 and the code of the first OpenZeppelin proxies (USDC's) write them.
        (ProxyKind.EIP1967, "0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc"),
        (ProxyKind.EIP1822, "0xc5f16f0fcc639fa48a6947836d9850f504798523bf8c9a3a87d5876cf622bcf7"),
        (ProxyKind.OPENZEPPELIN, "0x7050c9e0f4ca769c69bd3a8ef740bc37934f8e2c036e5a723fd8ee048ed3f8c3"),
    ],
)
async def test_a_proxy_is_found_by_its_slot(ethereum_desk: Desk, kind: ProxyKind, slot: str) -> None:
    desk = ethereum_desk
    token = place_token(desk)
    behind = place_token(desk)
    desk.rpc("anvil_setStorageAt", token.address, slot, "0x" + behind.address[2:].lower().rjust(64, "0"))
    desk.rpc("evm_mine")
    facts = await read_token(desk.client, token.address, block=await desk.head())
    assert facts.proxy is not None
    assert (facts.proxy.kind, facts.proxy.implementation, facts.proxy.can_change) == (kind, behind.address, True)


async def test_a_beacon_is_asked_for_the_implementation(ethereum_desk: Desk) -> None:
    desk = ethereum_desk
    token, behind, beacon = place_token(desk), fresh_address(), fresh_address()
    # PUSH20 behind, PUSH1 0, MSTORE, PUSH1 32, PUSH1 0, RETURN
    desk.rpc("anvil_setCode", beacon, "0x73" + behind[2:].lower() + "60005260206000f3")
    slot = "0xa3f0ad74e5423aebfd80d3ef4346578335a9a72aeaee59ff6cb3582b35133d50"
    desk.rpc("anvil_setStorageAt", token.address, slot, "0x" + beacon[2:].lower().rjust(64, "0"))
    desk.rpc("evm_mine")
    facts = await read_token(desk.client, token.address, block=await desk.head())
    assert facts.proxy is not None
    assert (facts.proxy.kind, facts.proxy.implementation) == (ProxyKind.BEACON, behind)


async def test_a_clone_is_found_by_its_code_and_cannot_change(ethereum_desk: Desk) -> None:
    desk = ethereum_desk
    token = place_token(desk)
    clone = fresh_address()
    code = "363d3d373d3d3d363d73" + token.address[2:].lower() + "5af43d82803e903d91602b57fd5bf3"
    desk.rpc("anvil_setCode", clone, "0x" + code)
    desk.rpc("evm_mine")
    assert clone_of(bytes.fromhex(code)) == token.address
    facts = await read_token(desk.client, clone, block=await desk.head())
    assert facts.proxy is not None
    assert (facts.proxy.implementation, facts.proxy.can_change) == (token.address, False)
    assert Trait.TAX in facts.traits


def test_traits_need_the_whole_selector_behind_a_push() -> None:
    pause = bytes.fromhex("8456cb59")
    assert traits_of(b"\x00\x63" + pause + b"\x14") == {Trait.PAUSE: ("pause()",)}
    assert traits_of(pause) == {}


def with_token(desk: Desk, token: Hostile) -> tuple[Asset, AssetList]:
    """The list with the token in it."""
    asset = Asset(
        id=token_id(desk.chain_id, token.address),
        chain_id=desk.chain_id,
        symbol="HOS",
        name="Hostile",
        decimals=18,
        address=token.address,
    )
    assets = AssetList(
        desk.chain_id, [*desk.assets, asset], wrapped=desk.assets.wrapped, connectors=desk.assets.connectors
    )
    return asset, assets


async def round_trip(desk: Desk, token: Hostile) -> RoundTrip:
    asset, assets = with_token(desk, token)
    header = await desk.client.head()
    return await try_round_trip(desk.client, asset, assets=assets, deployments=desk.deployments, block=header)


async def test_an_honest_token_can_be_bought_and_sold_again_for_what_the_quotes_say(ethereum_desk: Desk) -> None:
    token, _ = await pooled(ethereum_desk)
    trip = await round_trip(ethereum_desk, token)
    assert (trip.failed, trip.bought_tokens) == (None, trip.quoted_tokens)
    assert trip.is_honest


async def test_listed_tokens_can_be_bought_and_sold_again(desk: Desk) -> None:
    header = await desk.client.head()
    for asset in desk.assets:
        if asset.is_native or asset == desk.assets.wrapped:
            continue
        trip = await try_round_trip(desk.client, asset, assets=desk.assets, deployments=desk.deployments, block=header)
        assert trip.is_honest, (asset.symbol, trip)


@pytest.mark.parametrize("fee_bps", [1, 100])
async def test_a_tax_makes_a_round_trip_dishonest(ethereum_desk: Desk, fee_bps: int) -> None:
    token, _ = await pooled(ethereum_desk)
    token.misbehave(fee_bps=fee_bps)
    assert not (await round_trip(ethereum_desk, token)).is_honest


async def test_a_paused_token_cannot_be_bought(ethereum_desk: Desk) -> None:
    token, _ = await pooled(ethereum_desk)
    token.misbehave(paused=True)
    trip = await round_trip(ethereum_desk, token)
    assert trip.failed is not None
    assert trip.failed.startswith("buying")


async def test_a_honeypot_that_refuses_sales_is_found_on_the_way_into_the_pool(ethereum_desk: Desk) -> None:
    """F53."""
    token, pool = await pooled(ethereum_desk)
    trap(ethereum_desk, token, condition=sends_to(pool))
    found = await tried(ethereum_desk, token.address, holder=pool, held=POOLED)
    assert {one.move for one in found.troubles} == {Move.INTO_POOL}
    assert all(one.reverted for one in found.troubles)
    trip = await round_trip(ethereum_desk, token)
    assert (trip.failed or "").startswith("selling")


async def test_a_trap_for_the_router_alone_is_found_by_the_round_trip(ethereum_desk: Desk) -> None:
    """F53: every transfer that is tried works, and what is bought cannot be sold through the router."""
    desk = ethereum_desk
    token, pool = await pooled(desk)
    router = desk.deployments.address(desk.chain_id, "uniswap_v2_router")
    trap(desk, token, condition=pulled_by(router))
    assert (await tried(desk, token.address, holder=pool, held=POOLED)).troubles == ()
    trip = await round_trip(desk, token)
    assert (trip.failed or "").startswith("selling")
    assert trip.bought_tokens == trip.quoted_tokens
    assert not trip.is_honest


async def test_a_token_that_behaves_while_gas_is_free_is_found_out(ethereum_desk: Desk) -> None:
    token, pool = await pooled(ethereum_desk)
    trap(ethereum_desk, token, condition=is_paid_for())
    found = await tried(ethereum_desk, token.address, holder=pool, held=POOLED)
    assert len(found.troubles) == len(found.amounts)
    assert (await round_trip(ethereum_desk, token)).failed is not None


async def test_a_limit_on_large_transfers_is_told_apart_from_small_ones(ethereum_desk: Desk) -> None:
    token, pool = await pooled(ethereum_desk)
    trap(ethereum_desk, token, condition=moves_more_than(POOLED // 100))
    found = await tried(ethereum_desk, token.address, holder=pool, held=POOLED)
    assert [one.amount for one in found.troubles] == [POOLED // 10, POOLED // 2]


async def test_a_trap_that_nothing_springs_lets_the_token_be_itself(ethereum_desk: Desk) -> None:
    """The trap of the tests above is what is found, not the delegation in it."""
    token, pool = await pooled(ethereum_desk)
    trap(ethereum_desk, token, condition=sends_to(fresh_address()))
    assert (await tried(ethereum_desk, token.address, holder=pool, held=POOLED)).troubles == ()
    assert (await round_trip(ethereum_desk, token)).is_honest
