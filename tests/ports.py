"""Ports for servers that are told theirs before they open it."""

import secrets
import socket
from typing import Final

FIRST: Final = 20_000
LAST: Final = 32_000
"""Below those that the kernel gives to connections and to whoever asks for any (32768 and up on Linux): what was free
when it was looked at is still free when the server opens it."""


def free_port() -> int:
    """One that nobody listens at on this machine."""
    while True:
        port = FIRST + secrets.randbelow(LAST - FIRST)
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
