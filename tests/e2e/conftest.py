"""Chains for the end-to-end tests: one of each for several tests of a worker, not put back in between.

Every test has a wallet of its own and compares with the chain as it finds it, so that it needs no clean state; and
Anvil serves the state of earlier blocks, at which the books are read, only as long as nothing was reverted. Tests
that spoil a chain for others (a pool emptied, code removed) take `fresh_ethereum`.

A chain's clock runs ahead of ours by a second a block, and some tests move it on purpose. One that is far ahead is
replaced: what has a time limit would be over before it is sent, depending on which tests came before.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Final

import pytest

from scripts.devnet import artifacts
from scripts.devnet.catalogue import CHAINS
from scripts.devnet.cheats import refresh_feeds, sync_clock
from scripts.devnet.network import Devnet, LocalChain, Origin, start_chains
from scripts.devnet.rpc import DevRpc

MOST_AHEAD_S: Final = 120
"""Far below the shortest time limit, the ten minutes of a contract call."""


class Chains:
    """Chains that nothing else in this worker uses."""

    def __init__(self, origins: Mapping[str, Origin]) -> None:
        self._origins = origins
        self._running: dict[str, tuple[ExitStack, LocalChain]] = {}

    def get(self, name: str) -> LocalChain:
        """With feeds of this moment; a new one where the last one's clock is too far ahead."""
        running = self._running.get(name)
        if running is not None and _ahead_s(running[1]) > MOST_AHEAD_S:
            running[0].close()
            running = None
        if running is None:
            stack = ExitStack()
            chains = stack.enter_context(start_chains(artifacts.ensure(), {name: self._origins[name]})).chains
            running = self._running[name] = (stack, chains[name])
            rpc = DevRpc(chains[name].rpc_url)
            sync_clock(rpc)
            rpc.close()
        return _with_fresh_feeds(running[1])

    def close(self) -> None:
        for stack, _ in self._running.values():
            stack.close()


@pytest.fixture(scope="session")
def own_chains(devnet: Devnet) -> Iterator[Chains]:
    """For the worker's whole run."""
    chains = Chains({name: chain.origin for name, chain in devnet.chains.items()})
    try:
        yield chains
    finally:
        chains.close()


@pytest.fixture
def ethereum(own_chains: Chains) -> LocalChain:
    """Chain 1, with feeds of this moment."""
    return own_chains.get("ethereum")


@pytest.fixture
def polygon(own_chains: Chains) -> LocalChain:
    """Chain 137, with feeds of this moment."""
    return own_chains.get("polygon")


def _ahead_s(chain: LocalChain) -> int:
    """How far the chain's clock is ahead of ours."""
    rpc = DevRpc(chain.rpc_url)
    head = rpc("eth_getBlockByNumber", "latest", False)
    rpc.close()
    return int(head["timestamp"], 16) - int(time.time())


def _with_fresh_feeds(chain: LocalChain) -> LocalChain:
    # An order needs a price that Chainlink confirms, and Polygon's feeds are stale after minutes.
    if chain.is_built_here:
        rpc = DevRpc(chain.rpc_url)
        refresh_feeds(rpc, CHAINS[chain.name])
        rpc.close()
    return chain
