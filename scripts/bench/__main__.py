"""`python -m scripts.bench crash --trials 1000 --seed 1`: each benchmark is a subcommand, with an exit status."""

import logging
from pathlib import Path
from typing import Annotated, NoReturn

import structlog
import typer
from rich.console import Console

from scripts.bench.results import Bar, all_held, bars_table

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)


@app.callback()
def bench() -> None:
    """Benchmarks and long proofs; each says by its exit status whether what it checks held."""


@app.command()
def crash(
    trials: Annotated[int, typer.Option(min=1, help="How many kill trials.")] = 1000,
    seed: Annotated[int, typer.Option(help="Which trials; the same seed gives the same ones.")] = 1,
    jobs: Annotated[int, typer.Option(min=1, help="Processes, each with its own chains.")] = 2,
    postgres: Annotated[bool, typer.Option(help="On a PostgreSQL server of its own, instead of SQLite.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write the report as JSON to this file.")] = None,
) -> None:
    """Kill -9 at random points under faults, restart, compare with the chain."""
    from scripts.bench.crash import run  # loads the whole service

    done = run(trials=trials, seed=seed, jobs=jobs, on_postgres=postgres, console=Console(), report_file=report)
    raise typer.Exit(0 if done.held and done.complete else 1)


@app.command()
def sending(
    one: Annotated[int, typer.Option(min=100, help="Withdrawals of the one wallet.")] = 3000,
    wallets: Annotated[int, typer.Option(min=1, help="Wallets of the second run.")] = 20,
    each: Annotated[int, typer.Option(min=10, help="Withdrawals of each of them.")] = 200,
    seed: Annotated[int, typer.Option(help="Which calls are lost.")] = 1,
) -> None:
    """Transactions a second, every durability rule on, beside a web3.py loop and the node's own maximum."""
    from scripts.bench.sending import run  # loads the whole service

    quiet()
    raise typer.Exit(0 if run(one=one, each=each, wallets=wallets, seed=seed, console=Console()) else 1)


@app.command()
def recovery(
    count: Annotated[int, typer.Option(min=20, help="Open transactions.")] = 10_000,
) -> None:
    """How soon stored bytes are sent again after a start."""
    from scripts.bench.recovery import run

    quiet()
    raise typer.Exit(0 if run(count=count, console=Console()) else 1)


@app.command()
def signing() -> None:
    """A signature beside coincurve alone and eth_account."""
    from scripts.bench.signing import run

    raise typer.Exit(0 if run(console=Console()) else 1)


@app.command()
def quotes(
    count: Annotated[int, typer.Option(min=100, help="Random quotes of the proof.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Which quotes; the same seed gives the same ones.")] = 1,
    peers: Annotated[bool, typer.Option(help="Install degenbot into the cache folder and measure it too.")] = True,
) -> None:
    """Quotes from memory against QuoterV2 and Router02, to the wei, and beside web3.py and degenbot in time."""
    from scripts.bench.quotes import run

    quiet()
    judge("quotes", run(count=count, seed=seed, peers=peers, console=Console()))


@app.command()
def balances(
    seed: Annotated[int, typer.Option(help="Which wallets and amounts.")] = 1,
    peers: Annotated[bool, typer.Option(help="Install `multicall` into the cache folder and measure it too.")] = True,
) -> None:
    """10,000 balances at one block by each way, beside web3.py, the `multicall` package and each way's floor."""
    from scripts.bench.balances import run

    quiet()
    judge("balances", run(seed=seed, peers=peers, console=Console()))


@app.command()
def state(
    blocks: Annotated[int, typer.Option(min=20, help="Blocks of order flow.")] = 1_000,
    reorgs: Annotated[int, typer.Option(min=0, help="Reorgs of 1 to 8 blocks among them.")] = 100,
    seed: Annotated[int, typer.Option(help="Which flow; the same seed gives the same one.")] = 1,
) -> None:
    """Pool states held in memory against fresh loads, through order flow and reorgs."""
    from scripts.bench.state import run

    judge("state", run(blocks=blocks, reorgs=reorgs, seed=seed, console=Console()))


@app.command()
def jsonrpc(
    seed: Annotated[int, typer.Option(help="Which accounts and amounts.")] = 1,
) -> None:
    """One small read by our transport, client and pool, beside aiohttp, AsyncWeb3, httpx and a bare stream."""
    from scripts.bench.jsonrpc import run

    quiet()
    judge("JSON-RPC", run(seed=seed, console=Console()))


@app.command()
def logs(seed: Annotated[int, typer.Option(help="Which recipients and amounts.")] = 1) -> None:
    """10,000 logs in one eth_getLogs, beside web3.py and the floor."""
    from scripts.bench.logs import run

    judge("logs", run(seed=seed, console=Console()))


@app.command()
def routing(
    cases: Annotated[int, typer.Option(min=10, help="Trades beside smart-order-router.")] = 200,
    seed: Annotated[int, typer.Option(help="Which market and trades; the same seed gives the same ones.")] = 1,
    peer: Annotated[bool, typer.Option(help="Install smart-order-router into the cache folder and run it too.")] = True,
) -> None:
    """Routes beside Uniswap's smart-order-router on the same Anvil, and beside the convex bound of any router."""
    from scripts.bench.routing import run

    quiet()
    judge("routing", run(cases=cases, seed=seed, peer=peer, console=Console()))


@app.command()
def http(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; one more comes first and is not counted.")] = 9,
) -> None:
    """Signed hot reads of a running service, beside bare ASGI, bare Starlette and FastAPI as people write it."""
    from scripts.bench.http import run  # loads the whole service

    quiet()
    judge("HTTP", run(console=Console(), rounds=rounds))


@app.command()
def keeper(
    blocks: Annotated[int, typer.Option(min=40, help="Blocks of order flow on a local chain.")] = 2_000,
    reorgs: Annotated[int, typer.Option(min=0, help="Reorgs of 1 to 8 blocks among them.")] = 120,
    in_memory: Annotated[int, typer.Option(min=100, help="Blocks in memory.")] = 5_000,
    seed: Annotated[int, typer.Option(help="Which flow and orders; the same seed gives the same ones.")] = 1,
) -> None:
    """Resting orders through order flow, reorgs and deaths: none outside its limit, none left that could trade."""
    from scripts.bench.keeper import run

    quiet()
    judge("resting orders", run(blocks=blocks, reorgs=reorgs, in_memory=in_memory, seed=seed, console=Console()))


@app.command(name="all")
def everything() -> None:
    """Quotes, routing, balances, logs and JSON-RPC in turn, and one table of their bars."""
    from scripts.bench.everything import run

    quiet()
    raise typer.Exit(0 if run(console=Console()) else 1)


def judge(title: str, bars: list[Bar]) -> NoReturn:
    """Print the bars, and exit by whether they are held."""
    console = Console()
    console.print(bars_table(bars, title=title))
    raise typer.Exit(0 if all_held(bars) else 1)


def quiet() -> None:
    """What is lost on purpose needs no warning each."""
    logging.disable(logging.WARNING)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))


if __name__ == "__main__":
    app()
