"""F92: what comes before a request is whole has bounds in size and time."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from service.bounded_http import HEAD_WITHIN_S, LEAST_READ_BYTES, READ_WITHIN_S, BoundedHttp
from service.process import KEEP_ALIVE_S, _http_config, _HttpServer, _stop_http, bind, http_part
from tests.looptime import UNTIL_S, HeldTime, held_time, turns, until

OK = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    listener, stop = bind("127.0.0.1", 0), asyncio.Event()
    found = int(listener.getsockname()[1])
    part = http_part("http", app, listener=listener, tls=None)
    serving = asyncio.ensure_future(part.run(stop))
    try:
        yield found
    finally:
        stop.set()
        await serving


async def answer(port: int, *pieces: bytes) -> bytes:
    """What the server says until it closes, or for one whole answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        async with asyncio.timeout(UNTIL_S):
            head = await reader.readuntil(b"\r\n\r\n")
            return head + (await reader.read(2_000))
    finally:
        writer.close()


async def test_a_request_passes_in_one_piece_and_in_several(port: int) -> None:
    assert b" 200 " in await answer(port, OK)
    assert b" 200 " in await answer(port, OK[:5], OK[5:20], OK[20:])


async def test_headers_without_end_are_refused(port: int) -> None:
    said = await answer(port, b"GET / HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 40_000)
    assert b" 431 " in said
    assert b"headers_too_large" in said


@pytest.mark.parametrize(
    "sent",
    [
        b"FOO\r\n\r\n",
        b"GET / HTTP/3.0\r\nhost: localhost\r\n\r\n",
        b"GET /\x01 HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\nx: \x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost localhost\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
async def test_what_is_no_http_is_refused_like_everything_else(port: int, sent: bytes) -> None:
    """With a code and an id, in the service's own form: what a client cannot read, nobody can mend."""
    head, _, body = (await answer(port, sent)).partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert lines[0] == b"http/1.1 400 "
    assert {b"content-type: application/problem+json", b"cache-control: no-store", b"connection: close"} <= set(lines)
    assert b"x-content-type-options: nosniff" in lines
    said = json.loads(body)
    assert (said["status"], said["code"]) == (400, "malformed_http")
    assert b"x-request-id: " + said["instance"].removeprefix("urn:uuid:").encode() in lines


def of(path: str, *lines: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "host: localhost", *lines, "", ""]).encode()


class Ahead:
    """An app that answers what asks for `/` ahead, and notes what it was asked in which way."""

    def __init__(self) -> None:
        self.shown: list[bytes] = []
        self.whole: list[str] = []
        self.fails = False
        self.waits_s = 0.0
        self.body = b"ahead"

    def ahead(self, head: bytes, *, peer: str, before: bytes) -> bytes | None:
        assert peer == "127.0.0.1"
        self.shown.append(head)
        if self.fails:
            raise LookupError("not foreseen")
        is_one = head.startswith(b"GET / ") and head.index(b"\r\n\r\n") == len(head) - 4
        if not is_one:
            return None
        return b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\n\r\n%b" % (before, len(self.body), self.body)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.whole.append(scope["path"])
        if scope["path"] == "/slow":
            await asyncio.sleep(self.waits_s)
        while scope["path"] != "/early" and (await receive()).get("more_body"):
            pass
        body = self.body if scope["path"] == "/big" else scope["path"].encode()
        length = (b"content-length", b"%d" % len(body))
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": body})


class Watched(BoundedHttp):
    """Tells how much it has read."""

    read_bytes = 0

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.read_bytes += len(data)


@dataclass(slots=True)
class Served:
    """A server, and the time of its timers, which passes when a test says so."""

    port: int
    app: Ahead
    server: _HttpServer
    time: HeldTime


@asynccontextmanager
async def serving(made: Ahead, **config: Any) -> AsyncIterator[Served]:
    listener, stop = bind("127.0.0.1", 0), asyncio.Event()
    server = _HttpServer(_http_config(made, tls=None))
    for name, value in {"http": Watched, **config}.items():
        setattr(server.config, name, value)

    async def serve() -> None:
        with listener:
            async with asyncio.TaskGroup() as group:
                group.create_task(_stop_http(server, stop))
                await server.serve(sockets=[listener])

    running = asyncio.ensure_future(serve())
    try:
        await until(lambda: server.started)
        with held_time() as time:
            yield Served(port=int(listener.getsockname()[1]), app=made, server=server, time=time)
    finally:
        stop.set()
        await running


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(Ahead()) as found:
        yield found


class Line:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, other_end: Watched) -> None:
        self.reader = reader
        self.writer = writer
        self.other_end = other_end

    async def send(self, *pieces: bytes) -> None:
        """Each a read of its own at the other end, and none after it has closed: the kernel would answer that with a
        reset, which takes with it what was not read here."""
        for piece in pieces:
            if self.is_over:
                break
            wanted = self.other_end.read_bytes + len(piece)
            self.writer.write(piece)
            await self.writer.drain()
            await until(lambda wanted=wanted: self.other_end.read_bytes >= wanted or self.is_over)  # type: ignore[misc]
        await turns()

    @property
    def is_over(self) -> bool:
        """The other end has closed it, or is about to."""
        return self.other_end.transport.is_closing()

    def stop_reading(self) -> None:
        """What comes stays with the kernel, until its buffers are full and the other end's, too."""
        transport = self.writer.transport
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()

    async def bodies(self, count: int) -> list[bytes]:
        found = []
        async with asyncio.timeout(UNTIL_S):
            for _ in range(count):
                head = await self.reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200 OK\r\ndate: "), head
                length = int(head.partition(b"content-length: ")[2].partition(b"\r")[0])
                found.append(await self.reader.readexactly(length))
        return found

    async def rest(self) -> bytes:
        async with asyncio.timeout(UNTIL_S):
            return await self.reader.read()


@asynccontextmanager
async def line(served: Served) -> AsyncIterator[Line]:
    others = set(served.server.server_state.connections)
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    try:
        await until(lambda: served.server.server_state.connections - others)
        (other_end,) = served.server.server_state.connections - others
        assert isinstance(other_end, Watched)
        yield Line(reader, writer, other_end=other_end)
    finally:
        writer.close()


@pytest.mark.parametrize("pieces", [(), (b"GET / HT",), (b"GET / HTTP/1.1\r\nhost: local",), (OK, OK[:9])])
async def test_a_head_that_does_not_end_is_closed_in_time(served: Served, pieces: tuple[bytes, ...]) -> None:
    async with line(served) as client:
        if OK in pieces:
            await client.send(OK)
            assert await client.bodies(1) == [b"ahead"]
        await served.time.passes(HEAD_WITHIN_S - 2)
        await client.send(*(piece for piece in pieces if piece != OK))
        assert not client.is_over
        await served.time.passes(HEAD_WITHIN_S if OK in pieces else 2)
        said = await client.rest()
    assert b" 408 " in said
    assert b"request_timeout" in said


async def test_what_is_answered_ahead_takes_no_whole_way_and_the_rest_is_shown_once(served: Served) -> None:
    async with line(served) as client:
        for path, body in (("/", b"ahead"), ("/other", b"/other"), ("/", b"ahead"), ("/", b"ahead")):
            await client.send(of(path))
            assert await client.bodies(1) == [body]
    assert served.app.shown == [of("/"), of("/other"), of("/"), of("/")]
    assert served.app.whole == ["/other"]
    assert served.server.server_state.total_requests == 4


async def test_pipelined_requests_are_answered_in_their_order(served: Served) -> None:
    rng = random.Random(1)
    paths = [rng.choice(["/", "/", "/a", "/b"]) for _ in range(300)]
    expected = [b"ahead" if path == "/" else path.encode() for path in paths]
    async with line(served) as client:
        sent = b"".join(of(path) for path in paths)
        for cut in range(0, len(sent), 2_500):
            client.writer.write(sent[cut : cut + 2_500])
            await asyncio.sleep(0)
        found = await client.bodies(len(paths))
    # What is pipelined is asked of nobody ahead, unless it came alone.
    assert [body.replace(b"ahead", b"/") for body in found] == [body.replace(b"ahead", b"/") for body in expected]


async def test_many_whole_requests_and_a_part_of_one_are_no_head_that_is_too_long(served: Served) -> None:
    head = of("/other", "x: " + "y" * 1_000)
    async with line(served) as client:
        client.writer.write(head * 60 + head[:-20])
        assert await client.bodies(60) == [b"/other"] * 60
        await client.send(head[-20:])
        assert await client.bodies(1) == [b"/other"]
        await client.send(of("/other") + b"GET / HTTP/1.1\r\nhost: localhost\r\nx: ", *[b"y" * 20_000] * 3)
        assert await client.bodies(1) == [b"/other"]
        assert b" 431 " in await client.rest()


@pytest.mark.parametrize("behind", [b"FOO\r\n\r\n", b"GET / HTTP/1.1\r\nhost localhost\r\n\r\n"])
@pytest.mark.parametrize("whole", [1, 3])
async def test_what_is_whole_is_answered_before_what_is_no_http_behind_it_closes(
    served: Served, whole: int, behind: bytes
) -> None:
    """An order may have been placed: its answer is not lost to what a proxy sends behind it."""
    async with line(served) as client:
        client.writer.write(of("/other") * whole + behind)
        assert await client.bodies(whole) == [b"/other"] * whole
        assert await client.rest() == b""
    assert served.app.whole == ["/other"] * whole


@pytest.mark.parametrize("chunk", [b"3\r\n{}x\r\nzz\r\n", b"-1\r\n", b"\r\n"])
async def test_a_body_whose_chunks_are_wrong_is_refused_with_a_code(served: Served, chunk: bytes) -> None:
    async with line(served) as client:
        await client.send(of("/post", "transfer-encoding: chunked", method="POST"), chunk)
        said = await client.rest()
    assert said.startswith(b"HTTP/1.1 400 ")
    assert said.count(b"\r\n\r\n") == 1, "one answer, also once the app has its own"
    assert b'"malformed_http"' in said


async def test_nothing_is_shown_that_is_part_of_a_request(served: Served) -> None:
    """A body that looks like a request is a body: whoever shares a connection through a proxy must not have two."""
    inner = of("/")
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(inner), inner)
    async with line(served) as client:
        await client.send(of("/post", f"content-length: {2 * len(inner)}", method="POST"), inner, inner)
        await client.send(of("/post", "transfer-encoding: chunked", method="POST"), chunked[:4], inner, chunked[-7:])
        await client.send(of("/cut")[:-30], of("/cut")[-30:-2], b"\r\n")
        # As the value of a header, and as a body that nobody waits for any more.
        await client.send(b"GET /head HTTP/1.1\r\nhost: localhost\r\nx: ", inner)
        await client.send(of("/whole") + b"GET /begun HTTP/1.1\r\nhost: localhost\r\nx: ", inner)
        await client.send(of("/early", f"content-length: {2 * len(inner)}", method="POST"), inner, inner)
        paths = [b"/post", b"/post", b"/cut", b"/head", b"/whole", b"/begun", b"/early"]
        assert await client.bodies(len(paths)) == paths
        assert inner not in served.app.shown
        await client.send(inner)
        assert await client.bodies(1) == [b"ahead"]
        assert inner in served.app.shown


