"""What is read as a plain head is what uvicorn's parser reads, and a head that is compared is the one that was read."""

import random
from dataclasses import dataclass, field
from typing import Final

import httptools
import pytest

from service.hot.heads import MAX_HEAD_BYTES, MAX_HEADERS, Values, read

KEY, TIMESTAMP, NONCE, SIGNATURE = b"ck_0123456789abcdef", b"1764000000000", b"n" * 22, b"a1" * 32
PLAIN: Final = (
    b"GET /v1/ethereum/ticker?market=ETHUSDC HTTP/1.1",
    b"Host: 127.0.0.1:8000",
    b"Accept: application/json, */*;q=0.5",
    b"X-Cambist-Key: " + KEY,
    b"x-cambist-timestamp: " + TIMESTAMP,
    b"X-CAMBIST-NONCE: " + NONCE,
    b"X-Cambist-Signature: " + SIGNATURE,
    b"Connection: keep-alive",
)
VALUES: Final = (KEY, TIMESTAMP, NONCE, SIGNATURE)


def of(*lines: bytes) -> bytes:
    return b"\r\n".join([*lines, b"", b""])


@dataclass(slots=True)
class Parsed:
    """What the server's parser makes of it."""

    url: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    begun: int = 0
    heads: int = 0
    done: int = 0
    body: bytes = b""

    def on_message_begin(self) -> None:
        self.begun += 1

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.heads += 1

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.done += 1


def agrees(head: bytes) -> bool:
    """Whether it is plain; then the parser must say the same of it."""
    found = read(head)
    if found is None:
        return False
    form, values = found
    parsed = Parsed()
    parser = httptools.HttpRequestParser(parsed)
    parser.feed_data(head)
    assert (parsed.begun, parsed.heads, parsed.done, parsed.body) == (1, 1, 1, b"")
    assert parser.get_method() == b"GET"
    assert parser.get_http_version() == "1.1"
    assert parser.should_keep_alive()
    assert not parser.should_upgrade()
    url = httptools.parse_url(parsed.url)
    assert (url.path, url.query or b"") == (form.path, form.query)
    given = dict(parsed.headers)
    assert [name for name, _ in parsed.headers].count(b"host") == 1
    assert given[b"host"] == form.host
    names = (b"x-cambist-key", b"x-cambist-timestamp", b"x-cambist-nonce", b"x-cambist-signature")
    assert sum(name in names for name, _ in parsed.headers) == len(names)
    assert values == tuple(given[name] for name in names)
    assert form.values(head) == values
    return True


def test_a_plain_head_is_read() -> None:
    found = read(of(*PLAIN))
    assert found is not None
    form, values = found
    assert (form.path, form.query, form.host) == (b"/v1/ethereum/ticker", b"market=ETHUSDC", b"127.0.0.1:8000")
    assert values == VALUES
    assert agrees(of(*PLAIN))


def test_in_any_order_of_its_headers() -> None:
    rng = random.Random(1)
    for _ in range(30):
        lines = rng.sample(PLAIN[1:], len(PLAIN) - 1)
        assert agrees(of(PLAIN[0], *lines))


