"""Local Ethereum and Polygon as a context manager: base chains, and the copies of them that everybody uses.

A *base* is an Anvil on which the contracts are placed and the pools made; its state and blocks go to a file, and it
ends. A chain that the service and the tests see begins from that file. With `ETH_RPC_URL` / `POLYGON_RPC_URL` set, it
is a fork of that real network at one block instead, and there is no base.

Why no forks of the base: an Anvil that forks asks its origin for each slot that it has not seen, and Anvil 1.7.1 does
so while it holds a lock on its past states. Beside other reads of past blocks that ends, within thousands of calls, in
a process that answers nobody any more (measured: after 500 to 15,000 calls by ten clients, however many threads).

Guarantees: chains are ready when they are yielded; every process is gone when the context ends or its owner
dies. Does not guarantee equal block hashes or timestamps between two builds: only the state is the same.
"""

from __future__ import annotations

import gzip
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scripts.devnet import artifacts
from scripts.devnet.anvil import redacted, run_anvil
from scripts.devnet.calls import unhexed
from scripts.devnet.catalogue import CHAINS, ChainSpec
from scripts.devnet.liquidity import add_pools
from scripts.devnet.placing import Builder
from scripts.devnet.recipes import RECIPES
from scripts.devnet.rpc import DevRpc, RpcError

ALL = ("ethereum", "polygon")


@dataclass(frozen=True, slots=True, kw_only=True)
class RealNetwork:
    """Where a fork of a real network comes from. `margin` blocks behind the head by default: deep enough not to
    be reorganised away while it is in use, recent enough for a node that keeps no archive (128 blocks)."""

    url_variable: str
    block_variable: str
    margin: int


REAL_NETWORKS: Mapping[str, RealNetwork] = {
    "ethereum": RealNetwork(url_variable="ETH_RPC_URL", block_variable="ETH_FORK_BLOCK", margin=8),
    "polygon": RealNetwork(url_variable="POLYGON_RPC_URL", block_variable="POLYGON_FORK_BLOCK", margin=32),
}


class WrongNetwork(Exception):
    """A real network's endpoint cannot be used; the message names it by host only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a chain begins from: the file `state` of a base, or with None the real network of the environment, which
    is then pinned at `block`. Holds no secret, so that it can be written down."""

    state: str | None
    block: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalChain:
    """A chain that is ready for use. Others like it begin from its `origin`."""

    chain_id: int
    name: str
    rpc_url: str
    origin: Origin

    @property
    def is_built_here(self) -> bool:
        """Not a fork of a real network."""
        return self.origin.state is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Devnet:
    """Running chains by name. `pids` are the Anvils', for a state file."""

    chains: Mapping[str, LocalChain]
    pids: Sequence[int]


@contextmanager
def start_devnet(
    *,
    names: Sequence[str] = ALL,
    block_time_s: float | None = None,
    ports: Mapping[str, int] | None = None,
    log_dir: Path | None = None,
) -> Iterator[Devnet]:
    """Each named chain, built anew; missing artifacts are fetched first, with progress on stderr.

    `block_time_s` makes them mine at that interval; None mines each transaction at once. `ports` are their ports by
    chain name, free ones by default. Ready in about two seconds once the artifacts are there.

    Raises:
        ArtifactError, NpmUnavailable, PackFailed: the artifacts cannot be had.
        AnvilFailed: a process did not start (a port in use, say).
        WrongNetwork: an endpoint of a real network cannot be used.
    """
    toolbox = artifacts.ensure()
    with tempfile.TemporaryDirectory(prefix="cambist-devnet-") as folder:
        origins = make_origins(toolbox, names, folder=Path(folder), log_dir=log_dir)
        with start_chains(toolbox, origins, block_time_s=block_time_s, ports=ports, log_dir=log_dir) as devnet:
            yield devnet


def make_origins(
    toolbox: artifacts.Toolbox, names: Sequence[str], *, folder: Path, log_dir: Path | None = None
) -> Mapping[str, Origin]:
    """What each named chain begins from: a base built here and kept in `folder`, or the real network at a block settled
    here. No process is left."""
    origins: dict[str, Origin] = {}
    jobs = []
    for name in names:
        if (url := real_url(name)) is not None:
            origins[name] = Origin(state=None, block=_pinned_block(name, url))
            continue
        state = folder / f"{name}.state.json"
        origins[name] = Origin(state=str(state))
        jobs.append(partial(_make_base, toolbox, CHAINS[name], state=state, log_dir=log_dir))
    _in_parallel(jobs)
    return origins


