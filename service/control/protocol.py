"""The wire format of the control socket: one JSON line asks, one JSON line answers, then the connection closes.

{"act": "key.list", "params": {}}
{"ok": true, "result": {...}}     or     {"ok": false, "error": {"code", "message", "hint"}}
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson

MAX_LINE_BYTES: Final = 256 * 1024
"""A keystore file fits many times over; a runaway client does not."""


class ActFailed(Exception):
    """An act was refused or could not be done. `code` is stable; `hint` says what to do."""

    def __init__(self, code: str, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


class ControlUnavailable(Exception):
    """No server listens on the socket."""


def encode_request(act: str, params: Mapping[str, Any]) -> bytes:
    """One request line."""
    return orjson.dumps({"act": act, "params": dict(params)}) + b"\n"


def decode_request(line: bytes) -> tuple[str, Mapping[str, Any]]:
    """(act, params) of a request line.

    Raises:
        ActFailed: it is not such a line.
    """
    document = _object(line)
    act, params = document.get("act"), document.get("params", {})
    if not isinstance(act, str) or not isinstance(params, dict):
        raise ActFailed("bad_request", "a request is {act: text, params: object}")
    return act, params


def encode_result(result: Mapping[str, Any]) -> bytes:
    """One success line."""
    return orjson.dumps({"ok": True, "result": dict(result)}) + b"\n"


def encode_failure(failure: ActFailed) -> bytes:
    """One failure line."""
    error = {"code": failure.code, "message": failure.message, "hint": failure.hint}
    return orjson.dumps({"ok": False, "error": error}) + b"\n"


def decode_answer(line: bytes) -> dict[str, Any]:
    """The result of an answer line.

    Raises:
        ActFailed: the line says so, or is not an answer.
    """
    document = _object(line)
    if document.get("ok") is True and isinstance(document.get("result"), dict):
        result: dict[str, Any] = document["result"]
        return result
    error = document.get("error")
    if not isinstance(error, dict):
        raise ActFailed(
            "bad_answer", "the server's answer was not understood", hint="Is it the same version of Cambist?"
        )
    raise ActFailed(
        str(error.get("code", "failed")), str(error.get("message", "the act failed")), hint=str(error.get("hint", ""))
    )


def _object(line: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError as exc:
        raise ActFailed("bad_request", "not a JSON line") from exc
    if not isinstance(document, dict):
        raise ActFailed("bad_request", "not a JSON object")
    return document
