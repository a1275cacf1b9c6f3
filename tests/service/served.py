"""A client of an app in this process that is asked as the server does it (`service.bounded_http`): ahead first."""

from collections.abc import Mapping

import httpx
from fastapi import FastAPI

from service.app import _App


def head_bytes(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """A request without a body, as it goes over the wire."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode()


class AsServed(httpx.AsyncBaseTransport):
    """As the server does it: the app is asked ahead, and what it leaves takes the whole way."""

    def __init__(self, app: FastAPI, *, client: tuple[str, int]) -> None:
        assert isinstance(app, _App)
        self._app = app
        self._client = client
        self._whole = httpx.ASGITransport(app=app, client=client)
        self.answered: list[bytes] = []
        """Ahead; what was left to the edge is not here."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if await request.aread():
            return await self._whole.handle_async_request(request)
        headers = {name: value for name, value in request.headers.items() if name != "content-length"}
        head = head_bytes(request.method, request.url.raw_path.decode(), headers)
        said = self._app.ahead(head, peer=self._client[0], before=b"")
        if said is None:
            return await self._whole.handle_async_request(request)
        self.answered.append(said)
        status, headers_said, body = parted(said)
        assert status == b"HTTP/1.1 200 OK"
        return httpx.Response(200, headers=headers_said, content=body)


def parted(said: bytes) -> tuple[bytes, list[tuple[bytes, bytes]], bytes]:
    """Status line, headers and body of an answer."""
    head, _, body = said.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    parts = [line.partition(b": ") for line in lines]
    return status, [(name, value) for name, _, value in parts], body
