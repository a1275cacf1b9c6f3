"""The whole service behind a fault proxy, on an Ethereum of its own whose blocks the test makes."""

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.devnet.network import LocalChain
from tests.e2e.harness import BOB, Stack, running
from tests.faults.proxy import FaultProxy
from tests.faults.remote import ThreadedProxy


@pytest.fixture
def proxy(fresh_ethereum: LocalChain) -> Iterator[FaultProxy]:
    with ThreadedProxy(FaultProxy(fresh_ethereum.rpc_url)) as made:
        yield made


@pytest.fixture
def funds() -> Mapping[str, int]:
    """What the wallet has, base units by symbol. A module may have its own."""
    return {"ETH": 10 * 10**18, "USDC": 20_000 * 10**6, "USDT": 20_000 * 10**6}


@pytest.fixture
async def stack(
    fresh_ethereum: LocalChain, proxy: FaultProxy, funds: Mapping[str, int], tmp_path: Path
) -> AsyncIterator[Stack]:
    behind = replace(fresh_ethereum, rpc_url=proxy.url)
    async with running(tmp_path, {"ethereum": behind}, funds={"ethereum": funds}) as made:
        made.rpcs["ethereum"]("evm_setAutomine", False)
        made.rpcs["ethereum"]("anvil_setCode", BOB, "0x")
        yield made
