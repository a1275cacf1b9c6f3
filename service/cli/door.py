"""The owner's acts from the command line: through the running server, else on the database under its lock.

Both ways run the same functions (`service.control.acts`); which one was taken shows only in the audit line.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from service.cli.failures import CommandFailed, ExitStatus
from service.cli.output import progress
from service.control.client import ask
from service.control.protocol import ActFailed, ControlUnavailable
from service.control.server import this_operator
from service.db.errors import DatabaseInUse
from service.settings import Settings


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
        except DatabaseInUse as exc:
            raise CommandFailed(
                "database_in_use",
                "another process has the database, and does not answer on this control socket",
                hint="Run the command with the settings of the running server (same data directory).",
                status=ExitStatus.UNREACHABLE,
            ) from exc


async def _directly(settings: Settings, name: str, params: Mapping[str, Any]) -> dict[str, Any]:
    # The whole service takes a second to load, which a command that talks to a running server need not wait for.
    from service.build import build
    from service.control.acts import perform

    services = await build(settings)
    try:
        return dict(await perform(services, name, params, this_operator()))
    finally:
        await services.close()
