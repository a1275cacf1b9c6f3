"""Command line of the local chains: `python -m scripts.devnet up` and `fetch`."""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from scripts.devnet import artifacts, npm
from scripts.devnet.anvil import AnvilFailed
from scripts.devnet.catalogue import CHAINS, UNIT, ChainSpec
from scripts.devnet.cheats import feed_answer
from scripts.devnet.flow import OrderFlow, order_flow
from scripts.devnet.network import Devnet, LocalChain, WrongNetwork, start_devnet
from scripts.devnet.rpc import DevRpc
from scripts.interrupts import end_on_signals

STATUS_INTERVAL_S = 1.0
UP_EXAMPLES = """
Examples:

  python -m scripts.devnet up                          one transaction a block, one trade a second

  python -m scripts.devnet up --block-time 2           a block every two seconds

  python -m scripts.devnet up --flow-rate 0            nobody trades but you

  ETH_RPC_URL=... python -m scripts.devnet up          Ethereum is a fork of the real network
"""

app = typer.Typer(
    help="Local Ethereum and Polygon with the protocols' own bytecode.", no_args_is_help=True, add_completion=False
)
console = Console()


@app.command(epilog=UP_EXAMPLES)
def up(
    block_time: Annotated[
        float | None,
        typer.Option(min=0.1, help="Seconds between blocks. Without it each transaction is mined at once."),
    ] = None,
    flow_rate: Annotated[float, typer.Option(min=0, max=100, help="Trades a second on each chain; 0 for none.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of the order flow: the same one gives the same trades.")] = 1,
    ethereum_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of Ethereum; 0 for any free one.")] = 8545,
    polygon_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of Polygon; 0 for any free one.")] = 8546,
    state_file: Annotated[
        Path | None, typer.Option(help="Write URLs and process ids here as JSON while the chains run.")
    ] = None,
    log_dir: Annotated[Path | None, typer.Option(help="Keep the Anvils' logs in this folder.")] = None,
) -> None:
    """Run both chains in the foreground until Ctrl-C."""
    end_on_signals()
    started = time.monotonic()
    try:
        with ExitStack() as stack:
            ports = {"ethereum": ethereum_port, "polygon": polygon_port}
            devnet = stack.enter_context(start_devnet(block_time_s=block_time, ports=ports, log_dir=log_dir))
            flow = None
            if flow_rate:
                chains = list(devnet.chains.values())
                flow = stack.enter_context(order_flow(chains, rate_per_s=flow_rate, seed=seed))
            for chain in devnet.chains.values():
                console.print(_described(chain))
            console.print(f"Ready after {time.monotonic() - started:.1f} s. Ctrl-C ends it.")
            if state_file is not None:
                _write_state(state_file, devnet)
                stack.callback(state_file.unlink, missing_ok=True)
            _watch(devnet, flow)
    except KeyboardInterrupt:
        console.print("Both chains are gone.")
    except (AnvilFailed, WrongNetwork, artifacts.ArtifactError, npm.NpmUnavailable, npm.PackFailed) as exc:
        _fail(exc)


@app.command()
def fetch() -> None:
    """Download and verify what the chains are built from, and start nothing."""
    try:
        toolbox = artifacts.ensure(console)
    except (artifacts.ArtifactError, npm.NpmUnavailable, npm.PackFailed) as exc:
        _fail(exc)
    console.print(f"{len(toolbox.contracts)} contracts in {artifacts.cache_folder()}, Anvil: {toolbox.anvil}")


def _fail(exc: Exception) -> NoReturn:
    console.print(str(exc), style="red", markup=False)
    if "in use" in str(exc):
        console.print("Choose another port with --ethereum-port and --polygon-port, or 0 for any free one.")
    raise typer.Exit(1)


def _write_state(path: Path, devnet: Devnet) -> None:
    state = {
        "pid": os.getpid(),
        "pids": list(devnet.pids),
        "chains": {
            name: {"chain_id": chain.chain_id, "rpc_url": chain.rpc_url} for name, chain in devnet.chains.items()
        },
    }
    arriving = path.with_suffix(".arriving")
    arriving.write_text(json.dumps(state, indent=1) + "\n")
    arriving.replace(path)


def _described(chain: LocalChain) -> Table:
    spec = CHAINS[chain.name]
    origin = "built here" if chain.is_built_here else "fork of the real network"
    table = Table(title=f"{chain.name} (chain {chain.chain_id}): {chain.rpc_url}", caption=origin, title_justify="left")
    table.add_column("what")
    table.add_column("where", no_wrap=True)
    for symbol, token in spec.tokens.items():
        table.add_row(symbol, token.address)
    table.add_section()
    for name, address in spec.contracts.items():
        table.add_row(name, address)
    table.add_section()
    for base, feed in spec.feeds.items():
        table.add_row(f"Chainlink {base}/USD", feed.address)
    table.add_section()
    table.add_row("pools", f"{len(spec.pools)}: " + ", ".join(sorted({p.venue.value for p in spec.pools})))
    return table


def _watch(devnet: Devnet, flow: OrderFlow | None) -> None:
    """Show a line of what moves, until interrupted or a chain is gone."""
    readers = [(CHAINS[name], DevRpc(chain.rpc_url)) for name, chain in devnet.chains.items()]

    def line() -> str:
        return " · ".join([*(_progress(spec, rpc) for spec, rpc in readers), _trading(flow)])

    try:
        with console.status(line()) as status:
            while True:
                time.sleep(STATUS_INTERVAL_S)
                status.update(line())
    except OSError as exc:
        raise AnvilFailed(f"a chain no longer answers: {exc}") from exc
    finally:
        for _, rpc in readers:
            rpc.close()


def _progress(spec: ChainSpec, rpc: DevRpc) -> str:
    block = int(rpc("eth_blockNumber"), 16)
    answer = feed_answer(rpc, spec, spec.native)
    return f"{spec.name} block {block}, {spec.native} {answer // UNIT}.{answer % UNIT:08d} USD"


def _trading(flow: OrderFlow | None) -> str:
    if flow is None:
        return "no order flow"
    counts = flow.counts
    return f"{counts.trades} trades, {counts.reverted} reverted, {counts.failed} failed"


if __name__ == "__main__":
    app()
