"""Cambist's HTTP API from the command line: signed requests in, documents out, problems as `CommandFailed`.

Guarantees: a refusal keeps the service's code and hint; a POST whose answer never came is reported as unknown, with
what to look for, and never sent again by itself.
"""

import secrets
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlencode

import httpx
import orjson

from service.auth.signature import sign_request
from service.cli.failures import CommandFailed, ExitStatus
from service.cli.profile import Profile

TIMEOUT_S: Final = 30.0
MS: Final = 1_000_000
"""Nanoseconds in a millisecond."""


class Api:
    """One server, with a key or without, for the time of a `with` block."""

    def __init__(self, profile: Profile) -> None:
        self._profile: Profile | None = profile
        self._client = httpx.Client(base_url=profile.url, timeout=TIMEOUT_S)

    @classmethod
    def public(cls, url: str) -> Self:
        """Without a key: for what anyone may read."""
        api = cls(Profile(url=url, key="", secret=""))
        api._profile = None
        return api

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Read. Raises: CommandFailed."""
        return self._send("GET", f"{path}?{urlencode(query)}" if query else path, body=b"")

    def post(self, path: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """Change something. Raises: CommandFailed."""
        return self._send("POST", path, body=orjson.dumps(document))

    def _send(self, method: str, target: str, *, body: bytes) -> dict[str, Any]:
        headers = self._signed(method, target, body=body)
        if body:
            headers["Content-Type"] = "application/json"
        try:
            # As raw bytes: the target that is signed must be the one that is sent.
            url = self._client.base_url.copy_with(raw_path=target.encode())
            response = self._client.send(httpx.Request(method, url, content=body, headers=headers))
        except (httpx.ConnectError, httpx.ConnectTimeout) as exc:
            raise CommandFailed(
                "unreachable",
                f"no service answers at {str(self._client.base_url).rstrip('/')}",
                hint="Is it running? cambist status",
                status=ExitStatus.UNREACHABLE,
            ) from exc
        except httpx.HTTPError as exc:
            raise _broken(method, exc) from exc
        return _document(response)

    def _signed(self, method: str, target: str, *, body: bytes) -> dict[str, str]:
        if self._profile is None:
            return {}
        return dict(
            sign_request(
                self._profile.key,
                self._profile.secret.encode(),
                method=method,
                target=target,
                body=body,
                timestamp_ms=time.time_ns() // MS,
                nonce=secrets.token_hex(16),
            )
        )


def _broken(method: str, error: httpx.HTTPError) -> CommandFailed:
    if method == "GET":
        return CommandFailed("unreachable", f"the answer did not come: {error}", status=ExitStatus.UNREACHABLE)
    return CommandFailed(
        "outcome_unknown",
        f"the request was sent and the answer did not come: {error}",
        hint="Repeat the command with the same --client-id: it answers with what was made, or makes it once.",
        status=ExitStatus.UNKNOWN,
    )


def _document(response: httpx.Response) -> dict[str, Any]:
    try:
        document = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise CommandFailed(
            "not_cambist",
            f"what answers at {response.url.host} (status {response.status_code}) is not Cambist",
            status=ExitStatus.UNREACHABLE,
        )
    if response.is_success:
        return document
    status = ExitStatus.UNKNOWN if document.get("code") == "outcome_unknown" else ExitStatus.REFUSED
    raise CommandFailed(
        str(document.get("code", response.status_code)),
        str(document.get("detail") or document.get("title") or "refused"),
        hint=str(document.get("hint") or ""),
        status=status,
    )
