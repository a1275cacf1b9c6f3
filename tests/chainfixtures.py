"""Chains for tests: a pytest plugin, loaded by `tests/conftest.py` with `pytest_plugins`.

    devnet                          both forks, for the whole run of a worker
    ethereum, polygon               one of them, as it was before the test again afterwards; automine on
    fresh_ethereum, fresh_polygon   a fork of its own, for reorgs, block times and `anvil_reset`
    manual_mining(rpc)              a context in which only the test makes blocks

The base chains are built once a test run, by the first worker that needs them, and shared; each worker forks
them for itself. Guarantees: a test starts with a head block of this moment, fresh feeds, a usual base fee and an
empty pool; no process outlives the run, kill -9 included (with xdist the workers notice after some ten seconds).
Does not guarantee the same block numbers or hashes between tests.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO

import pytest

from scripts.devnet import artifacts
from scripts.devnet.catalogue import CHAINS
from scripts.devnet.cheats import refresh_feeds, sync_clock
from scripts.devnet.network import ALL, Devnet, LocalChain, Origin, start_forks, start_origins
from scripts.devnet.rpc import DevRpc

CHAIN_FIXTURES = frozenset({"devnet", "ethereum", "polygon", "fresh_ethereum", "fresh_polygon"})
BLOCK_GAS_LIMIT = 30_000_000
SHARING_POLL_S = 0.1


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
    """Forks of both chains, kept for the worker's whole run. Tests take `ethereum` or `polygon` instead."""
    toolbox = artifacts.ensure()
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    with (
        _shared_origins(toolbox, shared) as origins,
        start_forks(toolbox, origins, log_dir=own / "anvil") as forks,
    ):
        yield forks


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
    with _own_fork(devnet, "ethereum") as chain:
        yield chain


@pytest.fixture
def fresh_polygon(devnet: Devnet) -> Iterator[LocalChain]:
    """Chain 137 in an Anvil that only this test has."""
    with _own_fork(devnet, "polygon") as chain:
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
def _own_fork(devnet: Devnet, name: str) -> Iterator[LocalChain]:
    # A fork of a real network is forked once more, which keeps the block.
    origin = Origin(base_url=devnet.chains[name].base_url or devnet.chains[name].rpc_url)
    with start_forks(artifacts.ensure(), {name: origin}) as own:
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
    if chain.base_url is not None:
        refresh_feeds(rpc, CHAINS[chain.name])


@contextmanager
def _shared_origins(toolbox: artifacts.Toolbox, folder: Path) -> Iterator[Mapping[str, Origin]]:
    """What the run's chains are forked from: made here by the first worker to ask, else found in `folder`.

    `bases.lock` guards finding and building. Every user holds `bases.users` shared; who built them waits until it
    can have it alone before ending them. Locks go with their process, so that a killed worker blocks nobody.
    """
    listing, lock = folder / "bases.json", folder / "bases.lock"
    with ExitStack() as stack, (folder / "bases.users").open("w") as users:
        with _locked(lock):
            origins: Mapping[str, Origin] = _listed(listing)
            built = not origins
            if built:
                origins = stack.enter_context(start_origins(toolbox, ALL))
                listing.write_text(json.dumps({name: asdict(origin) for name, origin in origins.items()}))
            fcntl.flock(users, fcntl.LOCK_SH)
        try:
            yield origins
        finally:
            fcntl.flock(users, fcntl.LOCK_UN)
            while built and not _withdrawn(listing, lock=lock, users=users):
                time.sleep(SHARING_POLL_S)


def _listed(listing: Path) -> dict[str, Origin]:
    """The origins written down, if their bases still live: the worker that built them may have been killed."""
    if not listing.exists():
        return {}
    origins = {name: Origin(**fields) for name, fields in json.loads(listing.read_text()).items()}
    for origin in origins.values():
        if origin.base_url is not None and not _answers(origin.base_url):
            return {}
    return origins


def _withdrawn(listing: Path, *, lock: Path, users: IO[str]) -> bool:
    """Take the listing away if nobody uses the bases any more."""
    with _locked(lock):
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        listing.unlink()
        return True


def _answers(url: str) -> bool:
    rpc = DevRpc(url)
    try:
        rpc("eth_chainId")
    except OSError:
        return False
    finally:
        rpc.close()
    return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
