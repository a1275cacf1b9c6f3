"""Cambist's HTTP API in one small class: all it takes to sign requests, with httpx and the standard library.

Take this file as it is into a program of your own; docs/requests.md explains each line.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Mapping
from typing import Any

import httpx

Json = dict[str, Any]
AGAIN = frozenset(
    {"balance_unknown", "busy", "feed_unusable", "node_unavailable", "not_saved", "stale_market", "try_again"}
)
"""Refused, and nothing has happened: docs/errors.md says to send it again in a moment, with a new nonce."""
AGAIN_EVERY_S = 0.5


class Refused(Exception):
    """The API refused a request; `code` is stable, see docs/errors.md."""

    def __init__(self, problem: Mapping[str, Any]) -> None:
        super().__init__(f"{problem.get('code')}: {problem.get('detail')}")
        self.code = str(problem.get("code"))
        self.detail = str(problem.get("detail"))


class Cambist:
    """One API key, or a person's session by its `token`, or nobody. Amounts are text in both directions: never turn
    money into a float. What is refused only for the moment is sent again for `patience_s`."""

    def __init__(self, url: str, *, key: str = "", secret: str = "", token: str = "", patience_s: float = 20.0) -> None:
        self._key, self._secret, self._token = key, secret, token
        self._patience_s = patience_s
        self._http = httpx.Client(base_url=url, timeout=20)

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()

    def get(self, path: str, **query: str) -> Json:
        """Read something. Raises: Refused."""
        return self._send("GET", str(httpx.URL(path, params=query or None)), body=b"")

    def post(self, path: str, document: Json) -> Json:
        """Do something. An order or withdrawal is safe to send again after a time-out: its client id makes it one.

        Raises: Refused.
        """
        return self._send("POST", path, body=json.dumps(document).encode())

    def delete(self, path: str) -> Json:
        """End something. Raises: Refused."""
        return self._send("DELETE", path, body=b"")

    def _send(self, method: str, target: str, *, body: bytes) -> Json:
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                return self._send_once(method, target, body=body)
            except Refused as refused:
                if refused.code not in AGAIN or time.monotonic() > deadline:
                    raise
            time.sleep(AGAIN_EVERY_S)

    def _send_once(self, method: str, target: str, *, body: bytes) -> Json:
        headers = self._signed(method, target, body=body) if self._key else {}
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        if body:
            headers["content-type"] = "application/json"
        response = self._http.request(method, target, content=body, headers=headers)
        answer: Json = response.json()
        if response.is_error:
            raise Refused(answer)
        return answer

    def _signed(self, method: str, target: str, *, body: bytes) -> dict[str, str]:
        """The headers that prove who asks for exactly this; docs/requests.md explains each line."""
        timestamp, nonce = str(time.time_ns() // 1_000_000), secrets.token_hex(16)
        text = "\n".join([timestamp, nonce, method, target, hashlib.sha256(body).hexdigest()])
        return {
            "X-Cambist-Key": self._key,
            "X-Cambist-Timestamp": timestamp,
            "X-Cambist-Nonce": nonce,
            "X-Cambist-Signature": hmac.new(self._secret.encode(), text.encode(), hashlib.sha256).hexdigest(),
        }