@contextmanager
def start_chains(
    toolbox: artifacts.Toolbox,
    origins: Mapping[str, Origin],
    *,
    block_time_s: float | None = None,
    ports: Mapping[str, int] | None = None,
    log_dir: Path | None = None,
) -> Iterator[Devnet]:
    """A chain from each origin, by name."""
    with ExitStack() as stack:
        chains: dict[str, LocalChain] = {}
        pids = []
        for name, origin in origins.items():
            arguments = []
            if origin.state is not None:
                arguments += ["--chain-id", str(CHAINS[name].chain_id), "--load-state", origin.state]
            if origin.block is not None:
                arguments += ["--fork-block-number", str(origin.block)]
            if block_time_s is not None:
                arguments += ["--block-time", str(block_time_s)]
            anvil = stack.enter_context(
                run_anvil(
                    toolbox.anvil,
                    name,
                    arguments=arguments,
                    fork_url=None if origin.state is not None else real_url(name),
                    log_dir=log_dir,
                    port=(ports or {}).get(name),
                )
            )
            pids.append(anvil.pid)
            chains[name] = LocalChain(chain_id=CHAINS[name].chain_id, name=name, rpc_url=anvil.url, origin=origin)
        yield Devnet(chains=chains, pids=pids)


def _make_base(toolbox: artifacts.Toolbox, spec: ChainSpec, *, state: Path, log_dir: Path | None) -> None:
    arguments = ["--chain-id", str(spec.chain_id)]
    with run_anvil(toolbox.anvil, f"{spec.name}-base", arguments=arguments, log_dir=log_dir) as base:
        build_base(base.url, spec, toolbox=toolbox)
        rpc = DevRpc(base.url)
        dumped: str = rpc("anvil_dumpState")
        rpc.close()
    state.write_bytes(gzip.decompress(unhexed(dumped)))


def build_base(url: str, spec: ChainSpec, *, toolbox: artifacts.Toolbox) -> None:
    """Place every contract and make every pool on an empty Anvil."""
    rpc = DevRpc(url)
    rpc("anvil_autoImpersonateAccount", True)
    Builder(rpc, toolbox.contracts).run(RECIPES[spec.name]())
    add_pools(rpc, spec)
    # Hundreds of nearly empty blocks have brought the base fee to its floor: leave a head with a usual one.
    rpc("anvil_setNextBlockBaseFeePerGas", hex(spec.base_fee_wei))
    rpc("evm_mine")
    rpc.close()


def real_url(name: str) -> str | None:
    """Endpoint of the real network to fork, where one is set."""
    return os.environ.get(REAL_NETWORKS[name].url_variable) or None


def _pinned_block(name: str, url: str) -> int:
    """The block to fork at, printed so that a run can be repeated at the same one."""
    network = REAL_NETWORKS[name]
    rpc = DevRpc(url)
    try:
        chain_id = int(rpc("eth_chainId"), 16)
        if chain_id != CHAINS[name].chain_id:
            raise WrongNetwork(f"{network.url_variable} is chain {chain_id}, not {name} ({CHAINS[name].chain_id})")
        given = os.environ.get(network.block_variable)
        block = int(given) if given else int(rpc("eth_blockNumber"), 16) - network.margin
    except (OSError, RpcError, ValueError) as exc:
        # Not `from exc`: the cause may carry the endpoint's key.
        reason = redacted(str(exc))
        raise WrongNetwork(f"{network.url_variable} at {redacted(url)} cannot be used: {reason}") from None
    finally:
        rpc.close()
    print(f"{name}: fork of {redacted(url)} at block {block} (pin it with {network.block_variable}={block})")
    return block


def _in_parallel(jobs: Sequence[Callable[[], None]]) -> None:
    with ThreadPoolExecutor(max_workers=max(1, len(jobs))) as pool:
        for future in [pool.submit(job) for job in jobs]:
            future.result()
