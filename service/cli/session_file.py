"""The session of a person on this host: which server, and the token, in one file that only its owner can read.

    CAMBIST_SESSION      the file; by default session.toml in the folder of the user's configuration for cambist

Guarantees: the file has mode 600 from its first byte on and is replaced whole; one that others can read is refused; a
password or a token is sent to this machine or over TLS only.
"""

import contextlib
import ipaddress
import os
import tempfile
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from service.cli.failures import CommandFailed, ExitStatus
from service.cli.profile import server_url
from service.cli.secret_input import read_secret

_FIELDS: Final = {"url", "token"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """Where, and the token of the session there."""

    url: str
    token: str = field(repr=False)


def session_path() -> Path:
    """Where the session of this user is kept."""
    if named := os.environ.get("CAMBIST_SESSION"):
        return Path(named)
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "cambist" / "session.toml"


def load_session() -> SignedIn:
    """Raises: CommandFailed: nobody is signed in here, or the file is open to others."""
    path = session_path()
    if not path.exists():
        raise CommandFailed("not_signed_in", "nobody is signed in on this host", hint="cambist sign-in NAME")
    try:
        document = tomllib.loads(read_secret(path, prompt="session"))
    except tomllib.TOMLDecodeError:
        # `from None`: the parser quotes the line, which may be the token's.
        raise CommandFailed("bad_session", f"{path} is not a session file", hint="cambist sign-in NAME") from None
    if set(document) != _FIELDS or not all(isinstance(value, str) for value in document.values()):
        raise CommandFailed("bad_session", f"{path} is not a session file", hint="cambist sign-in NAME")
    return SignedIn(url=document["url"], token=document["token"])


def keep_session(session: SignedIn) -> Path:
    """Write the file, in place of one that is there. Raises: CommandFailed."""
    path = session_path()
    text = f'url = "{session.url}"\ntoken = "{session.token}"\n'
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Made with mode 600, and only then named: nobody reads half of it, or all of it.
        descriptor, made = tempfile.mkstemp(dir=path.parent, prefix=".session-")
        try:
            with os.fdopen(descriptor, "w") as handle:
                handle.write(text)
            os.replace(made, path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(made)
            raise
    except OSError as exc:
        raise CommandFailed("file_not_made", f"{path}: {exc.strerror}", status=ExitStatus.UNREACHABLE) from exc
    return path


def forget_session() -> None:
    """Remove the file, if it is there."""
    session_path().unlink(missing_ok=True)


def private_url(given: str | None) -> str:
    """The server that a password may be sent to. Raises: CommandFailed: the way there is open to others."""
    url = given.rstrip("/") if given else server_url()
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or '"' in url or "\\" in url:
        raise CommandFailed("bad_url", f"{url} is not the address of a server", status=ExitStatus.USAGE)
    if parts.scheme == "http" and not is_this_machine(parts.hostname):
        raise CommandFailed(
            "way_not_private",
            f"{url} would carry the password in the clear",
            hint="Use its https address, or a tunnel to it.",
            status=ExitStatus.USAGE,
        )
    return url


def is_this_machine(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return host is not None and ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
