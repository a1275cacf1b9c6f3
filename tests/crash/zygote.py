"""A process that has imported everything and forks one life after another: an import costs seconds, a fork nothing.

Line by line: a life as JSON comes in; `{"pid": n}` goes out, then `{"status": n}` (negative: the signal). While a
life runs, the line `kill` ends it. It has one thread, so that a fork holds no lock of another.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

LONGEST_LIFE_S: Final = 300.0
"""Bounds a life that hangs: one takes a second or two, and many times that beside others."""
TIMED_OUT: Final = "timed_out"
KILL: Final = "kill\n"


def main() -> None:
    """Until standard input ends."""
    from tests.crash import child

    while line := sys.stdin.readline():
        if line == KILL:
            continue  # it came too late: that life had ended
        values = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os._exit(_life(child.main, values))
        print(json.dumps({"pid": pid}), flush=True)
        print(json.dumps(_wait(pid)), flush=True)


def _life(run: Any, values: Mapping[str, Any]) -> int:
    log = os.open(Path(values["folder"]) / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(0)
    try:
        run(values)
    except BaseException:  # noqa: BLE001  the last frame before the process ends
        traceback.print_exc()
        return 1
    return 0


def _wait(pid: int) -> dict[str, Any]:
    began, killed, timed_out = time.monotonic(), False, False
    watched = os.pidfd_open(pid)
    try:
        while True:
            ready, _, _ = select.select([watched, sys.stdin], [], [], LONGEST_LIFE_S)
            if watched in ready:
                break
            if ready:
                sys.stdin.readline()
            timed_out = timed_out or not ready
            if not killed:
                # Not reaped yet, so the number is still this process's.
                os.kill(pid, signal.SIGKILL)
                killed = True
    finally:
        os.close(watched)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return {"status": code, "seconds": round(time.monotonic() - began, 3), TIMED_OUT: timed_out}


class Zygote:
    """The other end."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from tests.crash.zygote import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            cwd=Path(__file__).parents[2],
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._process.communicate()

    def begin(self, values: Mapping[str, Any]) -> None:
        """Start a life."""
        self._send(json.dumps(values))
        self._read()

    def kill(self) -> None:
        """End it now. To be called once at most, from any thread, while it runs."""
        self._send(KILL.strip())

    def wait(self) -> dict[str, Any]:
        """How it ended."""
        return self._read()

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise EOFError("the zygote is gone")
        found: dict[str, Any] = json.loads(line)
        return found
