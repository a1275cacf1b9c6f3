"""The demo as a newcomer starts it, and what is left when it ends, in whatever way."""

import contextlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]  # ships no types
import pytest

from scripts.demo.folder import read_environment, running_demo
from scripts.devnet.artifacts import REPOSITORY, ensure

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

START_S = 240.0
GONE_S = 60.0
BOT_S = 400.0
STOP_S = 120.0
"""Bounds of a wait each, no promises."""
VARIABLES = {
    "CAMBIST_URL",
    "CAMBIST_ETHEREUM_RPC",
    "CAMBIST_POLYGON_RPC",
    "CAMBIST_READ_KEY",
    "CAMBIST_READ_SECRET",
    "CAMBIST_TRADE_KEY",
    "CAMBIST_TRADE_SECRET",
    "CAMBIST_WITHDRAW_KEY",
    "CAMBIST_WITHDRAW_SECRET",
    "CAMBIST_WITHDRAW_ADDRESS",
    "CAMBIST_INVITATION",
}


@pytest.fixture(autouse=True)
def artifacts() -> None:
    """Fetched here, so that no time limit below counts a download."""
    ensure()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "demo"


def demo(place: Path, *flags: str) -> subprocess.Popen[str]:
    """Started as a shell without job control starts `command &`: with SIGINT ignored."""
    return subprocess.Popen(
        [sys.executable, "-m", "scripts.demo", "--folder", str(place), *flags],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=REPOSITORY,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_IGN),
    )


@contextlib.contextmanager
def started(place: Path) -> Iterator[tuple[subprocess.Popen[str], Sequence[psutil.Process]]]:
    """A demo in the foreground whose service answers, and all its processes but itself."""
    process = demo(place)
    try:
        wait_until(lambda: read_environment(place) is not None or process.poll() is not None, START_S)
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        yield process, psutil.Process(process.pid).children(recursive=True)
    finally:
        process.kill()
        process.communicate()


def wait_until(holds: object, seconds: float) -> None:
    assert callable(holds)
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


def is_alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def all_gone(processes: Sequence[psutil.Process]) -> bool:
    return not any(is_alive(process) for process in processes)


def names(processes: Sequence[psutil.Process]) -> str:
    return " ".join(" ".join(process.cmdline()) for process in processes)


def follow_the_advice(output: str) -> None:
    """Run every command that the demo prints for a person to copy, in one shell, in order."""
    commands = re.findall(r"^    (\S.*)$", output[output.index("What next") :], re.MULTILINE)
    assert len(commands) >= 5
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(commands)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=BOT_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every check held" in done.stdout


def test_once_runs_the_bot_and_ends_with_status_0(place: Path) -> None:
    process = demo(place, "--once")
    output, _ = process.communicate(timeout=BOT_S)
    assert process.returncode == 0, output
    assert "every check held" in output
    assert running_demo(place) is None


def test_detached_it_stays_can_be_traded_with_again_and_is_stopped(place: Path) -> None:
    process = demo(place, "--detach")
    output, _ = process.communicate(timeout=BOT_S)
    assert process.returncode == 0, output
    environment = read_environment(place)
    keeper = running_demo(place)
    assert environment is not None
    assert keeper is not None
    try:
        assert set(environment) == VARIABLES
        assert (place / "env").stat().st_mode & 0o777 == 0o600
        assert httpx.get(environment["CAMBIST_URL"] + "/readyz").status_code == 200
        processes = [psutil.Process(keeper.pid), *psutil.Process(keeper.pid).children(recursive=True)]
        second = demo(place, "--once")
        assert "is running already" in second.communicate(timeout=STOP_S)[0]
        assert second.returncode == 1
        follow_the_advice(output)
    finally:
        stop = demo(place, "--stop")
        stopped, _ = stop.communicate(timeout=STOP_S)
    assert stop.returncode == 0, stopped
    assert all_gone(processes)
    assert running_demo(place) is None


def test_ctrl_c_ends_everything(place: Path) -> None:
    with started(place) as (process, children):
        process.send_signal(signal.SIGINT)
        assert process.wait(GONE_S) == 130
        wait_until(lambda: all_gone(children), GONE_S)
    assert running_demo(place) is None


def test_killed_it_leaves_no_chain_and_no_service_behind(place: Path) -> None:
    with started(place) as (process, children):
        assert names(children).count("--load-state") == 2
        assert "serve" in names(children)
        process.kill()
        process.wait()
        wait_until(lambda: all_gone(children), GONE_S)
    assert running_demo(place) is None