NOT_PLAIN: Final = (
    of(*PLAIN)[:-2],
    of(*PLAIN)[:-1],
    b"\r\n" + of(*PLAIN),
    of(*PLAIN) + b"\r\n",
    of(*PLAIN) + of(*PLAIN),
    of(*PLAIN).replace(b"\r\n", b"\n"),
    of(*PLAIN).replace(b": ", b":"),
    of(*PLAIN).replace(b": ", b":\t"),
    of(*PLAIN).replace(b"Host", b"Host "),
    of(*PLAIN).replace(b"\r\nAccept: ", b"\r\n Accept: "),
    of(*PLAIN).replace(b"HTTP/1.1", b"HTTP/1.0"),
    of(*PLAIN).replace(b"HTTP/1.1", b"HTTP/2.0"),
    of(*PLAIN).replace(b"GET ", b"HEAD "),
    of(*PLAIN).replace(b"GET ", b"GET  "),
    of(*PLAIN).replace(b"GET ", b"get "),
    of(*PLAIN).replace(b"?market", b"?m%61rket"),
    of(*PLAIN).replace(b"?market", b"#market"),
    of(*PLAIN).replace(b"/v1/", b"/v1//"),
    of(*PLAIN).replace(b"/v1/", b"/v1/../v1/"),
    of(*PLAIN).replace(b"GET /", b"GET http://127.0.0.1/"),
    of(*PLAIN).replace(b"keep-alive", b"close"),
    of(*PLAIN).replace(b"keep-alive", b"keep-alive, close"),
    of(*PLAIN).replace(NONCE, b"n" * 15),
    of(*PLAIN).replace(NONCE, b"n" * 65),
    of(*PLAIN).replace(SIGNATURE, SIGNATURE * 2),
    of(*PLAIN).replace(TIMESTAMP, b"1764000000"),
    of(*PLAIN).replace(KEY, b"k" * 65),
    of(*PLAIN).replace(b"json", b"json\xff"),
    of(*PLAIN).replace(b"json", b"json\0"),
    of(*PLAIN).replace(b"json", b"js\ron"),
    of(*PLAIN, b"Host: 127.0.0.1:8000"),
    of(*PLAIN, b"Content-Length: 0"),
    of(*PLAIN, b"Content-Length: 10"),
    of(*PLAIN, b"Transfer-Encoding: chunked"),
    of(*PLAIN, b"Expect: 100-continue"),
    of(*PLAIN, b"Upgrade: h2c"),
    of(*PLAIN, b"Proxy-Connection: close"),
    of(*PLAIN, b"TE: trailers"),
    of(*PLAIN, b"Trailer: x"),
    of(*PLAIN, b"Cookie: a=b"),
    of(*PLAIN, b"Authorization: Bearer x"),
    of(*PLAIN, b"X-Empty: "),
    of(*PLAIN, b"X-Long: " + b"x" * MAX_HEAD_BYTES),
    of(*PLAIN, *(b"X-%d: x" % at for at in range(MAX_HEADERS))),
    *(of(*PLAIN, PLAIN[at].swapcase()) for at in (3, 4, 5, 6)),
    *(of(*PLAIN[:at], *PLAIN[at + 1 :]) for at in (0, 1, 3, 4, 5, 6)),
    b"",
    b"GET /v1/ethereum/ticker HTTP/1.1\r\n\r\n",
)


@pytest.mark.parametrize("at", range(len(NOT_PLAIN)))
def test_what_is_not_plain_is_not_read(at: int) -> None:
    assert read(NOT_PLAIN[at]) is None


def test_whatever_is_read_the_servers_parser_reads_as_the_same() -> None:
    rng = random.Random(2)
    pieces = [b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b"\0", b"\x80", b"?", b"/", b"a", b"0", b"-", b",", b"GET "]
    pieces += [b"close", b"chunked", b"host", b"\r\n\r\n", b"connection: ", b"upgrade", b"content-length: 5", *PLAIN]
    plain = 0
    for _ in range(20_000):
        head = of(PLAIN[0], *rng.sample(PLAIN[1:], rng.randint(6, 7)))
        for _ in range(rng.randint(1, 2)):
            at = rng.randrange(len(head))
            head = head[:at] + rng.choice([b"", rng.choice(pieces)]) + head[at + rng.choice([0, 0, 1, 4]) :]
        plain += agrees(head)
    # Both happen often, or nothing was compared.
    assert 1_000 < plain < 19_000


def test_a_head_with_other_values_is_compared_and_one_that_differs_elsewhere_is_not_the_same() -> None:
    found = read(of(*PLAIN))
    assert found is not None
    form, _ = found
    others: Values = (b"ck_fedcba9876543210", b"1764000000001", b"m" * 22, b"b2" * 32)
    head = of(*PLAIN)
    for was, now in zip(VALUES, others, strict=True):
        head = head.replace(was, now)
    assert form.values(head) == others
    for at in range(len(head)):
        changed = head[:at] + bytes([head[at] ^ 1]) + head[at + 1 :]
        again = form.values(changed)
        assert again != others
        assert (again is None) == (not _in_values(head, at, others))


def _in_values(head: bytes, at: int, values: Values) -> bool:
    return any(head.index(value) <= at < head.index(value) + len(value) for value in values)
