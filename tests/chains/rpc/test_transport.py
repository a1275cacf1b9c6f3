"""The transport against a server on loopback that answers whatever the test says."""

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from aiohttp import web

from chains.errors import (
    MethodUnavailable,
    RpcError,
    RpcNotSent,
    RpcProtocolError,
    RpcRefused,
    RpcThrottled,
    RpcUnavailable,
)
from chains.rpc.transport import HttpTransport, RpcLimits, SecretUrl

CANARY = "canary-3f7c9a"
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Server:
    """Answers with `answer`; remembers the bodies it was sent."""

    url: str = ""
    answer: Answer | None = None
    bodies: list[Any] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(orjson.loads(await request.read()))
        assert self.answer is not None
        return await self.answer(request)

    def says(self, body: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> None:
        raw = body if isinstance(body, bytes) else orjson.dumps(body)

        async def answer(request: web.Request) -> web.StreamResponse:
            return web.Response(body=raw, status=status, headers=headers)

        self.answer = answer

    def says_for_each(self, make: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Answer each call of a request or batch with `make(call)`."""

        async def answer(request: web.Request) -> web.StreamResponse:
            body = self.bodies[-1]
            made = [make(call) for call in body] if isinstance(body, list) else make(body)
            return web.Response(body=orjson.dumps(made))

        self.answer = answer


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    app = web.Application()
    app.router.add_post(f"/v1/{CANARY}", made.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    made.url = f"http://127.0.0.1:{port}/v1/{CANARY}"
    try:
        yield made
    finally:
        await runner.cleanup()


@asynccontextmanager
async def over(server: Server, **limits: int) -> AsyncIterator[HttpTransport]:
    transport = HttpTransport(server.url, name="node-a", limits=RpcLimits(**limits))
    try:
        yield transport
    finally:
        await transport.close()


def ok(call: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": call["id"], "result": f"{call['method']}!"}


async def test_a_result_comes_back_and_the_request_is_json_rpc(server: Server) -> None:
    server.says_for_each(ok)
    async with over(server) as transport:
        assert await transport.request("eth_chainId", []) == "eth_chainId!"
        assert await transport.request("eth_call", [{"to": "0x"}, "latest"]) == "eth_call!"
    first, second = server.bodies
    assert (first["jsonrpc"], first["method"], first["params"]) == ("2.0", "eth_chainId", [])
    assert first["id"] != second["id"]


async def test_null_is_a_result(server: Server) -> None:
    server.says_for_each(lambda call: {"jsonrpc": "2.0", "id": call["id"], "result": None})
    async with over(server) as transport:
        assert await transport.request("eth_getTransactionReceipt", ["0x"]) is None


async def test_an_error_object_is_a_refusal_with_code_text_and_data(server: Server) -> None:
    error = {"code": -32003, "message": "nonce too low", "data": "0x01"}
    server.says_for_each(lambda call: {"jsonrpc": "2.0", "id": call["id"], "error": error})
    async with over(server) as transport:
        with pytest.raises(RpcRefused) as caught:
            await transport.request("eth_sendRawTransaction", ["0x"])
    refused = caught.value
    assert (refused.code, refused.node_message, refused.data) == (-32003, "nonce too low", "0x01")
    assert str(refused) == "node-a: eth_sendRawTransaction: nonce too low"


async def test_an_error_object_in_a_4xx_is_still_a_refusal(server: Server) -> None:
    server.says({"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": "no"}}, status=400)
    async with over(server) as transport:
        with pytest.raises(RpcRefused):
            await transport.request("eth_call", [])


async def test_a_node_without_the_method_says_so_by_its_class(server: Server) -> None:
    error = {"code": -32601, "message": "the method eth_simulateV1 does not exist/is not available"}
    server.says_for_each(lambda call: {"jsonrpc": "2.0", "id": call["id"], "error": error})
    async with over(server) as transport:
        with pytest.raises(MethodUnavailable):
            await transport.request("eth_simulateV1", [])


BROKEN: dict[str, Any] = {
    "html": b"<html>busy</html>",
    "nothing": b"",
    "truncated": b'{"jsonrpc":"2.0","id":1,"resu',
    "nan": b'{"jsonrpc":"2.0","id":1,"result":NaN}',
    "nested too deep": b"[" * 100_000,
    "a list for one call": [{"jsonrpc": "2.0", "id": 1, "result": 1}],
    "another id": {"jsonrpc": "2.0", "id": 2, "result": 1},
    "the id as text": {"jsonrpc": "2.0", "id": "1", "result": 1},
    "the id as true": {"jsonrpc": "2.0", "id": True, "result": 1},
    "no id": {"jsonrpc": "2.0", "result": 1},
    "no version": {"id": 1, "result": 1},
    "both": {"jsonrpc": "2.0", "id": 1, "result": 1, "error": {"code": 1, "message": "x"}},
    "neither": {"jsonrpc": "2.0", "id": 1},
    "an error that is text": {"jsonrpc": "2.0", "id": 1, "error": "bad"},
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN.keys())
async def test_what_is_not_json_rpc_is_a_protocol_error(server: Server, body: Any) -> None:
    server.says(body)
    async with over(server) as transport:
        with pytest.raises(RpcProtocolError):
            await transport.request("eth_call", [])


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_server_error_is_unavailability_whatever_its_body(server: Server, status: int) -> None:
    server.says({"jsonrpc": "2.0", "id": 1, "result": "0x1"}, status=status)
    async with over(server) as transport:
        with pytest.raises(RpcUnavailable, match=f"HTTP {status}"):
            await transport.request("eth_call", [])


async def test_a_429_says_how_long_to_wait(server: Server) -> None:
    server.says(b"slow down", status=429, headers={"Retry-After": "7"})
    async with over(server) as transport:
        with pytest.raises(RpcThrottled) as caught:
            await transport.request("eth_call", [])
    assert caught.value.retry_after_s == 7


async def test_a_401_is_a_protocol_error_that_names_the_status(server: Server) -> None:
    server.says(b"who are you", status=401)
    async with over(server) as transport:
        with pytest.raises(RpcProtocolError, match="HTTP 401"):
            await transport.request("eth_call", [])


async def test_redirects_are_not_followed(server: Server) -> None:
    """F81"""
    server.says(b"", status=307, headers={"Location": server.url})
    async with over(server) as transport:
        with pytest.raises(RpcProtocolError, match="redirects"):
            await transport.request("eth_call", [])
    assert len(server.bodies) == 1


async def test_an_answer_over_the_limit_is_cut_off(server: Server) -> None:
    server.says({"jsonrpc": "2.0", "id": 1, "result": "x" * 5_000})
    async with over(server, max_response_bytes=4_096) as transport:
        with pytest.raises(RpcProtocolError, match="over 4096 bytes"):
            await transport.request("eth_call", [])


async def test_a_compressed_answer_is_measured_when_it_is_unpacked(server: Server) -> None:
    async def bomb(request: web.Request) -> web.StreamResponse:
        response = web.Response(body=orjson.dumps({"jsonrpc": "2.0", "id": 1, "result": "x" * 1_000_000}))
        response.enable_compression(web.ContentCoding.gzip)
        return response

    server.answer = bomb
    async with over(server, max_response_bytes=100_000) as transport:
        with pytest.raises(RpcProtocolError, match="over 100000 bytes"):
            await transport.request("eth_call", [])


async def test_a_node_that_does_not_answer_in_time_is_unavailable(server: Server) -> None:
    silence = asyncio.Event()

    async def never(request: web.Request) -> web.StreamResponse:
        await silence.wait()
        return web.Response()

    server.answer = never
    async with over(server, request_timeout_ms=100) as transport:
        with pytest.raises(RpcUnavailable, match="no answer in time"):
            await transport.request("eth_call", [])
    silence.set()


async def test_a_connection_that_breaks_off_leaves_the_outcome_unknown(server: Server) -> None:
    async def breaks(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    server.answer = breaks
    async with over(server) as transport:
        with pytest.raises(RpcUnavailable) as caught:
            await transport.request("eth_sendRawTransaction", [])
    assert not isinstance(caught.value, RpcNotSent)
    assert len(server.bodies) == 1


async def test_where_nobody_listens_nothing_was_sent() -> None:
    transport = HttpTransport("http://127.0.0.1:9/", name="node-a")
    with pytest.raises(RpcNotSent):
        await transport.request("eth_call", [])
    await transport.close()


# -- batches ----------------------------------------------------------------------------------------------


async def test_a_batch_keeps_the_order_asked_whatever_the_order_answered(server: Server) -> None:
    async def backwards(request: web.Request) -> web.StreamResponse:
        return web.Response(body=orjson.dumps([ok(call) for call in reversed(server.bodies[-1])]))

    server.answer = backwards
    async with over(server) as transport:
        assert await transport.batch([("a", []), ("b", []), ("c", [])]) == ["a!", "b!", "c!"]


async def test_a_refused_call_of_a_batch_stands_in_its_place(server: Server) -> None:
    def make(call: dict[str, Any]) -> dict[str, Any]:
        if call["method"] == "b":
            return {"jsonrpc": "2.0", "id": call["id"], "error": {"code": -1, "message": "no"}}
        return ok(call)

    server.says_for_each(make)
    async with over(server) as transport:
        first, second, third = await transport.batch([("a", []), ("b", []), ("c", [])])
    assert (first, third) == ("a!", "c!")
    assert isinstance(second, RpcRefused)


async def test_a_long_batch_is_split(server: Server) -> None:
    server.says_for_each(ok)
    async with over(server, max_batch=3) as transport:
        answers = await transport.batch([(f"m{number}", []) for number in range(7)])
    assert answers == [f"m{number}!" for number in range(7)]
    assert [len(body) for body in server.bodies] == [3, 3, 1]


async def test_an_empty_batch_asks_nothing(server: Server) -> None:
    async with over(server) as transport:
        assert await transport.batch([]) == []
    assert server.bodies == []


async def test_a_batch_that_the_node_refuses_as_a_whole_is_a_refusal(server: Server) -> None:
    server.says({"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "batch too large"}})
    async with over(server) as transport:
        with pytest.raises(RpcRefused, match="batch too large"):
            await transport.batch([("a", []), ("b", [])])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda answers: answers[:-1],
        lambda answers: [*answers, answers[0]],
        lambda answers: [answers[0], answers[0]],
        lambda answers: [answers[0], {**answers[1], "id": 999_999}],
        lambda answers: [answers[0], 5],
        lambda answers: answers[0],
    ],
    ids=["one missing", "one too many", "one twice", "a foreign id", "not an object", "not a list"],
)
async def test_a_batch_that_does_not_match_its_calls_is_a_protocol_error(
    server: Server, spoil: Callable[[list[Any]], Any]
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=orjson.dumps(spoil([ok(call) for call in server.bodies[-1]])))

    server.answer = answer
    async with over(server) as transport:
        with pytest.raises(RpcProtocolError):
            await transport.batch([("a", []), ("b", [])])


# -- secrets ----------------------------------------------------------------------------------------------


def test_the_address_is_in_no_repr() -> None:
    url = SecretUrl(f"https://node.example/{CANARY}")
    transport = HttpTransport(url, name="node-a")
    assert CANARY not in f"{url!r}{url}{transport!r}{transport.__dict__!r}"
    assert url.reveal().endswith(CANARY)


def test_only_http_addresses_are_taken_and_the_refusal_does_not_repeat_them() -> None:
    """F81"""
    with pytest.raises(ValueError, match="starts with http") as caught:
        SecretUrl(f"file:///{CANARY}")
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("fault", ["refused", "timeout", "html", "status", "redirect", "breaks"])
async def test_the_address_is_in_no_error_context_or_log(
    server: Server, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url, limits = server.url, RpcLimits(request_timeout_ms=100)
    released = asyncio.Event()
    if fault == "refused":
        url = f"http://127.0.0.1:9/{CANARY}"
    elif fault == "timeout":

        async def never(request: web.Request) -> web.StreamResponse:
            await released.wait()
            return web.Response()

        server.answer = never
    elif fault == "html":
        server.says(b"<html>")
    elif fault == "status":
        server.says(b"", status=502)
    elif fault == "redirect":
        server.says(b"", status=302, headers={"Location": "/"})
    else:

        async def breaks(request: web.Request) -> web.StreamResponse:
            assert request.transport is not None
            request.transport.close()
            return web.Response()

        server.answer = breaks
    transport = HttpTransport(url, name="node-a", limits=limits)
    with pytest.raises(RpcError) as caught:
        await transport.request("eth_call", [])
    released.set()
    await transport.close()
    error: BaseException | None = caught.value
    while error is not None:
        assert CANARY not in f"{error!r}{error}"
        error = error.__context__
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    ours = [record for record in caplog.records if not record.name.startswith("aiohttp.access")]
    assert not any(CANARY in record.getMessage() for record in ours)


# -- sessions ---------------------------------------------------------------------------------------------


async def test_a_closed_transport_opens_again_when_asked(server: Server) -> None:
    server.says_for_each(ok)
    async with over(server) as transport:
        await transport.request("a", [])
        await transport.close()
        assert await transport.request("b", []) == "b!"


async def test_a_session_in_use_in_another_loop_is_not_shared(server: Server) -> None:
    server.says_for_each(ok)
    async with over(server) as transport:
        await transport.request("a", [])
        with pytest.raises(RuntimeError, match="another event loop"):
            await asyncio.to_thread(asyncio.run, transport.request("b", []))
