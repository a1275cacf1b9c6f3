"""Local Ethereum and Polygon as a context manager: base chains, and the forks that everybody uses.

A *base* is an Anvil on which the contracts are placed and the pools made; a *fork* of it is what the service and
the tests see. With `ETH_RPC_URL` / `POLYGON_RPC_URL` set, the fork is of that real network at one block instead,
and there is no base.

Guarantees: chains are ready when they are yielded; every process is gone when the context ends or its owner
dies. Does not guarantee equal block hashes or timestamps between two builds: only the state is the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.devnet import artifacts
from scripts.devnet.anvil import Anvil, redacted, run_anvil
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
class LocalChain:
    """A fork that is ready for use. `base_url` is None when it forks a real network."""

    chain_id: int
    name: str
    rpc_url: str
    base_url: str | None


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
    """Base and fork of each named chain; missing artifacts are fetched first, with progress on stderr.

    `block_time_s` makes the forks mine at that interval; None mines each transaction at once. `ports` are the
    forks' ports by chain name, free ones by default. Ready in about two seconds once the artifacts are there.

    Raises:
        ArtifactError, NpmUnavailable, PackFailed: the artifacts cannot be had.
        AnvilFailed: a process did not start (a port in use, say).
        WrongNetwork: an endpoint of a real network cannot be used.
    """
    toolbox = artifacts.ensure()
    with (
        start_bases(toolbox, names, log_dir=log_dir) as bases,
        start_forks(
            toolbox,
            names,
            base_urls={name: base.url for name, base in bases.items()},
            block_time_s=block_time_s,
            ports=ports or {},
            log_dir=log_dir,
        ) as devnet,
    ):
        yield Devnet(chains=devnet.chains, pids=[*(base.pid for base in bases.values()), *devnet.pids])


@contextmanager
def start_bases(
    toolbox: artifacts.Toolbox, names: Sequence[str], *, log_dir: Path | None = None
) -> Iterator[Mapping[str, Anvil]]:
    """Built base chains by name, for those of `names` that are not forks of a real network."""
    specs = [CHAINS[name] for name in names if real_url(name) is None]

    def start(spec: ChainSpec) -> AbstractContextManager[Anvil]:
        arguments = ["--chain-id", str(spec.chain_id)]
        return run_anvil(toolbox.anvil, f"{spec.name}-base", arguments=arguments, log_dir=log_dir)

    with ExitStack() as stack:
        anvils = [stack.enter_context(start(spec)) for spec in specs]
        jobs = [lambda s=s, a=a: build_base(a.url, s, toolbox=toolbox) for s, a in zip(specs, anvils, strict=True)]
        _in_parallel(jobs)
        yield {spec.name: anvil for spec, anvil in zip(specs, anvils, strict=True)}


@contextmanager
def start_forks(
    toolbox: artifacts.Toolbox,
    names: Sequence[str],
    *,
    base_urls: Mapping[str, str],
    block_time_s: float | None = None,
    ports: Mapping[str, int] | None = None,
    log_dir: Path | None = None,
) -> Iterator[Devnet]:
    """A fork of each named chain: of the real network where its variable is set, else of its base."""
    with ExitStack() as stack:
        chains: dict[str, LocalChain] = {}
        pids = []
        for name in names:
            origin = real_url(name)
            arguments = _fork_arguments(name, base_urls, real=origin)
            if block_time_s is not None:
                arguments += ["--block-time", str(block_time_s)]
            port = (ports or {}).get(name)
            fork = run_anvil(toolbox.anvil, name, arguments=arguments, log_dir=log_dir, port=port)
            anvil = stack.enter_context(fork)
            pids.append(anvil.pid)
            chains[name] = LocalChain(
                chain_id=CHAINS[name].chain_id,
                name=name,
                rpc_url=anvil.url,
                base_url=None if origin else base_urls[name],
            )
        yield Devnet(chains=chains, pids=pids)


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


def _fork_arguments(name: str, base_urls: Mapping[str, str], *, real: str | None) -> list[str]:
    if real is None:
        return ["--no-storage-caching", "--fork-url", base_urls[name]]
    block = _pinned_block(name, real)
    return ["--no-storage-caching", "--fork-url", real, "--fork-block-number", str(block)]


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