async def test_nothing_is_shown_while_an_answer_is_outstanding(served: Served) -> None:
    served.app.waits_s = 3
    async with line(served) as client:
        await client.send(of("/slow"), of("/"))
        await served.time.passes(3)
        assert await client.bodies(2) == [b"/slow", b"/"]
    assert served.app.shown == [of("/slow")]
    assert served.app.whole == ["/slow", "/"]


async def test_nothing_is_shown_after_another_protocol_was_asked_for(served: Served) -> None:
    async with line(served) as client:
        await client.send(of("/other", "connection: upgrade", "upgrade: h2c"))
        assert await client.bodies(1) == [b"/other"]
        await client.send(of("/"))
    assert of("/") not in served.app.shown


async def test_a_connection_that_is_to_be_closed_is_closed(served: Served) -> None:
    async with line(served) as client:
        await client.send(of("/other", "connection: close"))
        assert (await client.rest()).endswith(b"/other")


async def test_over_its_connections_the_server_says_so_to_all() -> None:
    async with serving(Ahead(), limit_concurrency=2) as served, line(served) as first:
        await first.send(of("/"))
        assert await first.bodies(1) == [b"ahead"]
        async with line(served) as second:
            await second.send(of("/"))
            assert b" 503 " in await second.rest()


async def test_a_way_that_fails_leaves_the_request_to_the_whole_one(served: Served) -> None:
    served.app.fails = True
    async with line(served) as client:
        await client.send(of("/"))
        assert await client.bodies(1) == [b"/"]
    assert served.app.whole == ["/"]


