"""Ask the running server to do an act. Synchronous: the command line does one thing and ends."""

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from service.control.paths import socket_path
from service.control.protocol import MAX_LINE_BYTES, ActFailed, ControlUnavailable, decode_answer, encode_request

ANSWER_TIMEOUT_S: Final = 120.0
"""The slowest act opens a wallet: scrypt and opening balances on every chain."""


def ask(preferred: Path, act: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The act's result.

    Raises:
        ControlUnavailable: no server listens there.
        ActFailed: the server refused, with its code; or the connection broke and the outcome is unknown.
    """
    path = socket_path(preferred)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ANSWER_TIMEOUT_S)
        try:
            connection.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError) as exc:
            raise ControlUnavailable(str(path)) from exc
        except PermissionError as exc:
            raise ActFailed(
                "not_the_operator",
                f"the control socket {path} belongs to another user",
                hint="Run the command as the user who runs the service.",
            ) from exc
        try:
            connection.sendall(encode_request(act, params))
            line = _read_line(connection)
        except OSError as exc:
            raise ActFailed(
                "outcome_unknown",
                "the connection to the server broke before it answered",
                hint="Look with the matching list command whether the act was done before repeating it.",
            ) from exc
    if not line:
        raise ActFailed(
            "outcome_unknown",
            "the server closed the connection before it answered",
            hint="Look with the matching list command whether the act was done before repeating it.",
        )
    return decode_answer(line)


def _read_line(connection: socket.socket) -> bytes:
    received = bytearray()
    while not received.endswith(b"\n") and len(received) <= MAX_LINE_BYTES:
        piece = connection.recv(65536)
        if not piece:
            break
        received += piece
    return bytes(received)
