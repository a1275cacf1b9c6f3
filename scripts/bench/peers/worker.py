"""A library that is measured against, in a process of its own environment.

The process reads one line of JSON, what it works on, and answers with a line of JSON, its results; every further line
is one round, answered with its seconds. So start-up and our pipe are in no figure.
"""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from rich.console import Console

from scripts.bench.peers.environment import PeerUnavailable, ensure, version


class Peer:
    """The process: its results, and the seconds of each of its rounds."""

    def __init__(self, process: subprocess.Popen[str], *, name: str, given: Any) -> None:
        self._process = process
        self.name = name
        self._write(json.dumps(given))
        self.answers: list[int] = [int(answer) for answer in self._line()]
        self.seconds: list[float] = []

    def round(self) -> None:
        self._write("go")
        self.seconds.append(self._line())

    def median_us(self, units: int) -> float:
        """Of a unit, the first round not counted."""
        return statistics.median(self.seconds[1:]) / units * 1e6

    def _write(self, line: str) -> None:
        pipe = _pipe(self._process.stdin)
        pipe.write(line + "\n")
        pipe.flush()

    def _line(self) -> Any:
        line = _pipe(self._process.stdout).readline()
        if not line:
            raise PeerUnavailable(f"{self.name}'s process ended")
        return json.loads(line)


@contextmanager
def peer(package: str, *, script: str, given: Any, console: Console) -> Iterator[Peer | None]:
    """The package at work on `given` by a script of this folder; None where it cannot be had."""
    try:
        python = ensure(package)
    except PeerUnavailable as reason:
        console.print(f"{package} does not install here, and is left out: {reason}")
        yield None
        return
    worker = Path(__file__).parent / script
    with subprocess.Popen(
        [str(python), str(worker)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            yield Peer(process, name=f"{package} {version(python, package)}", given=given)
        finally:
            process.kill()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise TypeError("the process was started with pipes")
    return pipe
