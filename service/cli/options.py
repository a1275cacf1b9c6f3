"""Options and settings that several commands share."""

from typing import Annotated

import typer
from pydantic import ValidationError

from service.cli.failures import CommandFailed, ExitStatus
from service.settings import Settings, load_settings

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]


def settings_of_host() -> Settings:
    """The settings of this host (environment and cambist.toml), as the server reads them.

    Raises:
        CommandFailed: a setting is wrong; which one, never its value.
    """
    try:
        return load_settings()
    except ValidationError as exc:
        lines = [f"{'.'.join(str(part) for part in error['loc'])}: {error['msg']}" for error in exc.errors()]
        raise CommandFailed(
            "bad_settings",
            "; ".join(lines),
            hint="See docs/operations.md, or `cambist config check`.",
            status=ExitStatus.USAGE,
        ) from None
