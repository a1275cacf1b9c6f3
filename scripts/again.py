"""Runs pytest, and asks again about the few tests that failed: `python -m scripts.again [pytest's arguments]`.

Six thousand tests that each fail once in a million runs for a reason of the machine fail one run in 170. So a failure
is looked at before it is believed: at most `FEW` failed tests are each run `TIMES` times more, alone, one after
another. Only if all of that passes does the run pass, and its last lines then name them as flaky: a defect to be found
and mended, with the first failure's story above. What is broken fails again; what fails one time in three still fails
most runs. Errors of collection, an interrupted run and more failures than `FEW` are final.

Not for the fast loop: `make check` believes the first answer.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import pytest

FEW: Final = 3
"""Failed tests that are asked again; more of them are no accident."""
TIMES: Final = 3
"""Runs that each of them has to pass, alone."""
LIMIT_S: Final = 900
"""For one such run: the longest test, with its chains."""
PLUGIN: Final = "scripts.again"
"""This module, as pytest imports it."""
FAILED_IN: Final = "TESTS_THAT_FAILED"
"""A variable of the environment: the file that a run leaves its failed tests in. Tests do not see it."""


class Failed:
    """Notes the ids of failed tests, of xdist's workers as well, and writes them at the end, a line each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ids: dict[str, None] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._ids[report.nodeid] = None

    def pytest_sessionfinish(self) -> None:
        self._path.write_text("".join(f"{each}\n" for each in self._ids), encoding="utf-8")


def pytest_configure(config: pytest.Config) -> None:
    """Pytest's hook: this module is given to it as a plugin. Workers of xdist report to this process."""
    if path := os.environ.pop(FAILED_IN, None):
        config.pluginmanager.register(Failed(Path(path)))


def run(arguments: Sequence[str]) -> tuple[int, list[str]]:
    """Runs pytest: its status, and the ids of the tests that failed."""
    with tempfile.TemporaryDirectory() as directory:
        noted = Path(directory) / "failed"
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", PLUGIN, *arguments],
            check=False,
            env={**os.environ, FAILED_IN: str(noted)},
        )
        return done.returncode, noted.read_text(encoding="utf-8").splitlines() if noted.exists() else []


def passes_alone(test: str) -> bool:
    """Whether a test passes by itself, in a process of its own."""
    try:
        done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-n", "0", test], check=False, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def verdict(status: int, failed: Sequence[str], alone: Callable[[str], bool]) -> tuple[int, str]:
    """The status to end with, and what to say of it. `alone` runs one test by itself and says whether it passed."""
    if status != pytest.ExitCode.TESTS_FAILED or not 0 < len(failed) <= FEW:
        return status, ""
    for test in failed:
        if not all(alone(test) for _ in range(TIMES)):
            return status, f"FAILED AGAIN, alone: {test}"
    named = "\n".join(f"  {test}" for test in failed)
    return 0, f"FLAKY: failed once, then passed {TIMES} times alone. Find out why; the failure is told above.\n{named}"


def main(arguments: Sequence[str]) -> int:
    """Runs pytest with `arguments`; answers the status to end with."""
    status, said = verdict(*run(arguments), passes_alone)
    if said:
        print(f"\n{said}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
