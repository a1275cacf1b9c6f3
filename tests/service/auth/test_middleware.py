"""The edge: what every request passes before a route sees it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Message

from service.auth.keys import revoke_key
from tests.service.api import Api, api, code_of

ORDERS = "/v1/ethereum/orders"
BALANCES = "/v1/ethereum/balances"
PASSED = "chain_not_active"
"""What a request gets that came through the edge: no chain is active here."""


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Api]:
    async with api(tmp_path) as found:
        yield found


async def read(service: Api, target: str = BALANCES, *, signed_as: str = "GET", timestamp_ms: int | None = None) -> str:
    """The code that a GET by the read key is answered with."""
    headers = service.signed("read", signed_as, target, timestamp_ms=timestamp_ms)
    return code_of(await service.client.get(target, headers=headers))


async def raw(app: FastAPI, messages: list[Message], **scope: Any) -> tuple[int, dict[bytes, bytes]]:
    """One request as the server would hand it over; after the messages it waits for ever."""
    given = iter(messages)
    sent: list[Message] = []

    async def receive() -> Message:
        for message in given:
            return message
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    base = {
        "type": "http",
        "method": "POST",
        "path": ORDERS,
        "raw_path": ORDERS.encode(),
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
        "scheme": "http",
        "http_version": "1.1",
        "root_path": "",
    }
    await app({**base, **scope}, receive, send)
    return (sent[0]["status"], dict(sent[0]["headers"])) if sent else (0, {})


async def test_a_signed_request_passes_once(service: Api) -> None:
    headers = service.signed("read", "GET", BALANCES)
    assert code_of(await service.client.get(BALANCES, headers=headers)) == PASSED
    again = await service.client.get(BALANCES, headers=headers)
    assert (again.status_code, code_of(again)) == (401, "replayed")


async def test_what_differs_from_what_was_signed_is_refused(service: Api) -> None:
    """F71"""
    assert await read(service, signed_as="POST") == "authentication_failed"
    headers = service.signed("read", "GET", "/v1/polygon/balances")
    assert code_of(await service.client.get(BALANCES, headers=headers)) == "authentication_failed"
    headers = service.signed("read", "GET", "/v1/orders?limit=1")
    assert code_of(await service.client.get("/v1/orders?limit=2", headers=headers)) == "authentication_failed"
    headers = service.signed("trade", "POST", ORDERS, body=b"{}") | {"content-type": "application/json"}
    assert code_of(await service.client.post(ORDERS, content=b"{ }", headers=headers)) == "authentication_failed"


async def test_the_raw_path_is_what_is_signed(service: Api) -> None:
    """F71"""
    encoded = "/v1/%65thereum/balances"
    assert await read(service, encoded) == PASSED
    headers = service.signed("read", "GET", BALANCES)
    assert code_of(await service.client.get(encoded, headers=headers)) == "authentication_failed"


async def test_old_and_future_timestamps_and_those_from_before_the_start_are_refused(service: Api) -> None:
    """F72"""
    start_ms = service.clock.now_ms()
    assert await read(service, timestamp_ms=start_ms - 1) == "timestamp_out_of_window"
    service.clock.advance_ms(10_000)
    now_ms = service.clock.now_ms()
    assert await read(service, timestamp_ms=now_ms - 5_001) == "timestamp_out_of_window"
    assert await read(service, timestamp_ms=now_ms + 1_001) == "timestamp_out_of_window"
    assert await read(service, timestamp_ms=now_ms - 5_000) == PASSED


async def test_an_unknown_key_and_a_wrong_secret_get_the_same_answer(service: Api) -> None:
    """F73"""
    unknown = service.signed("read", "GET", BALANCES) | {"X-Cambist-Key": "ck_0000000000000000"}
    wrong = service.signed("trade", "GET", BALANCES) | {"X-Cambist-Key": service.keys["read"].key.id}
    answers = [(await service.client.get(BALANCES, headers=headers)) for headers in (unknown, wrong)]
    bodies = [{**answer.json(), "instance": ""} for answer in answers]
    assert bodies[0] == bodies[1]
    assert bodies[0]["code"] == "authentication_failed"


async def test_a_public_path_does_not_look_at_the_signature(service: Api) -> None:
    headers = service.signed("read", "GET", "/v1/time", timestamp_ms=1)
    assert (await service.client.get("/v1/time", headers=headers)).status_code == 200


async def test_a_key_that_was_revoked_stops_at_its_next_request(service: Api) -> None:
    """F78"""
    assert await read(service) == PASSED
    key, master, now_ms = service.keys["read"].key, service.services.master, service.clock.now_ms()
    await service.services.db.run(lambda c: revoke_key(c, key.id, master=master, now_ms=now_ms))
    # Twice: not by what was remembered, and not by what is remembered of it now.
    assert [await read(service) for _ in range(2)] == ["key_revoked"] * 2
    trades = service.signed("trade", "GET", BALANCES)
    assert code_of(await service.client.get(BALANCES, headers=trades)) == "permission_denied"


async def test_a_key_that_was_tampered_with_stops_at_once(service: Api) -> None:
    """F79"""
    assert await read(service) == PASSED
    await service.services.db.run(
        lambda c: c.exec_driver_sql("UPDATE api_keys SET can_trade = 1 WHERE label = 'read'") and None
    )
    assert await read(service) == "record_tampered"


async def test_an_unknown_host_is_refused(service: Api) -> None:
    answer = await service.client.get("/v1/ping", headers={"host": "evil.example"})
    assert (answer.status_code, code_of(answer)) == (421, "host_not_allowed")


async def test_a_body_over_the_limit_is_refused_by_its_announcement(service: Api) -> None:
    """F92"""
    answer = await service.ask("POST", ORDERS, key="trade", body=b" " * 65_537)
    assert (answer.status_code, code_of(answer)) == (413, "body_too_large")
    assert answer.headers["connection"] == "close"


async def test_a_chunked_body_over_the_limit_is_refused_before_its_end(service: Api) -> None:
    """F92"""
    chunk = {"type": "http.request", "body": b" " * 40_000, "more_body": True}
    status, headers = await raw(service.app, [chunk, chunk])
    assert (status, headers[b"connection"]) == (413, b"close")


async def test_a_body_that_does_not_come_is_given_up(tmp_path: Path) -> None:
    """F92: slow-loris."""
    async with api(tmp_path, body_timeout_s=1) as service:
        status, headers = await raw(service.app, [{"type": "http.request", "body": b"{", "more_body": True}])
        assert (status, headers[b"connection"]) == (408, b"close")


async def test_a_client_that_went_away_gets_nothing(service: Api) -> None:
    """F93"""
    assert await raw(service.app, [{"type": "http.disconnect"}]) == (0, {})


async def test_lengths_that_are_no_numbers_are_refused(service: Api) -> None:
    for length in (b"-1", b"1e9", b"+5", b"9" * 400):
        status, _ = await raw(service.app, [], headers=[(b"host", b"localhost"), (b"content-length", length)])
        assert status == 413


@pytest.mark.parametrize("body", [b'{"market":"A","market":"B"}', b'{"a":NaN}', b"[" * 5_000, b"{", b"\xff"])
async def test_bodies_with_two_meanings_are_refused(service: Api, body: bytes) -> None:
    """F71"""
    assert code_of(await service.ask("POST", ORDERS, key="trade", body=body)) == "invalid_json"


async def test_a_body_that_is_not_said_to_be_json_is_refused(service: Api) -> None:
    """F92: compressed ones, too."""
    for extra in ({"content-type": "text/plain"}, {}, {"content-type": "application/json", "content-encoding": "gzip"}):
        headers = service.signed("trade", "POST", ORDERS, body=b"{}") | extra
        answer = await service.client.post(ORDERS, content=b"{}", headers=headers)
        assert code_of(answer) == "unsupported_media_type"


async def test_a_parameter_given_twice_is_refused(service: Api) -> None:
    """F71"""
    assert await read(service, "/v1/orders?limit=1&limit=2") == "invalid_query"


async def test_the_address_of_a_client_is_the_one_its_proxy_names(tmp_path: Path) -> None:
    """F74"""
    async with api(tmp_path, trusted_proxies="127.0.0.1/32") as service:
        for forwarded, code in (("203.0.113.7", PASSED), ("203.0.113.8", "ip_not_allowed")):
            headers = service.signed("wrong_ip", "GET", BALANCES) | {"x-forwarded-for": f"127.0.0.1, {forwarded}"}
            assert code_of(await service.client.get(BALANCES, headers=headers)) == code


async def test_a_forwarded_header_from_nobody_in_particular_is_ignored(service: Api) -> None:
    """F74"""
    headers = service.signed("wrong_ip", "GET", BALANCES) | {"x-forwarded-for": "203.0.113.7"}
    assert code_of(await service.client.get(BALANCES, headers=headers)) == "ip_not_allowed"


async def test_unknown_paths_and_methods_are_problems(service: Api) -> None:
    missing = await service.client.get("/v1/nothing/here/at/all")
    assert (missing.status_code, code_of(missing)) == (404, "not_found")
    method = await service.client.delete("/v1/ping")
    assert (method.status_code, code_of(method)) == (405, "method_not_allowed")
    assert method.headers["allow"] == "GET"


async def test_an_invalid_field_is_named_and_its_value_is_not(service: Api) -> None:
    """F94"""
    answer = await service.ask(
        "POST", ORDERS, key="trade", body=b'{"market":"X","side":"canary-9c","canary":"canary-9c"}'
    )
    assert (answer.status_code, code_of(answer)) == (422, "invalid_request")
    assert {one["field"] for one in answer.json()["errors"]} == {"body.side", "body.canary"}
    assert "canary-9c" not in answer.text


async def test_an_error_nobody_foresaw_says_nothing_of_itself(service: Api) -> None:
    service.app.state.services = None
    answer = await service.client.get("/v1/chains")
    assert (answer.status_code, code_of(answer)) == (500, "internal_error")
    assert "NoneType" not in answer.text


async def test_every_answer_has_an_id_of_its_own_and_is_not_cached(service: Api) -> None:
    answers: list[httpx.Response] = [await service.client.get(path) for path in ("/v1/ping", "/v1/ping", "/nowhere")]
    assert len({answer.headers["x-request-id"] for answer in answers}) == 3
    for answer in answers:
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_secrets_show_in_no_page_and_no_answer(service: Api) -> None:
    page = (await service.client.get("/v1/openapi.json")).text
    for created in service.keys.values():
        assert created.secret is not None
        assert created.secret not in page
        assert created.key.id not in page


async def test_there_are_no_websockets(service: Api) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await service.app({"type": "websocket", "path": "/v1/stream", "headers": []}, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_a_parameter_that_the_path_does_not_have_is_refused(service: Api) -> None:
    answer = await service.ask("GET", "/v1/orders?limt=5", key="read")
    assert (answer.status_code, code_of(answer)) == (400, "invalid_query")
    assert "limt" in answer.json()["detail"]
    assert (await service.ask("GET", "/v1/orders?limit=5", key="read")).status_code == 200


async def test_too_many_or_too_long_headers_are_refused(service: Api) -> None:
    """F92"""
    for extra in ({f"x-{n}": "1" for n in range(70)}, {"x-long": "y" * 20_000}):
        answer = await service.client.get("/v1/ping", headers=extra)
        assert (answer.status_code, code_of(answer)) == (431, "headers_too_large")


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_no_page_is_served_that_loads_scripts_from_elsewhere(service: Api, path: str) -> None:
    page = await service.client.get(path)
    assert (page.status_code, code_of(page)) == (404, "not_found")


async def test_an_address_with_a_zone_is_nobodys(service: Api) -> None:
    """F74"""
    headers = [(b"host", b"localhost")] + [
        (name.lower().encode(), value.encode()) for name, value in service.signed("read", "GET", BALANCES).items()
    ]
    target = {"method": "GET", "path": BALANCES, "raw_path": BALANCES.encode()}
    body: Message = {"type": "http.request", "body": b"", "more_body": False}
    status, _ = await raw(service.app, [body], headers=headers, client=("fe80::1%eth0", 1), **target)
    assert status == 403
