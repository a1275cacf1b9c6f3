"""The lane answers the plain case as the edge does; whatever is not plain goes to the edge as if nobody had looked."""

import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import Connection

from service.app import _App, create_app
from service.auth.keys import revoke_key
from service.auth.last_use import WRITE_EVERY_MS
from service.auth.ready import Ready
from service.auth.replay import MAX_REMEMBERED, READS_LEAVE
from service.auth.signature import (
    FUTURE_MS,
    KEY_HEADER,
    NONCE_HEADER,
    PAST_MS,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    sign_request,
)
from service.db.engine import Database
from service.hot import heads
from service.hot import lane as lanes
from service.hot.lane import Lane
from service.ratelimits.bans import STRIKES
from tests.service.api import CLIENT, Api, api, code_of
from tests.service.books_seed import Owner, address_of
from tests.service.served import AsServed, head_bytes, parted
from tests.service.trading_seed import seed_order_of

ORDER = "/v1/orders/1"


async def opened(service: Api) -> Api:
    key = service.keys["read"].key

    def seed(c: Connection) -> None:
        owner = Owner(account_id=key.account_id, wallet_id=key.wallet_id, address=address_of(0xA11CE))
        seed_order_of(c, owner, key_id=key.id)

    await service.services.db.run(seed)
    # Past the first second, in which each signed request leaves a row.
    service.clock.advance_ms(2_000)
    await ask(service)
    return service


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Api]:
    async with api(tmp_path, key_weight_per_minute=10**6, trusted_proxies=(ip_network("10.0.0.0/8"),)) as made:
        yield await opened(made)


def answered(service: Api) -> list[bytes]:
    """Ahead; what was left to the edge is not in it."""
    transport = service.client._transport
    assert isinstance(transport, AsServed)
    return transport.answered


async def ask(service: Api, target: str = ORDER, *, key: str = "read") -> int:
    return (await service.ask("GET", target, key=key)).status_code


def lines_of(
    service: Api, *, key: str = "read", timestamp_ms: int | None = None, target: str = ORDER
) -> dict[str, str]:
    """The headers of a plain request, as bots send them."""
    return {"Host": "127.0.0.1", "Accept": "*/*", **service.signed(key, "GET", target, timestamp_ms=timestamp_ms)}


def the_lane(service: Api) -> Lane:
    assert isinstance(service.app, _App)
    assert service.app.lane is not None
    return service.app.lane


def said(service: Api, head: bytes, *, peer: str = CLIENT[0]) -> bytes | None:
    return the_lane(service).answer(head, peer=peer, before=b"")


def head_of(service: Api, *, key: str = "read", timestamp_ms: int | None = None, target: str = ORDER) -> bytes:
    return head_bytes("GET", target, lines_of(service, key=key, timestamp_ms=timestamp_ms, target=target))


def answers(service: Api) -> bool:
    """Whether a plain request is answered."""
    return said(service, head_of(service)) is not None


