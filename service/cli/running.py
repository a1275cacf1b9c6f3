"""Runs the server, and ends the command with a code and a status when it cannot start or go on."""

import asyncio
from typing import Final

import structlog

from service.cli.explained import explained
from service.cli.failures import CommandFailed, ExitStatus
from service.observability.logs import configure_logging
from service.process import new_event_loop, reasons
from service.roles import Role
from service.serving import serve
from service.settings import Settings

_log: Final = structlog.get_logger("cambist.process")


def run_server(settings: Settings, keystore_password: str | None, *, role: Role) -> None:
    """Serve until a signal.

    Raises:
        CommandFailed: it could not start, or a part of it failed (the log says which, with its traceback).
    """
    configure_logging(settings)
    try:
        with explained(), asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(serve(settings, keystore_password=keystore_password, role=role))
    except OSError as exc:
        raise CommandFailed(
            "address_unusable",
            f"{settings.host}:{settings.port}: {exc.strerror or exc}",
            hint="Choose another CAMBIST_PORT, or end what listens there.",
            status=ExitStatus.UNREACHABLE,
        ) from exc
    except BaseExceptionGroup as group:
        for reason in reasons(group):
            _log.critical("part failed", error=type(reason).__name__, exc_info=reason)
        raise CommandFailed(
            "part_failed",
            "; ".join(f"{type(reason).__name__}: {reason}" for reason in reasons(group)),
            hint="The log has the details. Let a supervisor start it again: what it was doing is in its database.",
        ) from group
