"""`make demo`: from nothing to a bot that trades and withdraws, and a person who makes a key; each step is checked.

python -m scripts.demo             run the bot, then keep everything running until Ctrl-C
python -m scripts.demo --once      run the bot and end; the exit status says whether every check held
python -m scripts.demo --detach    run the bot, leave everything running in the background
python -m scripts.demo --stop      end what --detach left
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx

from scripts.demo import bot, folder, keeper, person
from scripts.demo.checks import CheckFailed
from scripts.demo.client import Refused
from scripts.demo.show import Screen
from scripts.demo.stack import ChainSilent, StackFailed, named_if_silent, running_stack, with_invitation
from scripts.devnet.anvil import AnvilFailed
from scripts.devnet.artifacts import REPOSITORY, ArtifactError
from scripts.devnet.network import ALL as CHAINS
from scripts.devnet.network import WrongNetwork
from scripts.devnet.npm import NpmUnavailable, PackFailed
from scripts.interrupts import end_on_signals

FAILURES = (
    AnvilFailed,
    ArtifactError,
    NpmUnavailable,
    PackFailed,
    ChainSilent,
    StackFailed,
    WrongNetwork,
    CheckFailed,
    Refused,
    httpx.TransportError,
    folder.DemoRunning,
    keeper.KeeperFailed,
    TimeoutError,
)


def main() -> int:
    """Run the demo as asked; the answer is the exit status."""
    parser = argparse.ArgumentParser(prog="python -m scripts.demo", description=__doc__.splitlines()[0])
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--once", action="store_true", help="end after the bot, with its status")
    how.add_argument("--detach", action="store_true", help="leave chains and service running in the background")
    how.add_argument("--stop", action="store_true", help="end a detached demo")
    parser.add_argument("--folder", type=Path, default=folder.demo_folder(REPOSITORY), help="where to keep its data")
    asked = parser.parse_args()
    place: Path = asked.folder.resolve()
    screen = Screen()
    end_on_signals()
    try:
        if asked.stop:
            return _stop(place, screen)
        begin = partial(_detach if asked.detach else partial(_foreground, stay=not asked.once), place, screen)
        return _again_if_silent(begin, screen)
    except FAILURES as failure:
        screen.console.print(f"\n[bold red]The demo failed.[/] {type(failure).__name__}")
        screen.console.print(str(failure), markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        screen.console.print("\nEverything is stopped.")
        return 130


def _again_if_silent(begin: Callable[[], int], screen: Screen) -> int:
    """Run it, and once more from nothing if a local chain stood still meanwhile: nothing of the first try is left."""
    try:
        return begin()
    except ChainSilent as silent:
        screen.console.print(f"\n[bold yellow]Starting over, once:[/] {silent}.", soft_wrap=True)
    return begin()


def _foreground(place: Path, screen: Screen, *, stay: bool) -> int:
    began = time.monotonic()
    folder.fresh_folder(place)
    try:
        with running_stack(place, screen) as stack:
            folder.mark(place, url=stack.url)
            environment = with_invitation(stack)
            folder.write_environment(place, environment)
            bot.run(environment, screen)
            person.run(environment, screen)
            _finish(screen, began)
            if stay:
                _say_what_next(screen, stack.url, place)
                screen.console.print("\nRunning until [bold]Ctrl-C[/].")
                threading.Event().wait()
    finally:
        folder.unmark(place)
    return 0


def _detach(place: Path, screen: Screen) -> int:
    began = time.monotonic()
    if (other := folder.running_demo(place)) is not None:
        raise folder.DemoRunning(f"a demo is running already at {other.url}; `make demo-stop` ends it")
    environment = keeper.start(place, screen)
    rpc_urls = {chain: environment[f"CAMBIST_{chain.upper()}_RPC"] for chain in CHAINS}
    try:
        with named_if_silent(rpc_urls):
            bot.run(environment, screen)
            person.run(environment, screen)
    except BaseException:
        folder.stop_demo(place)
        raise
    _finish(screen, began)
    _say_what_next(screen, environment["CAMBIST_URL"], place)
    screen.console.print("\nRunning in the background; [bold]make demo-stop[/] ends it.")
    return 0


def _stop(place: Path, screen: Screen) -> int:
    demo = folder.stop_demo(place)
    screen.console.print("No demo is running." if demo is None else f"The demo at {demo.url} is stopped.")
    return 0


def _finish(screen: Screen, began: float) -> None:
    screen.chapter("Done")
    screen.fact(f"every check held, in {time.monotonic() - began:.0f} s")


def _say_what_next(screen: Screen, url: str, place: Path) -> None:
    shown = place.relative_to(Path.cwd()) if place.is_relative_to(Path.cwd()) else place
    screen.chapter("What next")
    for what, command in (
        ("every route, with examples", f"curl -s {url}/v1/openapi.json"),
        ("a price, without a key", f"curl -s '{url}/v1/ethereum/ticker?market=ETHUSDC'"),
        ("the keys of this demo, for your shell", f"set -a; . {shown}/env; set +a"),
        ("a signed request with curl", "bash docs/examples/request.sh read GET /v1/ethereum/balances"),
        (
            "the bot you just saw (scripts/demo/bot.py: read it, change it), again",
            ".venv/bin/python -m scripts.demo.bot",
        ),
    ):
        screen.console.print(f"  {what}\n    [cyan]{command}[/]", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
