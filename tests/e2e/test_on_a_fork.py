"""The service over Anvil forks, as over a fork of a real network: what it asks for comes from another node first.

Elsewhere tests see chains that begin from a file (`scripts/devnet/network.py` says why). Here the origin is a local
chain at a URL of the environment, which to the fork is as real as any.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from scripts.devnet.network import REAL_NETWORKS, LocalChain, start_devnet
from scripts.devnet.rpc import DevRpc
from tests.e2e.harness import BOB, running
from tests.e2e.test_orders import check_executed_as_quoted, trade

FUNDS: Final = {
    "ethereum": {"ETH": 5 * 10**18, "USDC": 5_000 * 10**6},
    "polygon": {"POL": 1_000 * 10**18, "USDC": 1_000 * 10**6},
}
ORDERS: Final = {
    "ethereum": {"market": "ETHUSDC", "side": "sell", "base_amount": "0.25"},
    "polygon": {"market": "POLUSDC", "side": "buy", "quote_amount": "50"},
}


@pytest.fixture
def forks(
    ethereum: LocalChain, polygon: LocalChain, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, LocalChain]]:
    """Forks of both, of the block that each stands at."""
    for chain in (ethereum, polygon):
        network, rpc = REAL_NETWORKS[chain.name], DevRpc(chain.rpc_url)
        monkeypatch.setenv(network.url_variable, chain.rpc_url)
        monkeypatch.setenv(network.block_variable, str(int(rpc("eth_blockNumber"), 16)))
        rpc.close()
    with start_devnet() as devnet:
        for chain in devnet.chains.values():
            assert not chain.is_built_here
        yield dict(devnet.chains)


@pytest.mark.parametrize("name", ["ethereum", "polygon"])
async def test_orders_and_withdrawals_on_a_fork_are_exact_and_the_origin_sees_none_of_it(
    forks: dict[str, LocalChain], request: pytest.FixtureRequest, tmp_path: Path, name: str
) -> None:
    origin: LocalChain = request.getfixturevalue(name)
    before = DevRpc(origin.rpc_url)("eth_blockNumber")
    async with running(tmp_path, {name: forks[name]}, funds=FUNDS) as stack:
        paid_before = await stack.balance_of(BOB, "USDC", name)
        order = await trade(stack, name, ORDERS[name])
        assert order["state"] == "FILLED", order
        await check_executed_as_quoted(stack, name, order)
        payment = {"asset": "USDC", "amount": "12.5", "address": BOB, "client_withdrawal_id": "fork"}
        asked = await stack.post(f"/v1/{name}/withdrawals", payment, key="withdraw")
        paid = await stack.settle(f"/v1/withdrawals/{asked.json()['id']}", name)
        assert paid["state"] in ("confirmed", "final"), paid
        assert await stack.balance_of(BOB, "USDC", name) - paid_before == 12_500_000
        await stack.check_books(name)
    assert DevRpc(origin.rpc_url)("eth_blockNumber") == before
