"""A local chain that stands still is named, and the demo starts over, once."""

import io
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from rich.console import Console

from scripts.demo import stack
from scripts.demo.__main__ import _again_if_silent
from scripts.demo.show import Screen
from scripts.demo.stack import ChainSilent, named_if_silent
from scripts.devnet.rpc import DevRpc

pytestmark = pytest.mark.e2e


class Answers(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        body = json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": "0x1"}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nowhere."""


@pytest.fixture
def silent() -> Iterator[str]:
    """Takes connections, as an Anvil that stands still does, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def answering() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def screen() -> tuple[Screen, io.StringIO]:
    shown = io.StringIO()
    return Screen(Console(file=shown, width=200)), shown


def test_what_fails_while_a_chain_is_silent_names_the_chain(
    silent: str, answering: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack, "SILENT_AFTER_S", 2.0)
    with (
        pytest.raises(ChainSilent, match=r"the local polygon .* no longer answers") as raised,
        named_if_silent({"ethereum": answering, "polygon": silent}),
    ):
        raise ValueError("an order did not end")
    assert isinstance(raised.value.__cause__, ValueError)


def test_what_fails_while_all_chains_answer_stays_what_it_is(answering: str) -> None:
    with pytest.raises(ValueError, match="an order did not end"), named_if_silent({"ethereum": answering}):
        raise ValueError("an order did not end")


def test_after_a_silent_chain_it_starts_over_once() -> None:
    tries: list[int] = []

    def begin() -> int:
        tries.append(1)
        if len(tries) == 1:
            raise ChainSilent("the local ethereum no longer answers")
        return 0

    on, shown = screen()
    assert _again_if_silent(begin, on) == 0
    assert len(tries) == 2
    assert "Starting over, once: the local ethereum no longer answers" in shown.getvalue()


def test_a_chain_that_is_silent_again_ends_it() -> None:
    tries: list[int] = []

    def begin() -> int:
        tries.append(1)
        raise ChainSilent("the local ethereum no longer answers")

    with pytest.raises(ChainSilent):
        _again_if_silent(begin, screen()[0])
    assert len(tries) == 2


def test_hanging_up_ends_the_call_that_waits_and_every_later_one(silent: str) -> None:
    rpc, failed = DevRpc(silent), threading.Event()

    def ask() -> None:
        with pytest.raises(ConnectionError):
            rpc("eth_blockNumber")
        failed.set()

    waiting = threading.Thread(target=ask)
    waiting.start()
    while not failed.wait(0.05):
        # Again and again: before the connection is there, nothing is to be cut.
        rpc.hang_up()
    waiting.join()
    with pytest.raises(ConnectionAbortedError):
        rpc("eth_blockNumber")
