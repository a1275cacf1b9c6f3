"""A token that the owner added: traded after the next start, guarded like any other, and harmless once it turns bad."""

from pathlib import Path
from typing import Any

from scripts.devnet.calls import Contract
from scripts.devnet.catalogue import CHAINS, Venue
from scripts.devnet.cheats import fund_token, set_feed
from scripts.devnet.network import LocalChain
from scripts.devnet.placing import TREASURY
from scripts.devnet.trades import Swap
from service.accounts.registration import open_missing_chains
from service.control import acts
from service.control.server import Operator
from service.db import models as m
from tests.contracts.desk import open_desk
from tests.contracts.hostile import Hostile, make_pool, place_token
from tests.e2e.harness import Stack, running

FUNDS = {"ethereum": {"ETH": 5 * 10**18, "USDC": 1_000 * 10**6}}
OPERATOR = Operator(uid=0, name="root")
SPEC = CHAINS["ethereum"]


async def act(stack: Stack, name: str, **params: Any) -> dict[str, Any]:
    return await acts.perform(stack.services, name, params, OPERATOR)


async def order(stack: Stack, **body: Any) -> tuple[int, dict[str, Any]]:
    answer = await stack.post("/v1/ethereum/orders", {"side": "buy", **body})
    return answer.status_code, answer.json()


async def test_an_added_token_trades_after_the_next_start_and_a_tax_that_comes_later_shows_in_fills_and_books(
    fresh_ethereum: LocalChain, tmp_path: Path
) -> None:
    """F38 (tax)."""
    async with open_desk(fresh_ethereum) as desk, running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        token = place_token(desk)
        make_pool(desk, token)
        asked = {"chain": "ethereum", "address": token.address, "label": "HOS"}
        await act(stack, "asset.add", **asked, quotes=["ETH"], accepted=["can_pause", "can_tax"], unguarded=True)
        assert (await order(stack, market="HOSETH", quote_amount="1"))[1]["code"] == "unknown_market"

        later = await stack.restarted()
        try:
            await later.round()  # past the block that has the token: the books open at the cursor
            await open_missing_chains(later.services)
            await _trade(later, token)
        finally:
            await later.services.close()


async def _trade(stack: Stack, token: Hostile) -> None:
    """Buy while it is honest, then buy and sell while it taxes."""
    status, placed = await order(stack, market="HOSETH", quote_amount="1")
    assert status == 202, placed
    assert (await stack.settle(f"/v1/orders/{placed['id']}"))["state"] == "FILLED"
    had = await stack.balance_of(stack.wallet.address, "HOS")
    assert had > 0

    status, placed = await order(stack, market="HOSETH", quote_amount="1")
    assert status == 202, placed
    token.misbehave(fee_bps=500)
    await stack.mine("ethereum")
    # Router02 does not look at what arrives behind a pool that paid in full: the fill tells what did, to the last unit.
    ended = await stack.settle(f"/v1/orders/{placed['id']}")
    assert ended["state"] == "FILLED"
    arrived = await stack.balance_of(stack.wallet.address, "HOS") - had
    assert sum(stack.raw("HOS", fill["base"]) for fill in ended["fills"]) == arrived
    assert arrived < stack.raw("HOS", ended["limit"]["min_bought"])

    # From now on what would arrive is seen before an order is taken on.
    had = await stack.balance_of(stack.wallet.address, "HOS")
    status, refused = await order(stack, market="HOSETH", quote_amount="1")
    assert (status, refused["code"]) == (409, "taxed_transfer")
    status, sale = await order(stack, market="HOSETH", side="sell", base_amount="10")
    assert status == 202, sale
    assert (await stack.settle(f"/v1/orders/{sale['id']}"))["state"] == "REJECTED"
    assert await stack.balance_of(stack.wallet.address, "HOS") == had
    await stack.check_books()


async def test_an_order_at_a_price_that_was_just_pushed_is_refused_and_leaves_nothing(
    fresh_ethereum: LocalChain, tmp_path: Path
) -> None:
    """F49, F99."""
    async with open_desk(fresh_ethereum) as desk, running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        for pool in SPEC.pools:
            if pool.venue is Venue.UNISWAP_V3 and (pool.base, pool.quote) == ("WETH", "USDC"):
                fund_token(desk.rpc, "ethereum", "USDC", desk.wallet, 14_000_000 * 10**6)
                swap = Swap(pool=pool, kind="noise", sold="USDC", bought="WETH", amount=14_000_000 * 10**6)
                usdc = Contract(desk.rpc, SPEC.tokens["USDC"].address)
                usdc.send("approve(address,uint256)", swap.router(SPEC), swap.amount, sender=desk.wallet)
                desk.rpc("eth_sendTransaction", pushing(desk.wallet, swap))
        await stack.mine("ethereum")
        status, refused = await order(stack, market="ETHUSDC", side="sell", base_amount="0.1")
        assert (status, refused["code"]) == (409, "price_deviates")
        assert "Chainlink says 3000" in refused["detail"]

        desk.rpc("anvil_impersonateAccount", TREASURY)
        set_feed(desk.rpc, SPEC, base="ETH", answer=0)
        status, refused = await order(stack, market="ETHUSDC", side="sell", base_amount="0.1")
        assert (status, refused["code"]) == (409, "no_second_opinion")
        for table in (m.orders, m.plans, m.reservations):
            assert await stack.count(table) == 0


def pushing(sender: str, swap: Swap) -> dict[str, str]:
    """The transaction of a swap that nothing limits."""
    data = "0x" + swap.calldata(SPEC, trader=sender).hex()
    return {"from": sender, "to": swap.router(SPEC), "data": data, "gas": hex(20_000_000)}
