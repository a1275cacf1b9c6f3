"""The background process of a detached demo: holds chains and service until it is told to stop.

Anvil ends with the process that started it, so that a detached demo needs one that stays: this one, in a session
of its own, started by `python -m scripts.demo --detach` and ended by `--stop`.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

from rich.console import Console

from scripts.demo import folder
from scripts.demo.show import Screen
from scripts.demo.stack import running_stack, with_invitation
from scripts.devnet import artifacts
from scripts.interrupts import end_on_signals

START_S = 180.0
POLL_S = 0.1


class KeeperFailed(Exception):
    """The background process did not get everything started; the message ends with its log."""


def start(place: Path, screen: Screen) -> dict[str, str]:
    """Start the keeper in a fresh folder and wait until everything runs; the answer is the demo's environment.

    Raises:
        DemoRunning: another demo uses the folder.
        KeeperFailed: it ended, or was not ready in time.
    """
    # Here, where the person sees the progress of a first download.
    artifacts.ensure()
    folder.fresh_folder(place)
    log = place / "keeper.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "scripts.demo.keeper", str(place)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=artifacts.REPOSITORY,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_S
    with screen.waiting("starting two local chains and the service in the background"):
        while (environment := folder.read_environment(place)) is None:
            if process.poll() is not None:
                raise KeeperFailed(f"the background process ended with {process.returncode}:\n{log.read_text()}")
            if time.monotonic() > deadline:
                process.terminate()
                raise KeeperFailed(f"not ready within {START_S:.0f} s:\n{log.read_text()}")
            time.sleep(POLL_S)
    screen.console.print(log.read_text().rstrip(), markup=False)
    return environment


def main() -> int:
    """Hold everything until SIGTERM."""
    place = Path(sys.argv[1])
    end_on_signals()
    folder.mark(place)
    try:
        with running_stack(place, Screen(Console(highlight=False, width=110))) as stack:
            folder.mark(place, url=stack.url)
            folder.write_environment(place, with_invitation(stack))
            threading.Event().wait()
    except KeyboardInterrupt:
        return 0
    finally:
        folder.unmark(place)
    return 1


if __name__ == "__main__":
    sys.exit(main())