async def test_a_client_that_reads_nothing_is_not_answered_ahead_without_end(served: Served) -> None:
    served.app.body = b"x" * 100_000
    async with line(served) as client:
        client.stop_reading()
        for _ in range(400):
            client.writer.write(of("/"))
            # Each a read of its own, mostly.
            await turns(3)
        (protocol,) = served.server.server_state.connections
        # One answer more than may wait; 40 MB were asked for.
        assert protocol.transport.get_write_buffer_size() < 1_000_000


async def test_a_slow_request_after_one_that_was_answered_ahead_is_not_cut_off() -> None:
    made = Ahead()
    made.waits_s = 2.5 * KEEP_ALIVE_S
    async with serving(made) as served:
        for pieces, first in (((of("/"), of("/slow")), b"ahead"), ((of("/") + of("/slow"),), b"/")):
            made.whole.clear()
            async with line(served) as client:
                await client.send(*pieces)
                await until(lambda: "/slow" in made.whole)
                for _ in range(5):
                    assert not client.is_over
                    await served.time.passes(KEEP_ALIVE_S / 2)
                assert await client.bodies(2) == [first, b"/slow"]


async def test_a_connection_in_use_stays_open_and_an_idle_one_is_closed() -> None:
    async with serving(Ahead()) as served, line(served) as client:
        for _ in range(8):
            await client.send(of("/"))
            assert await client.bodies(1) == [b"ahead"]
            await served.time.passes(KEEP_ALIVE_S * 2 / 3)
        assert not client.is_over
        await served.time.passes(KEEP_ALIVE_S / 3)
        assert await client.rest() == b""


