"""What all tests of the service have: key files that open quickly, and what is the same in each is made once."""

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import pytest
import typer.main
import typer.testing

from chains.config import load_chains
from chains.signing.keystore import MIN_SCRYPT_N, Keystore
from contracts.assets import load_assets
from contracts.deployments import load_deployments


@pytest.fixture(scope="session", autouse=True)
def light_keystores() -> Iterator[None]:
    """A service's key files cost milliseconds here, not the second that they cost an attacker."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.build.Keystore", partial(Keystore, scrypt_n=MIN_SCRYPT_N))
        yield


@pytest.fixture(scope="session", autouse=True)
def data_read_once() -> Iterator[None]:
    """The packaged data files do not change within a run, and reading them is half of what a service's start takes."""
    chains, assets, deployments = once(load_chains), once(load_assets), once(load_deployments)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.build.load_chains", chains)
        patch.setattr("service.build.load_assets", assets)
        for module in ("build", "control.rejecting", "keys.ending", "withdrawals.ending"):
            patch.setattr(f"service.{module}.load_deployments", deployments)
        yield


@pytest.fixture(scope="session", autouse=True)
def commands_once() -> Iterator[None]:
    """Typer makes all commands anew for each call: a process makes one call, and tests make hundreds."""
    made = cache(typer.main.get_command)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("typer.main.get_command", made)
        patch.setattr("typer.testing._get_command", made)
        yield


def once(load: Callable[..., Any]) -> Callable[..., Any]:
    """As `load`, whose packaged files are read the first time only; an operator's file is read each time."""
    remembered = cache(load)

    def loaded(*args: Any, **named: Any) -> Any:
        files = [found for found in (*args, *named.values()) if found is not None and not isinstance(found, int)]
        return (load if files else remembered)(*args, **named)

    return loaded
