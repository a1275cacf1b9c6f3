"""The demo's folder: fresh for each run, marked with the processes that use it.

Guarantees: a run never finds another run's database, keys or journal; a demo that is still running is told,
never trampled on; the folder is closed to other users.
"""

import contextlib
import json
import os
import shlex
import shutil
import signal
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

STOP_TIMEOUT_S: Final = 45.0
"""The service itself takes up to 10 s to save and end, the chains some more; a busy machine is slower at all of it."""


class DemoRunning(Exception):
    """An earlier demo still runs; the message says how to end it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningDemo:
    """The process that holds chains and service, and when it started: a process id alone may be reused."""

    pid: int
    started: str
    url: str = ""


def demo_folder(repository: Path) -> Path:
    """Where the demo keeps everything."""
    return repository / ".cambist" / "demo"


def running_demo(folder: Path) -> RunningDemo | None:
    """The demo that uses the folder, if its process is alive."""
    try:
        found = RunningDemo(**json.loads((folder / "demo.json").read_text()))
    except (FileNotFoundError, json.JSONDecodeError, TypeError):
        return None
    return found if _start_of(found.pid) == found.started else None


def fresh_folder(folder: Path) -> None:
    """Empty the folder and mark it as this process's.

    Raises:
        DemoRunning: another demo uses it.
    """
    if (other := running_demo(folder)) is not None:
        raise DemoRunning(
            f"a demo is running already (process {other.pid}{', ' + other.url if other.url else ''});"
            " `make demo-stop` ends it"
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    mark(folder)


def mark(folder: Path, *, url: str = "") -> None:
    """Write that this process uses the folder."""
    pid = os.getpid()
    write_private(folder / "demo.json", json.dumps(asdict(RunningDemo(pid=pid, started=_start_of(pid), url=url))))


def unmark(folder: Path) -> None:
    """The demo has ended; its data stays to be looked at until the next one."""
    (folder / "demo.json").unlink(missing_ok=True)


def stop_demo(folder: Path) -> RunningDemo | None:
    """End the demo that uses the folder and wait for it; None when there is none.

    Raises:
        TimeoutError: it did not end.
    """
    demo = running_demo(folder)
    if demo is None:
        return None
    with contextlib.suppress(ProcessLookupError):
        os.kill(demo.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while _start_of(demo.pid) == demo.started:
        if time.monotonic() > deadline:
            raise TimeoutError(f"process {demo.pid} did not end within {STOP_TIMEOUT_S:.0f} s: kill -9 {demo.pid}")
        time.sleep(0.05)
    unmark(folder)
    return demo


def write_environment(folder: Path, variables: Mapping[str, str]) -> None:
    """`env` in the folder: `NAME=value` lines for a shell (`set -a; . .cambist/demo/env`), closed to others."""
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in variables.items()]
    write_private(folder / "env", "".join(lines))


def read_environment(folder: Path) -> dict[str, str] | None:
    """What `write_environment` wrote, or None before it did."""
    try:
        lines = (folder / "env").read_text().splitlines()
    except FileNotFoundError:
        return None
    return {name: shlex.split(value)[0] for name, _, value in (line.partition("=") for line in lines)}


def write_private(path: Path, text: str) -> None:
    """A file that only its owner can read, whole or absent."""
    arriving = path.with_name(path.name + ".arriving")
    arriving.unlink(missing_ok=True)
    descriptor = os.open(arriving, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as handle:
        handle.write(text)
    arriving.replace(path)


def _start_of(pid: int) -> str:
    """When the process started, in whatever unit the system counts; empty when there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return _start_by_signal(pid)
    # Field 22 of proc(5) counts from 1 and includes pid and name; a zombie has ended.
    return "" if fields[0] == "Z" else fields[19]


def _start_by_signal(pid: int) -> str:
    """Systems without /proc tell only that the process lives."""
    if Path("/proc/self").exists():
        return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        return "alive"
    return "alive"