async def gone(served: Served, *, within: int) -> bool:
    """Whether the server has no connection any more after so many times the time that whoever is slow has."""
    for _ in range(within):
        await served.time.passes(READ_WITHIN_S)
        if not served.server.server_state.connections:
            return True
    return False


@pytest.mark.parametrize(
    "pieces",
    [
        (b"\r\n",),
        (b"\r",),
        (b"\r\n" * 200,),
        (of("/"), b"\r\n"),
        (of("/other"), b"\r\n"),
        (of("/other") + b"\r\n",),
        (of("/early", "content-length: 100", method="POST"), b"x"),
    ],
)
async def test_line_breaks_and_bodies_that_nobody_waits_for_hold_no_connection(
    pieces: tuple[bytes, ...],
) -> None:
    async with serving(Ahead()) as served, line(served) as client:
        await client.send(*pieces)
        assert await gone(served, within=2)


async def test_between_two_requests_the_time_for_a_head_does_not_run() -> None:
    for path in ("/", "/other"):
        async with serving(Ahead()) as served, line(served) as client:
            for _ in range(2):
                await client.send(of(path))
                assert await client.bodies(1) == [b"ahead" if path == "/" else b"/other"]
                await served.time.passes(2 * HEAD_WITHIN_S)


async def test_a_line_break_now_and_then_gains_no_time() -> None:
    async with serving(Ahead()) as served, line(served) as client:
        for _ in range(int(HEAD_WITHIN_S)):
            assert not client.is_over
            await client.send(b"\r\n")
            await served.time.passes(1)
        assert not served.server.server_state.connections


async def test_a_head_that_does_not_end_says_nothing_into_the_answer_before_it() -> None:
    made = Ahead()
    made.waits_s = 2.5 * HEAD_WITHIN_S
    async with serving(made) as served, line(served) as client:
        await client.send(of("/slow") + b"GET / HT")
        for _ in range(5):
            await served.time.passes(HEAD_WITHIN_S / 2)
        assert await client.bodies(1) == [b"/slow"]
        await served.time.passes(HEAD_WITHIN_S)
        assert b" 408 " in await client.rest()


@pytest.mark.parametrize("is_much", [True, False])
@pytest.mark.parametrize("sent", [of("/big") * 3, of("/big", "connection: close"), of("/")])
async def test_who_reads_nothing_is_cut_off(sent: bytes, *, is_much: bool) -> None:
    made = Ahead()
    made.body = b"x" * 20_000_000
    async with serving(made) as served, line(served) as client:
        await client.send(of("/other"))
        assert await client.bodies(1) == [b"/other"]
        client.stop_reading()
        if not is_much:
            # What waits is too little for the server to stop writing.
            client.other_end.transport.set_write_buffer_limits(high=10**10)
        await client.send(sent)
        assert client.other_end.transport.get_write_buffer_size() > 0
        # The first of them may see what the kernel still takes.
        assert await gone(served, within=10)


async def test_who_reads_slowly_is_not_cut_off() -> None:
    made = Ahead()
    made.body = b"x" * 12_000_000
    size = periods = 0
    async with serving(made) as served, line(served) as client:
        await client.send(of("/big", "connection: close"))
        transport = client.other_end.transport
        left = transport.get_write_buffer_size()
        while piece := await client.reader.read(LEAST_READ_BYTES):
            size += len(piece)
            if left - transport.get_write_buffer_size() >= LEAST_READ_BYTES:
                await served.time.passes(READ_WITHIN_S)
                left, periods = transport.get_write_buffer_size(), periods + 1
    assert size > len(made.body)
    assert periods > 3
