"""Runs the server and turns the ways it can fail into a code and an exit status."""

import asyncio

import structlog

from chains import crashpoints
from chains.errors import ChainError, SigningError
from service.auth.secrets import MasterKeyUnusable
from service.build import ChainNotConfigured
from service.cli.failures import CommandFailed, ExitStatus
from service.control.paths import UnsafeSocketDirectory
from service.control.server import AnotherServer
from service.db.errors import DatabaseError, DatabaseInUse, WrongDatabase
from service.observability.logs import configure_logging
from service.process import UnsafeBind, new_event_loop, reasons
from service.serving import serve
from service.settings import Settings

_log = structlog.get_logger("cambist.process")


def run_server(settings: Settings, keystore_password: str | None) -> None:
    """Serve until a signal.

    Raises:
        CommandFailed: it could not start, or a part of it failed (the log says which, with its traceback).
    """
    configure_logging(settings)
    crashpoints.arm()
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(serve(settings, keystore_password=keystore_password))
    except UnsafeBind as exc:
        raise CommandFailed("unsafe_bind", str(exc), status=ExitStatus.USAGE) from exc
    except (DatabaseInUse, AnotherServer) as exc:
        raise CommandFailed("already_running", str(exc), hint="cambist status shows the server that runs.") from exc
    except WrongDatabase as exc:
        hint = "Give the endpoints of the chains it belongs to, or another data directory."
        raise CommandFailed("wrong_database", str(exc), hint=hint) from exc
    except (MasterKeyUnusable, UnsafeSocketDirectory, ChainNotConfigured, DatabaseError, SigningError) as exc:
        hint = "Is it installed? cambist init; cambist config check"
        raise CommandFailed("cannot_start", str(exc), hint=hint) from exc
    except ChainError as exc:
        raise CommandFailed(
            "chain_unreachable", str(exc), hint="cambist config check", status=ExitStatus.UNREACHABLE
        ) from exc
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
