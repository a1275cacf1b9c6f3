"""Chains for the end-to-end tests: one of each for the worker's whole run, never put back.

Every test has a wallet of its own and compares with the chain as it finds it, so that it needs no clean state; and
Anvil serves the state of earlier blocks, at which the books are read, only as long as nothing was reverted. Tests
that spoil a chain for others (a pool emptied, code removed) take `fresh_ethereum`.
"""

from collections.abc import Iterator

import pytest

from scripts.devnet import artifacts
from scripts.devnet.catalogue import CHAINS
from scripts.devnet.cheats import refresh_feeds, sync_clock
from scripts.devnet.network import Devnet, LocalChain, start_chains
from scripts.devnet.rpc import DevRpc


@pytest.fixture(scope="session")
def own_chains(devnet: Devnet) -> Iterator[Devnet]:
    """Chains that nothing else in this worker uses."""
    origins = {name: chain.origin for name, chain in devnet.chains.items()}
    with start_chains(artifacts.ensure(), origins) as chains:
        for chain in chains.chains.values():
            rpc = DevRpc(chain.rpc_url)
            sync_clock(rpc)
            rpc.close()
        yield chains


@pytest.fixture
def ethereum(own_chains: Devnet) -> LocalChain:
    """Chain 1, with feeds of this moment."""
    return _with_fresh_feeds(own_chains.chains["ethereum"])


@pytest.fixture
def polygon(own_chains: Devnet) -> LocalChain:
    """Chain 137, with feeds of this moment."""
    return _with_fresh_feeds(own_chains.chains["polygon"])


def _with_fresh_feeds(chain: LocalChain) -> LocalChain:
    # An order needs a price that Chainlink confirms, and Polygon's feeds are stale after minutes.
    if chain.is_built_here:
        rpc = DevRpc(chain.rpc_url)
        refresh_feeds(rpc, CHAINS[chain.name])
        rpc.close()
    return chain
