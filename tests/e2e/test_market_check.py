"""The owner compares the pools in memory with the chain."""

from dataclasses import replace
from pathlib import Path

from contracts.uniswap_v2.pool import V2Pool
from scripts.devnet.network import LocalChain
from service.control.acts import perform
from service.control.server import this_operator
from tests.e2e.harness import Stack, running

FUNDS = {"ethereum": {"ETH": 10**18}}


async def _check(stack: Stack) -> tuple[int, list[str]]:
    answer = await perform(stack.services, "market.check", {"chain": "ethereum"}, this_operator())
    return answer["pools"], answer["differences"]


async def test_a_pool_that_differs_is_told_by_name_and_right_again_afterwards(
    ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        assert await _check(stack) == (0, [])
        before = (await stack.get("/v1/ethereum/pools", key=None, market="ETHUSDC")).json()["pools"]
        pools, differences = await _check(stack)
        assert pools > 3
        assert differences == []

        held = stack.chain().states._follower.held
        pairs = [pool for address in held if (pool := held.get(address)) and isinstance(pool.state, V2Pool)]
        state = pairs[0].state
        assert isinstance(state, V2Pool)
        held.widen(replace(pairs[0], state=replace(state, reserve0=state.reserve0 + 1)))
        _, differences = await _check(stack)
        assert len(differences) == 1
        assert pairs[0].address in differences[0]
        assert "reserve0" in differences[0]

        after = (await stack.get("/v1/ethereum/pools", key=None, market="ETHUSDC")).json()["pools"]
        assert after == before
        assert (await _check(stack))[1] == []
