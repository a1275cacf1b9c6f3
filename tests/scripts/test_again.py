"""What a failed test is asked again, and what a run ends with: with made-up tests and a real pytest."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from scripts.again import FEW, TIMES, verdict

ROOT: Final = Path(__file__).parents[2]

ACCIDENT: Final = """
import os
from pathlib import Path

def test_fails_at_first():
    assert not [name for name in os.environ if "FAILED" in name]
    ran_before("{name}", fails={fails})

def ran_before(name, *, fails):
    runs = Path(__file__).with_name(name + ".runs")
    before = len(runs.read_text()) if runs.exists() else 0
    runs.write_text("x" * (before + 1))
    assert before >= fails
"""

PLAIN: Final = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "-p xdist -p no:cacheprovider"}
"""A pytest that starts in a moment."""


def made_up(directory: Path, **fails: int) -> Path:
    """Test modules that fail as many times and pass then; pytest's settings are not the project's."""
    (directory / "pytest.ini").write_text("[pytest]\n")
    for name, times in fails.items():
        (directory / f"test_{name}.py").write_text(ACCIDENT.format(name=name, fails=times))
    return directory


def again(directory: Path, *options: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.again", "-q", *options],
        capture_output=True, text=True, timeout=120, check=False, cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT), **PLAIN},
    )  # fmt: skip
    return done.returncode, done.stdout


@pytest.mark.deep
@pytest.mark.parametrize("workers", [0, 2])
def test_what_failed_once_and_passes_alone_passes_and_is_named(tmp_path: Path, workers: int) -> None:
    status, said = again(made_up(tmp_path, steady=0, accident=1), "-n", str(workers))
    assert status == 0
    assert said.strip().splitlines()[-2].startswith("FLAKY")
    assert said.strip().splitlines()[-1].endswith("test_accident.py::test_fails_at_first")
    assert len((tmp_path / "accident.runs").read_text()) == 1 + TIMES
    assert len((tmp_path / "steady.runs").read_text()) == 1, "what passed is not run again"


@pytest.mark.deep
@pytest.mark.parametrize("fails", [2, TIMES, 100])
def test_what_fails_again_alone_fails_the_run(tmp_path: Path, fails: int) -> None:
    status, said = again(made_up(tmp_path, broken=fails))
    assert status == pytest.ExitCode.TESTS_FAILED
    assert "FAILED AGAIN" in said
    assert "FLAKY" not in said


@pytest.mark.deep
def test_a_run_that_passes_ends_as_it_did_and_says_nothing_more(tmp_path: Path) -> None:
    status, said = again(made_up(tmp_path, steady=0))
    assert (status, "FLAKY" in said) == (0, False)


@pytest.mark.deep
def test_a_module_that_cannot_be_read_is_final(tmp_path: Path) -> None:
    made_up(tmp_path)
    (tmp_path / "test_unreadable.py").write_text("import nothing_of_that_name")
    status, said = again(tmp_path)
    assert status == pytest.ExitCode.INTERRUPTED
    assert "FLAKY" not in said


def test_more_failures_than_a_few_are_no_accident() -> None:
    def never(test: str) -> bool:
        raise AssertionError(test)

    assert verdict(1, ["t"] * (FEW + 1), never) == (1, "")
    assert verdict(1, [], never) == (1, ""), "a status that no test explains"
    assert verdict(2, ["t"], never) == (2, ""), "an interrupted run"
    assert verdict(0, [], never) == (0, "")
    assert verdict(1, ["t"] * FEW, lambda test: True)[0] == 0


def test_each_of_them_has_to_pass_each_time() -> None:
    ran: list[str] = []

    def alone(test: str) -> bool:
        ran.append(test)
        return len(ran) < TIMES + 2

    assert verdict(1, ["a", "b"], alone)[0] == 1
    assert ran == ["a"] * TIMES + ["b"] * 2
