"""The least that talking to a node takes: ready-made HTTP requests on one open socket, answers as bytes."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterable, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

_PART: Final = 256 * 1024
"""Bytes a read of the socket takes."""


class Wire:
    """One connection, opened at once. Understands answers with Content-Length and chunked ones."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host = parts.netloc
        self._socket = socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 80))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb", buffering=_PART)
        self._ids = itertools.count(1)

    def request(self, method: str, params: Sequence[Any]) -> bytes:
        """The bytes to send for one call."""
        return self._post(orjson.dumps(self._call(method, params)))

    def batch(self, calls: Iterable[tuple[str, Sequence[Any]]]) -> bytes:
        """The bytes to send for several in one."""
        return self._post(orjson.dumps([self._call(method, params) for method, params in calls]))

    def ask(self, request: bytes) -> bytes:
        """Send, and read one answer."""
        self._socket.sendall(request)
        return self.read()

    def send(self, request: bytes) -> None:
        """For pipelining; as many `read` have to follow."""
        self._socket.sendall(request)

    def read(self) -> bytes:
        length, is_chunked = 0, False
        line: bytes
        while (line := self._file.readline()) != b"\r\n":
            name, _, value = line.lower().partition(b":")
            if name == b"content-length":
                length = int(value)
            elif name == b"transfer-encoding":
                is_chunked = b"chunked" in value
            elif not line:
                raise ConnectionError("the node closed the connection")
        if not is_chunked:
            whole: bytes = self._file.read(length)
            return whole
        parts: list[bytes] = []
        while size := int(self._file.readline(), 16):
            parts.append(self._file.read(size))
            self._file.readline()
        self._file.readline()
        return b"".join(parts)

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def _call(self, method: str, params: Sequence[Any]) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}

    def _post(self, body: bytes) -> bytes:
        head = f"POST / HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: application/json\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
