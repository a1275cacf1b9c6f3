"""`python -m scripts.bench crash --trials 1000 --seed 1`: each benchmark is a subcommand, with an exit status."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)


@app.callback()
def bench() -> None:
    """Benchmarks and long proofs; each says by its exit status whether what it checks held."""


@app.command()
def crash(
    trials: Annotated[int, typer.Option(min=1, help="How many kill trials.")] = 1000,
    seed: Annotated[int, typer.Option(help="Which trials; the same seed gives the same ones.")] = 1,
    jobs: Annotated[int, typer.Option(min=1, help="Processes, each with its own chains.")] = 2,
    report: Annotated[Path | None, typer.Option(help="Write the report as JSON to this file.")] = None,
) -> None:
    """Kill -9 at random points under faults, restart, compare with the chain."""
    from scripts.bench.crash import run  # loads the whole service

    done = run(trials=trials, seed=seed, jobs=jobs, console=Console(), report_file=report)
    raise typer.Exit(0 if done.held and done.complete else 1)


if __name__ == "__main__":
    app()
