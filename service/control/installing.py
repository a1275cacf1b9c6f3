"""Setting up an installation on this host: directories, master key, keystore password, database, account.

Guarantees: repeating it changes nothing that is there; no file that exists is overwritten; directories are 0700 and
secret files 0600 from the moment they exist.
"""

import os
import secrets
import stat
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from service.accounts.names import InvalidName
from service.accounts.people import NotTheOwner, account_by_name, ensure_account
from service.audit.appending import append
from service.audit.model import Actor, ActorKind
from service.audit.recording import account_made
from service.auth.secrets import MasterKey, MasterKeyUnusable
from service.clock import SystemClock
from service.control.protocol import ActFailed
from service.control.server import this_operator
from service.db.engine import Database
from service.db.errors import DatabaseError
from service.settings import Settings

PASSWORD_BYTES: Final = 32


async def install(settings: Settings, *, account: str, owner: str) -> dict[str, str]:
    """Make what is missing; the answer says where everything is.

    Raises:
        ActFailed: something there cannot be used, with what to do.
    """
    for directory in (settings.data_dir, settings.keystore_dir):
        _private_directory(directory)
    try:
        if not settings.master_key_file.exists():
            MasterKey.create(settings.master_key_file)
        master = MasterKey.load(settings.master_key_file)
    except (MasterKeyUnusable, OSError) as exc:
        raise ActFailed("master_key_unusable", str(exc)) from exc
    if settings.keystore_password_file is not None and not settings.keystore_password_file.exists():
        _write_password(settings.keystore_password_file)
    try:
        db = await Database.open(settings.database_address)
        try:
            await db.migrate()
            now_ms = SystemClock().now_ms()
            await db.run(lambda c: _ensure_account(c, account, owner=owner, master=master, now_ms=now_ms))
        finally:
            await db.close()
    except DatabaseError as exc:
        raise ActFailed("database_unusable", str(exc)) from exc
    except InvalidName as exc:
        raise ActFailed("bad_name", str(exc)) from exc
    except NotTheOwner as exc:
        raise ActFailed("not_the_owner", str(exc), hint="Give the owner's name with --owner.") from exc
    password_file = settings.keystore_password_file
    return {
        "data directory": str(settings.data_dir),
        "master key": f"{settings.master_key_file} (id {master.id})",
        "keystore": str(settings.keystore_dir),
        "keystore password": "asked at start" if password_file is None else str(password_file),
        "database": "as configured" if settings.database_url is not None else "SQLite in the data directory",
        "account": f"{account}, owned by {owner}",
    }


def _ensure_account(c: Connection, name: str, *, owner: str, master: MasterKey, now_ms: int) -> None:
    """The account, with an entry in the audit log where it was made now."""
    is_there = account_by_name(c, name) is not None
    account = ensure_account(c, name, owner=owner, master=master, now_ms=now_ms)
    if is_there:
        return
    operator = this_operator()
    actor = Actor(kind=ActorKind.OPERATOR, id=f"{operator.name}:{operator.uid}")
    append(c, [account_made(account, owner=owner, actor=actor)], master=master, now_ms=now_ms, chain=account.id)


def _private_directory(path: Path) -> None:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.stat()
    if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ActFailed("directory_open_to_others", f"{path} is open to other users", hint=f"chmod 700 {path}")


def _write_password(path: Path) -> None:
    """A password nobody has to remember: whoever reads this file or the running process has the keys anyway."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(PASSWORD_BYTES) + "\n")
        file.flush()
        os.fsync(file.fileno())