async def test_a_plain_request_is_answered_with_the_edges_headers_and_body(
    service: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = answered(service)
    before = len(taken)
    found = [await service.ask("GET", ORDER, key="read")]
    assert len(taken) == before + 1
    monkeypatch.setattr(service.app, "lane", None)
    found.append(await service.ask("GET", ORDER, key="read"))
    assert len(taken) == before + 1
    short, whole = ({**one.headers, "x-request-id": "", "x-ratelimit-used": ""} for one in found)
    used = [int(one.headers["x-ratelimit-used"]) for one in found]
    short["x-ratelimit-remaining"] = str(int(short["x-ratelimit-remaining"]) - (used[1] - used[0]))
    assert list(found[0].headers) == list(found[1].headers)
    assert short == whole
    assert found[0].content == found[1].content
    assert used[1] > used[0]


async def test_it_is_counted_like_any_other(service: Api) -> None:
    count = service.services.metrics.requests.labels("GET", "/v1/orders/{order_id}", "200")
    taken = answered(service)
    before = len(taken), count._value.get()
    for _ in range(3):
        await ask(service)
    assert (len(taken) - before[0], count._value.get() - before[1]) == (3, 3)


async def test_what_the_server_adds_comes_first_and_the_length_is_the_bodys(service: Api) -> None:
    found = the_lane(service).answer(head_of(service), peer=CLIENT[0], before=b"date: now\r\nserver: x\r\n")
    assert found is not None
    status, headers, body = parted(found)
    assert status == b"HTTP/1.1 200 OK"
    assert headers[:3] == [(b"date", b"now"), (b"server", b"x"), (b"content-length", b"%d" % len(body))]


async def test_a_request_works_once_whichever_way_it_goes(service: Api) -> None:
    headers = service.signed("read", "GET", ORDER)
    taken = answered(service)
    before = len(taken)
    assert (await service.client.get(ORDER, headers=headers)).status_code == 200
    assert code_of(await service.client.get(ORDER, headers=headers)) == "replayed"
    assert len(taken) == before + 1
    headers = service.signed("read", "GET", ORDER)
    assert (await service.client.get(ORDER, headers={**headers, "cookie": "a=b"})).status_code == 200
    assert code_of(await service.client.get(ORDER, headers=headers)) == "replayed"
    assert len(taken) == before + 1


async def test_a_head_like_the_one_before_is_compared_and_not_parsed(
    service: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert answers(service)
    monkeypatch.setattr(heads, "read", lambda _: None)
    for _ in range(3):
        assert answers(service)
    assert said(service, head_bytes("GET", ORDER, {**lines_of(service), "Accept": "a/*"})) is None


EXTRA: Final = (
    ("Cookie", "a=b"),
    ("Authorization", "Bearer x"),
    ("Content-Length", "0"),
    ("Transfer-Encoding", "chunked"),
    ("Expect", "100-continue"),
    ("Upgrade", "websocket"),
    ("Connection", "close"),
    ("Connection", "keep-alive, upgrade"),
    ("host", "127.0.0.1"),
    ("x-cambist-key", "ck_0"),
    ("x-cambist-timestamp", "1"),
    ("x-cambist-nonce", "a" * 16),
    ("x-cambist-signature", "0" * 64),
    ("X-Long", "y" * 5_000),
)


async def test_one_header_more_that_could_mean_something_is_left(service: Api) -> None:
    headers = lines_of(service)
    for name, value in EXTRA:
        assert said(service, head_bytes("GET", ORDER, {**headers, name: value})) is None, (name, value)
    # Nothing was taken or remembered.
    assert said(service, head_bytes("GET", ORDER, headers)) is not None


WRONG: Final = (
    ("Host", "elsewhere.example"),
    ("Host", "127.0.0.2"),
    (KEY_HEADER, "ck_0000000000000000"),
    (TIMESTAMP_HEADER, "0" * 13),
    (TIMESTAMP_HEADER, "12345"),
    (TIMESTAMP_HEADER, "-" + "1" * 12),
    (TIMESTAMP_HEADER, "\u00b2" * 13),
    (NONCE_HEADER, "a" * 15),
    (NONCE_HEADER, "a" * 31 + "."),
    (NONCE_HEADER, "a" * 32),
    (NONCE_HEADER, "a" * 29 + "\r\nb"),
    (SIGNATURE_HEADER, "0" * 64),
    (SIGNATURE_HEADER, "0" * 128),
    (SIGNATURE_HEADER, "\u00ff" * 64),
)


async def test_a_value_that_is_not_right_is_left_parsed_or_compared(service: Api) -> None:
    for _ in range(2):
        headers = lines_of(service)
        for name, value in WRONG:
            assert said(service, head_bytes("GET", ORDER, {**headers, name: value})) is None, (name, value)
        # The second time its form is known.
        assert said(service, head_bytes("GET", ORDER, headers)) is not None


async def test_a_nonce_of_other_characters_is_left_though_it_is_signed_parsed_or_compared(service: Api) -> None:
    created = service.keys["read"]
    for _ in range(2):
        for nonce in ("a" * 31 + ".", "a" * 31 + "~", "a" * 31 + " "):
            signed = sign_request(
                created.key.id,
                (created.secret or "").encode(),
                method="GET",
                target=ORDER,
                body=b"",
                timestamp_ms=service.clock.now_ms(),
                nonce=nonce,
            )
            assert said(service, head_bytes("GET", ORDER, {**lines_of(service), **signed})) is None, nonce
        assert answers(service)


async def test_a_key_that_is_used_here_alone_does_not_end_as_idle(service: Api) -> None:
    uses = service.services.key_uses
    service.clock.advance_ms(WRITE_EVERY_MS)
    await ask(service)
    uses._due.clear()
    assert answers(service)
    assert set(uses._due) == {service.keys["read"].key.id}


async def test_missing_headers_and_upper_case_digits_are_left(service: Api) -> None:
    headers = lines_of(service)
    for missing in headers.keys() - {"Accept"}:
        left = {name: value for name, value in headers.items() if name != missing}
        assert said(service, head_bytes("GET", ORDER, left)) is None
    upper = {**headers, SIGNATURE_HEADER: headers[SIGNATURE_HEADER].upper()}
    assert said(service, head_bytes("GET", ORDER, upper)) is None
    assert said(service, head_bytes("GET", ORDER, headers)) is not None


async def test_a_peer_that_is_a_proxy_or_no_address_is_left(service: Api) -> None:
    head = head_of(service)
    for peer in ("", "10.1.2.3", "::ffff:10.1.2.3", "fe80::1%eth0", "unix"):
        assert said(service, head, peer=peer) is None, peer
    assert said(service, head) is not None


async def test_other_methods_paths_and_parameters_are_left(service: Api) -> None:
    headers = lines_of(service)
    for method, target in (
        ("HEAD", ORDER),
        ("POST", ORDER),
        ("get", ORDER),
        ("GET", "/v1/orders/%31"),
        ("GET", "/v1/orders/01"),
        ("GET", "/v1/orders/1/"),
        ("GET", "//v1/orders/1"),
        ("GET", "http://127.0.0.1/v1/orders/1"),
        ("GET", "/v1/orders/2"),
        ("GET", "/v1/orders/1?a=1"),
        ("GET", "/v1/orders/1?%"),
    ):
        assert said(service, head_bytes(method, target, headers)) is None
    assert said(service, head_bytes("GET", ORDER, headers)) is not None


async def test_a_signature_for_one_thing_is_not_one_for_another(service: Api) -> None:
    assert answers(service)
    target = "/v1/orders/1?"
    # The edge signs a bare question mark as none.
    headers = lines_of(service)
    assert said(service, head_bytes("GET", target, headers)) is not None
    assert said(service, head_bytes("GET", ORDER, headers)) is None


async def test_the_window_is_the_edges(service: Api) -> None:
    now_ms = service.clock.now_ms()
    for timestamp_ms, is_answered in (
        (now_ms - PAST_MS - 1, False),
        (now_ms + FUTURE_MS + 1, False),
        # A row is needed for what is ahead.
        (now_ms + 1, False),
        (now_ms, True),
    ):
        assert (said(service, head_of(service, timestamp_ms=timestamp_ms)) is not None) is is_answered


async def test_keys_that_may_not_are_left(service: Api) -> None:
    for key in ("trade", "withdraw", "expired", "revoked", "wrong_ip"):
        await ask(service, key=key)
        assert said(service, head_of(service, key=key)) is None, key


async def test_a_key_is_looked_at_again_and_a_revoked_one_is_left_from_the_commit_on(service: Api) -> None:
    assert answers(service)
    service.clock.advance_ms(401)
    assert not answers(service)
    await ask(service)
    assert answers(service)
    key_id, master, now_ms = service.keys["read"].key.id, service.services.master, service.clock.now_ms()
    await service.services.db.run(lambda c: revoke_key(c, key_id, master=master, now_ms=now_ms) and None)
    assert not answers(service)
    assert code_of(await service.ask("GET", ORDER, key="read")) == "key_revoked"


async def test_after_any_commit_the_answer_is_read_anew(service: Api) -> None:
    await service.services.db.run(lambda c: None)
    assert not answers(service)
    await ask(service)
    assert answers(service)


async def test_limits_are_the_edges_and_what_is_over_them_is_left(tmp_path: Path) -> None:
    async with api(tmp_path, key_weight_per_minute=20) as made:
        await opened(made)
        codes = [await ask(made) for _ in range(30)]
        assert codes == sorted(codes)
        assert 0 < len(answered(made)) == codes.count(200)
        assert codes.count(200) < 20 < len(codes)
        # Banned for going on, it is told so by the edge, in the next window, too.
        for _ in range(60):
            await ask(made)
        made.clock.advance_ms(60_000 - made.clock.now_ms() % 60_000)
        assert code_of(await made.ask("GET", ORDER, key="read")) == "banned"
        assert not answers(made)
        the_lane(made)._limits._bans._bans._clients.clear()
        # Telling of the ban was a commit.
        assert await ask(made) == 200
        assert answers(made)


async def test_an_address_over_its_limit_is_left(tmp_path: Path) -> None:
    async with api(tmp_path, ip_weight_per_minute=40) as made:
        await opened(made)
        assert answers(made)
        while (await made.client.get("/v1/ping")).status_code == 200:
            pass
        assert not answers(made)


async def test_a_banned_address_is_left(service: Api) -> None:
    # Without a commit, after which nothing would be answered here either.
    bans = the_lane(service)._limits._bans._bans
    for _ in range(STRIKES):
        assert answers(service)
        bans.strike(CLIENT[0])
    assert not answers(service)


async def test_with_the_log_at_debug_every_request_goes_the_whole_way(service: Api) -> None:
    log = logging.getLogger("cambist.http")
    before = log.level
    log.setLevel(logging.DEBUG)
    try:
        assert not answers(service)
    finally:
        log.setLevel(before)
    assert answers(service)


async def test_forms_and_peers_are_bounded_and_only_what_was_answered_is_remembered(
    service: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "MAX_FORMS", 3)
    monkeypatch.setattr(lanes, "MAX_PEERS", 3)
    lane = the_lane(service)
    lane._known.clear()
    for at in range(10):
        headers = lines_of(service)
        wrong = {**headers, "X-Trace": "x" * (at + 100), SIGNATURE_HEADER: "0" * 64}
        assert said(service, head_bytes("GET", ORDER, wrong)) is None
        assert said(service, head_bytes("GET", ORDER, {**headers, "X-Trace": "x" * (at + 1)})) is not None
        assert len(lane._known) <= 3
        said(service, head_of(service), peer=f"192.0.2.{at}")
        assert len(lane._peers) <= 3
    assert all(size < 500 for size, _ in lane._known)


async def test_a_stranger_leaves_nothing_behind(service: Api) -> None:
    lane = the_lane(service)
    lane._known.clear()
    lane._peers.clear()
    for at in range(20):
        headers = {**lines_of(service), "Host": f"127.0.0.1:{at}", SIGNATURE_HEADER: "0" * 64}
        assert said(service, head_bytes("GET", f"/v1/orders/{at}", headers), peer=f"192.0.2.{at}") is None
    assert (len(lane._known), len(lane._peers)) == (0, 0)


async def test_a_wrong_signature_costs_the_same_work_whether_the_key_is_known_or_not(
    service: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    real = Ready.is_right

    def counted(self: Ready, text: bytes, signature: bytes) -> bool:
        asked.append(text)
        return real(self, text, signature)

    monkeypatch.setattr(Ready, "is_right", counted)
    for changes in ({SIGNATURE_HEADER: "0" * 64}, {KEY_HEADER: "ck_" + "0" * 16}):
        assert said(service, head_bytes("GET", ORDER, {**lines_of(service), **changes})) is None
    assert len(asked) == 2


async def test_reads_over_their_share_of_the_memory_of_nonces_are_left(service: Api) -> None:
    cache = the_lane(service)._nonces._cache
    reads = MAX_REMEMBERED - MAX_REMEMBERED // READS_LEAVE
    cache._seen.update(range(reads - 1 - len(cache._seen)))
    assert answers(service)
    assert not answers(service)
    assert code_of(await service.ask("GET", ORDER, key="read")) == "busy"
    # Who cancels is heard: a key that may not is told that, not that we are busy.
    assert code_of(await service.ask("DELETE", ORDER, key="read")) == "permission_denied"


async def test_where_others_have_the_database_too_there_is_no_lane(db: Database, tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        app = create_app(replace(made.services, db=db))
    assert isinstance(app, _App)
    assert (app.lane is not None) is db.is_exclusive
    assert app.ahead(b"GET /v1/orders/1 HTTP/1.1\r\n\r\n", peer="127.0.0.1", before=b"") is None
