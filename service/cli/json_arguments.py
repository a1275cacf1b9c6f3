"""Arguments of contract functions as they are typed: lists and tuples as JSON, all else as text, numbers too."""

from typing import Any

import orjson

from service.cli.failures import CommandFailed, ExitStatus


def json_argument(text: str) -> Any:
    """A list, an object or a bool as JSON; all else is text, numbers too. Raises: CommandFailed."""
    if text in ("true", "false") or text.startswith(("[", "{")):
        try:
            return _as_text(orjson.loads(text))
        except orjson.JSONDecodeError as exc:
            raise CommandFailed("bad_argument", f"{text!r} is not JSON", status=ExitStatus.USAGE) from exc
    return text


def _as_text(value: Any) -> Any:
    """The API takes whole numbers as text: many clients' JSON loses their digits."""
    match value:
        case bool():
            return value
        case int():
            return str(value)
        case list():
            return [_as_text(item) for item in value]
        case dict():
            return {name: _as_text(item) for name, item in value.items()}
        case other:
            return other
