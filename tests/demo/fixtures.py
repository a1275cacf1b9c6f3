"""The demo's stack for end-to-end tests: chains with order flow, the service as a process, a wallet, three keys.

A pytest plugin, loaded by `tests/conftest.py`. One stack a worker: tests share its wallet, and must not count on
what it holds beyond their own doing.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from scripts.demo.show import Screen
from scripts.demo.stack import Cambist, Stack, running_stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Everything running, for the worker's whole run."""
    folder = tmp_path_factory.mktemp("stack")
    folder.chmod(0o700)
    with (folder / "screen.log").open("w") as log, running_stack(folder, Screen(Console(file=log))) as running:
        yield running


@pytest.fixture
def cambist(stack: Stack) -> Cambist:
    """The command line beside the stack's server, as its operator types it."""
    return Cambist(stack.folder, stack.rpc_urls)


@pytest.fixture
def client_environment(stack: Stack) -> dict[str, str]:
    """The environment of a client's shell: the demo's variables, and none of this machine's own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CAMBIST_")}
    return {**clean, "PYTHONPATH": str(Path(__file__).resolve().parents[2]), **stack.environment()}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything that uses the stack carries the marker `e2e`."""
    for item in items:
        if "stack" in getattr(item, "fixturenames", ()):
            item.add_marker("e2e")
