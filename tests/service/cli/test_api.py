"""The client of the command line: which way its requests go."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from service.cli.api import Api


class Server(ThreadingHTTPServer):
    """Answers everything, and notes what it was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def servers() -> Iterator[tuple[Server, Server]]:
    found = Server(), Server()
    for one in found:
        threading.Thread(target=one.serve_forever, args=(0.01,)).start()
    yield found
    for one in found:
        one.shutdown()
        one.server_close()


def test_no_proxy_of_the_environment_is_told_what_is_for_this_machine(
    servers: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    service, proxy = servers
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    with Api.public(service.url) as api:
        assert api.get("/v1/ping") == {}
    assert (service.asked, proxy.asked) == (["/v1/ping"], [])
    # Elsewhere it is the operator's to say which way.
    with Api.public("http://cambist.invalid") as api:
        assert api.get("/v1/ping") == {}
    assert proxy.asked == ["http://cambist.invalid/v1/ping"]
