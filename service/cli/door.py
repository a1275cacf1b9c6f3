"""The owner's acts from the command line: through the running server, else on the database under its lock.

Both ways run the same functions (`service.control.acts`); which one was taken shows only in the audit line.
"""

import asyncio
import os
from collections.abc import Mapping
from typing import Any, Final, TextIO

from service.cli.failures import CommandFailed, ExitStatus
from service.cli.output import progress
from service.control.client import ask
from service.control.protocol import ActFailed, ControlUnavailable
from service.control.server import this_operator
from service.settings import Settings

LOG_NAME: Final = "operator.log"
"""In the data directory: what was done while no server ran, whose log it would be in else."""


def act(settings: Settings, name: str, params: Mapping[str, Any], *, doing: str) -> dict[str, Any]:
    """Do an owner's act; `doing` is shown beside the spinner.

    Raises:
        CommandFailed: it was refused, with the act's code.
    """
    with progress(doing):
        try:
            try:
                return ask(settings.control_socket, name, params)
            except ControlUnavailable:
                return asyncio.run(_directly(settings, name, params))
        except ActFailed as failure:
            status = ExitStatus.UNKNOWN if failure.code == "outcome_unknown" else ExitStatus.REFUSED
            raise CommandFailed(failure.code, failure.message, hint=failure.hint, status=status) from failure


async def _directly(settings: Settings, name: str, params: Mapping[str, Any]) -> dict[str, Any]:
    # The whole service takes a second to load, which a command that talks to a running server need not wait for.
    from service.build import build
    from service.cli.explained import explained
    from service.control.acts import ACTS, perform
    from service.observability.logs import configure_logging

    # The audit line must outlive the command, and standard error is the person's.
    with explained(), _operator_log(settings) as log:
        configure_logging(settings, log)
        asks_chains = name not in ACTS or ACTS[name].asks_chains
        services = await build(settings if asks_chains else settings.model_copy(update={"rpc": {}, "signers": {}}))
        try:
            return dict(await perform(services, name, params, this_operator()))
        finally:
            await services.close()


def _operator_log(settings: Settings) -> TextIO:
    if not settings.data_dir.is_dir():
        raise CommandFailed("not_installed", f"there is no {settings.data_dir}", hint="cambist init")
    descriptor = os.open(settings.data_dir / LOG_NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    return os.fdopen(descriptor, "a")
