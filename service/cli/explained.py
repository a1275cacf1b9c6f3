"""The ways in which the service cannot be put together or go on, each with a code, what to do and an exit status."""

import contextlib
from collections.abc import Generator

from chains.config import InvalidChainConfig
from chains.errors import ChainError, SigningError
from contracts.errors import InvalidData
from service.auth.secrets import MasterKeyUnusable
from service.build import ChainNotConfigured
from service.cli.failures import CommandFailed, ExitStatus
from service.control.paths import UnsafeSocketDirectory
from service.control.server import AnotherServer
from service.db.errors import DatabaseError, DatabaseInUse, WrongDatabase
from service.process import UnsafeBind
from service.roles import RoleNeedsPostgres
from service.workers.signers import SignerUnusable


@contextlib.contextmanager
def explained() -> Generator[None, None, None]:
    """Turn what the operator can mend into `CommandFailed`; other failures are bugs and come out as they are."""
    try:
        yield
    except UnsafeBind as exc:
        raise CommandFailed("unsafe_bind", str(exc), status=ExitStatus.USAGE) from exc
    except (DatabaseInUse, AnotherServer) as exc:
        hint = "cambist status shows the server that runs; give commands its settings (the same data directory)."
        raise CommandFailed("already_running", str(exc), hint=hint, status=ExitStatus.UNREACHABLE) from exc
    except WrongDatabase as exc:
        hint = "Give the endpoints of the chains it belongs to, or another data directory."
        raise CommandFailed("wrong_database", str(exc), hint=hint) from exc
    except DatabaseError as exc:
        raise CommandFailed("database_unusable", str(exc), hint="Is it installed? cambist init") from exc
    except MasterKeyUnusable as exc:
        raise CommandFailed("master_key_unusable", str(exc), hint="Is it installed? cambist init") from exc
    except (ChainNotConfigured, InvalidChainConfig) as exc:
        raise CommandFailed("bad_settings", str(exc), hint="cambist config check", status=ExitStatus.USAGE) from exc
    except InvalidData as exc:
        hint = "Correct the file that is named: docs/assets.md has the form of your own additions."
        raise CommandFailed("bad_data_file", str(exc), hint=hint, status=ExitStatus.USAGE) from exc
    except RoleNeedsPostgres as exc:
        hint = "Set CAMBIST_DATABASE_URL=postgresql://..., or leave out --role."
        raise CommandFailed("role_needs_postgres", str(exc), hint=hint, status=ExitStatus.USAGE) from exc
    except SignerUnusable as exc:
        raise CommandFailed("signer_unusable", str(exc), hint="cambist config check", status=ExitStatus.USAGE) from exc
    except SigningError as exc:
        raise CommandFailed("keystore_unusable", str(exc), hint="Is it the right keystore password?") from exc
    except UnsafeSocketDirectory as exc:
        raise CommandFailed("directory_open_to_others", str(exc)) from exc
    except ChainError as exc:
        hint = "cambist config check asks every endpoint."
        raise CommandFailed("chain_unreachable", str(exc), hint=hint, status=ExitStatus.UNREACHABLE) from exc
