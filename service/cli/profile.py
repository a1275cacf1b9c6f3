"""Which server and which key a trading command uses.

    CAMBIST_URL          the server; by default the one of this host's settings
    CAMBIST_KEY          the key
    CAMBIST_SECRET_FILE  a file (mode 600) with its secret

or one profile file (mode 600, TOML: url, key, secret) named by `--profile` or CAMBIST_PROFILE.

Guarantees: the secret comes from a file that only its owner can read, never from argv or the environment's value.
"""

import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from service.cli.failures import CommandFailed, ExitStatus
from service.cli.options import settings_of_host
from service.cli.secret_input import read_secret

_FIELDS = {"url", "key", "secret"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Where to and as whom."""

    url: str
    key: str
    secret: str = field(repr=False)


def load_profile(path: Path | None) -> Profile:
    """The profile in `path`, else the one the environment names.

    Raises:
        CommandFailed: something is missing, or a file is open to others.
    """
    named = path or (Path(name) if (name := os.environ.get("CAMBIST_PROFILE")) else None)
    return _from_file(named) if named is not None else _from_environment()


def _from_file(path: Path) -> Profile:
    try:
        document = tomllib.loads(read_secret(path, prompt="profile"))
    except tomllib.TOMLDecodeError:
        # `from None`: the parser quotes the line, which may be the secret's.
        raise CommandFailed("bad_profile", f"{path} is not TOML", status=ExitStatus.USAGE) from None
    if set(document) - _FIELDS or not all(isinstance(value, str) for value in document.values()):
        raise CommandFailed("bad_profile", f"{path} may have url, key and secret, as text", status=ExitStatus.USAGE)
    if "key" not in document or "secret" not in document:
        raise CommandFailed("bad_profile", f"{path} needs key and secret", status=ExitStatus.USAGE)
    return Profile(url=document.get("url") or server_url(), key=document["key"], secret=document["secret"])


def _from_environment() -> Profile:
    key, secret_file = os.environ.get("CAMBIST_KEY"), os.environ.get("CAMBIST_SECRET_FILE")
    if not key or not secret_file:
        raise CommandFailed(
            "key_needed",
            "trading commands use an API key, like any client",
            hint="Set CAMBIST_KEY and CAMBIST_SECRET_FILE, or give --profile FILE. `cambist my-key create` makes a key,"
            " and on the service's host `cambist key create`.",
            status=ExitStatus.USAGE,
        )
    return Profile(url=server_url(), key=key, secret=read_secret(Path(secret_file), prompt="secret"))


def server_url() -> str:
    """The service's address: CAMBIST_URL, else what this host's settings say. Raises: CommandFailed."""
    if url := os.environ.get("CAMBIST_URL"):
        return url.rstrip("/")
    settings = settings_of_host()
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"
