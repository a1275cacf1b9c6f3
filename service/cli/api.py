"""Cambist's HTTP API from the command line, with a key or in a session: documents in and out, problems as
`CommandFailed`.

Guarantees: a refusal keeps the service's code and hint; a change whose answer never came is reported as unknown, with
what to look for, and never sent again by itself.
"""

import secrets
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote, urlencode, urlsplit

import httpx
import orjson

from service.auth.signature import sign_request
from service.cli.failures import CommandFailed, ExitStatus
from service.cli.profile import Profile
from service.cli.session_file import SignedIn, is_this_machine

TIMEOUT_S: Final = 30.0
AGENT: Final = "cambist"
"""What a list of sessions calls this client."""
IN_TARGET: Final = "/?&=%:@,+~!$'()*;"
"""What stays as it is in a target; anything else that a person typed is escaped, so that it is signed as it is sent."""
MS: Final = 1_000_000
"""Nanoseconds in a millisecond."""


class Api:
    """One server, with a key, in a session or as anyone, for the time of a `with` block."""

    def __init__(self, who: Profile | SignedIn) -> None:
        self._who: Profile | SignedIn | None = who
        to = urlsplit(who.url)
        # A proxy that the environment names would be told, in the clear, what is for this machine alone.
        is_direct = to.scheme == "http" and is_this_machine(to.hostname)
        self._client = httpx.Client(base_url=who.url, timeout=TIMEOUT_S, trust_env=not is_direct)

    @classmethod
    def public(cls, url: str) -> Self:
        """As anyone: for what is public, and for signing in."""
        api = cls(Profile(url=url, key="", secret=""))
        api._who = None
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

    def put(self, path: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """Set something. Raises: CommandFailed."""
        return self._send("PUT", path, body=orjson.dumps(document))

    def patch(self, path: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """Change part of something. Raises: CommandFailed."""
        return self._send("PATCH", path, body=orjson.dumps(document))

    def delete(self, path: str, document: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """End or remove something; what confirms it goes along where there is any. Raises: CommandFailed."""
        return self._send("DELETE", path, body=orjson.dumps(document) if document else b"")

    def _send(self, method: str, target: str, *, body: bytes) -> dict[str, Any]:
        target = quote(target, safe=IN_TARGET)
        headers = {"User-Agent": AGENT} | self._credentials(method, target, body=body)
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
            raise _broken(method, exc, in_session=isinstance(self._who, SignedIn)) from exc
        return _document(response)

    def _credentials(self, method: str, target: str, *, body: bytes) -> dict[str, str]:
        if self._who is None:
            return {}
        if isinstance(self._who, SignedIn):
            return {"Authorization": f"Bearer {self._who.token}"}
        return dict(
            sign_request(
                self._who.key,
                self._who.secret.encode(),
                method=method,
                target=target,
                body=body,
                timestamp_ms=time.time_ns() // MS,
                nonce=secrets.token_hex(16),
            )
        )


def _broken(method: str, error: httpx.HTTPError, *, in_session: bool) -> CommandFailed:
    if method == "GET":
        return CommandFailed("unreachable", f"the answer did not come: {error}", status=ExitStatus.UNREACHABLE)
    return CommandFailed(
        "outcome_unknown",
        f"the request was sent and the answer did not come: {error}",
        hint="Look whether it happened (list or show) before you repeat it."
        if in_session
        else "Repeat the command with the same --client-id: it answers with what was made, or makes it once.",
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
