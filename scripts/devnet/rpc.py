"""A small synchronous JSON-RPC client for building chains, tests and cheats.

Guarantees: one kept-alive connection, one retry when the kept connection turned out closed, node errors as
`RpcError` with code and data. Not for the service (no timeouts policy, no pool) and not thread-safe: one client
a thread, except that any thread may hang up.
"""

from __future__ import annotations

import http.client
import itertools
import json
import socket
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_S = 120.0


class RpcError(Exception):
    """The node answered with an error. `data` is the revert data where there is some."""

    def __init__(self, method: str, *, code: int, message: str, data: Any = None) -> None:
        super().__init__(f"{method}: {message} ({code})")
        self.method = method
        self.code = code
        self.message = message
        self.data = data


class DevRpc:
    """JSON-RPC over HTTP to one node: `rpc("eth_blockNumber")`.

    The connection opens with the first call and closes with `close()` or with the object. An answer is waited for
    `timeout_s`: a busy Anvil takes its time, and one that stands still says nothing.
    """

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self.url = url
        self._hung_up = False
        parts = urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname or "127.0.0.1", parts.port, timeout=timeout_s)
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._ids = itertools.count(1)
        self._finalizer = weakref.finalize(self, self._connection.close)

    def __call__(self, method: str, *params: Any) -> Any:
        """Result of one call.

        Raises:
            RpcError: the node answered with an error.
            OSError: the node cannot be reached.
        """
        answer = self._post(self._request(method, params))
        return _result(method, answer)

    def batch(self, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Results of `(method, *params)` calls in one request, in order; the first error is raised."""
        if not calls:
            return []
        requests = [self._request(method, params) for method, *params in calls]
        answers = {answer["id"]: answer for answer in self._post(requests)}
        return [_result(request["method"], answers[request["id"]]) for request in requests]

    def close(self) -> None:
        """Close the connection; the next call opens it again."""
        self._connection.close()

    def hang_up(self) -> None:
        """For another thread: the call under way, and every later one, fails at once."""
        self._hung_up = True
        if (opened := self._connection.sock) is not None:
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)

    def _request(self, method: str, params: Sequence[Any]) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": list(params)}

    def _post(self, payload: Any) -> Any:
        body = json.dumps(payload)
        try:
            return self._exchange(body)
        except (http.client.RemoteDisconnected, http.client.CannotSendRequest, BrokenPipeError, ConnectionResetError):
            # The node closed the kept connection between two calls.
            self._connection.close()
            return self._exchange(body)
        except BaseException:
            # Half an exchange must not be read as the answer to the next call.
            self._connection.close()
            raise

    def _exchange(self, body: str) -> Any:
        if self._hung_up:
            raise ConnectionAbortedError("hung up")
        self._connection.request("POST", self._path, body, {"content-type": "application/json"})
        return json.loads(self._connection.getresponse().read())


def _result(method: str, answer: dict[str, Any]) -> Any:
    if "error" in answer:
        error = answer["error"]
        raise RpcError(method, code=error["code"], message=error["message"], data=error.get("data"))
    return answer["result"]
