"""Chains for tests: a pytest plugin, loaded by `tests/conftest.py` with `pytest_plugins`.

    devnet                          both chains, for the whole run of a worker
    ethereum, polygon               one of them, as it was before the test again afterwards; automine on
    fresh_ethereum, fresh_polygon   a chain of its own, for reorgs and block times
    manual_mining(rpc)              a context in which only the test makes blocks

The base chains are built once a test run, by the first worker that needs them; each worker has Anvils that begin from
their state. Guarantees: a test starts with a head block of this moment, fresh feeds, a usual base fee and an
empty pool; no process outlives the run, kill -9 included (with xdist the workers notice after some ten seconds).
Does not guarantee the same block numbers or hashes between tests.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest

from scripts.devnet import artifacts
from scripts.devnet.catalogue import CHAINS
from scripts.devnet.cheats import refresh_feeds, sync_clock
from scripts.devnet.network import ALL, Devnet, LocalChain, Origin, make_origins, start_chains
from scripts.devnet.rpc import DevRpc

CHAIN_FIXTURES = frozenset({"devnet", "ethereum", "polygon", "fresh_ethereum", "fresh_polygon"})
BLOCK_GAS_LIMIT = 30_000_000


@contextmanager
def manual_mining(rpc: DevRpc) -> Iterator[None]:
    """Inside, a block exists only when the test says `rpc("evm_mine")`."""
    rpc("evm_setAutomine", False)
    try:
        yield
    finally:
        rpc("evm_setAutomine", True)


@pytest.fixture(scope="session")
def devnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devnet]:
    """Both chains, kept for the worker's whole run. Tests take `ethereum` or `polygon` instead."""
    toolbox = artifacts.ensure()
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    with start_chains(toolbox, _shared_origins(toolbox, shared), log_dir=own / "anvil") as chains:
        yield chains


@pytest.fixture
def ethereum(devnet: Devnet) -> Iterator[LocalChain]:
    """Chain 1, put back after the test."""
    with _put_back(devnet.chains["ethereum"]) as chain:
        yield chain


@pytest.fixture
def polygon(devnet: Devnet) -> Iterator[LocalChain]:
    """Chain 137, put back after the test."""
    with _put_back(devnet.chains["polygon"]) as chain:
        yield chain


@pytest.fixture
def fresh_ethereum(devnet: Devnet) -> Iterator[LocalChain]:
    """Chain 1 in an Anvil that only this test has."""
    with _own_chain(devnet, "ethereum") as chain:
        yield chain


@pytest.fixture
def fresh_polygon(devnet: Devnet) -> Iterator[LocalChain]:
    """Chain 137 in an Anvil that only this test has."""
    with _own_chain(devnet, "polygon") as chain:
        yield chain


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything that names a chain fixture carries the marker `chain`, before `-m` chooses by markers."""
    for item in items:
        if CHAIN_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("chain")


@contextmanager
def _put_back(chain: LocalChain) -> Iterator[LocalChain]:
    rpc = DevRpc(chain.rpc_url)
    before = rpc("eth_blockNumber")
    snapshot = rpc("evm_snapshot")
    _freshen(rpc, chain)
    try:
        yield chain
    finally:
        # A snapshot holds neither these settings nor the pool. Automine comes last: it would mine what waits.
        rpc("evm_setIntervalMining", 0)
        rpc("evm_setAutomine", False)
        rpc("anvil_dropAllTransactions")
        rpc("evm_setBlockGasLimit", hex(BLOCK_GAS_LIMIT))
        # It waits for a block that is being made: one that came after the revert would leave a hole in the chain below.
        rpc("anvil_mine", hex(1))
        reverted = rpc("evm_revert", snapshot)
        after = rpc("eth_blockNumber")
        rpc("evm_setAutomine", True)
        rpc.close()
        if not reverted:
            pytest.fail(f"the snapshot of {chain.name} is gone: a test that resets the chain takes fresh_{chain.name}")
        if after != before:
            pytest.fail(f"{chain.name} was not put back: its head is {after}, it was {before}")


@contextmanager
def _own_chain(devnet: Devnet, name: str) -> Iterator[LocalChain]:
    with start_chains(artifacts.ensure(), {name: devnet.chains[name].origin}) as own:
        chain = own.chains[name]
        rpc = DevRpc(chain.rpc_url)
        _freshen(rpc, chain)
        rpc.close()
        yield chain


def _freshen(rpc: DevRpc, chain: LocalChain) -> None:
    """A head of this moment and feeds updated in it. A real network's feeds stay as they were at its block."""
    # A revert keeps the base fee that the reverted blocks had worked out.
    head = rpc("eth_getBlockByNumber", "latest", False)
    rpc("anvil_setNextBlockBaseFeePerGas", head["baseFeePerGas"])
    sync_clock(rpc)
    if chain.is_built_here:
        refresh_feeds(rpc, CHAINS[chain.name])


def _shared_origins(toolbox: artifacts.Toolbox, folder: Path) -> Mapping[str, Origin]:
    """What the run's chains begin from: made here by the first worker to ask, else found in `folder`.

    Files alone: no worker waits for another one longer than for building, and who is killed leaves nothing running.
    """
    listing = folder / "origins.json"
    with (folder / "origins.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if listing.exists():
            return {name: Origin(**fields) for name, fields in json.loads(listing.read_text()).items()}
        origins = make_origins(toolbox, ALL, folder=folder)
        listing.write_text(json.dumps({name: asdict(origin) for name, origin in origins.items()}))
        return origins
