"""Heads of plain requests, read as bytes: what is asked for, and the four values of a signature.

    read(head)          the strict way: every line, every name; a `Form` and the values
    Form.values(head)   for a head that is like one that was read before: everything but the values, byte for byte

A client's requests for one thing differ in nothing but key, time, nonce and signature. So a head is compared with the
one before, in place of being parsed: what the rest of it means is then known.

Plain: `GET`, HTTP/1.1, one Host and the four headers of a signature, once each and in their usual lengths; no
credentials of another kind, nothing that announces a body, another protocol or the connection's end; no escapes in its
path or query, a blank after each colon, visible ASCII, no folded lines; one request, whole, and nothing after it.
Guarantees: what is read here, every HTTP parser reads, and as the same; anything else is None. Pure.
Not here: whether a value is right, or of the right characters: of those of a head that was compared nothing but their
length is known.
"""

import re
from dataclasses import dataclass
from itertools import pairwise
from struct import Struct
from typing import Final

from service.auth.signature import KEY_HEADER, NONCE_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER

MAX_HEAD_BYTES: Final = 4_096
MAX_HEADERS: Final = 32
"""Both far fewer than the edge allows: who sends more is not plain."""
MAX_KEY_CHARS: Final = 64
TIMESTAMP_DIGITS: Final = 13
"""From 2001 to 2286; far within the edge's own bounds."""
SIGNATURE_DIGITS: Final = 64
_NONCE_CHARS: Final = range(16, 65)
_SIGNED: Final = tuple(name.lower().encode() for name in (KEY_HEADER, TIMESTAMP_HEADER, NONCE_HEADER, SIGNATURE_HEADER))
_HOST: Final = b"host"
_CONNECTION: Final = b"connection"
_NOT_PLAIN: Final = frozenset(
    {
        b"authorization",
        b"cookie",
        b"content-length",
        b"transfer-encoding",
        b"expect",
        b"upgrade",
        b"proxy-connection",
        b"te",
        b"trailer",
    }
)
_HEAD: Final = re.compile(
    rb"GET (?P<path>(?:/[A-Za-z0-9_-]+)+)(?:\?(?P<query>[A-Za-z0-9_=&-]*))? HTTP/1\.1\r\n"
    rb"(?P<lines>(?:[A-Za-z0-9_-]+: [!-~](?:[ -~]*[!-~])?\r\n)+)\r\n"
)

Values = tuple[bytes, bytes, bytes, bytes]
"""Key, timestamp, nonce, signature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """All of a head but the values of its signature."""

    path: bytes
    query: bytes
    host: bytes
    _parts: Struct
    """What is fixed and what is a value, in turn."""
    _fixed: tuple[bytes, ...]
    _order: tuple[int, int, int, int]
    """Where among the parts key, timestamp, nonce and signature are."""

    def values(self, head: bytes) -> Values | None:
        """Those of a head of the same length; None: it differs in something else."""
        parts: tuple[bytes, ...] = self._parts.unpack(head)
        if parts[::2] != self._fixed:
            return None
        key, timestamp, nonce, signature = self._order
        return parts[key], parts[timestamp], parts[nonce], parts[signature]


def read(head: bytes) -> tuple[Form, Values] | None:
    """None: it is not plain."""
    if len(head) > MAX_HEAD_BYTES or (found := _HEAD.fullmatch(head)) is None:
        return None
    at, end = found.span("lines")
    host: bytes | None = None
    spans: dict[bytes, tuple[int, int]] = {}
    count = 0
    while at < end:
        stop = head.index(b"\r\n", at)
        name, _, value = head[at:stop].partition(b": ")
        name = name.lower()
        count += 1
        if name in _SIGNED:
            if name in spans:
                return None
            spans[name] = stop - len(value), stop
        elif name == _HOST:
            if host is not None:
                return None
            host = value
        elif name in _NOT_PLAIN or (name == _CONNECTION and value.lower() != b"keep-alive"):
            return None
        at = stop + 2
    if host is None or count > MAX_HEADERS or len(spans) != len(_SIGNED):
        return None
    key, timestamp, nonce, signature = (head[slice(*spans[name])] for name in _SIGNED)
    if (
        len(key) > MAX_KEY_CHARS
        or len(timestamp) != TIMESTAMP_DIGITS
        or len(nonce) not in _NONCE_CHARS
        or len(signature) != SIGNATURE_DIGITS
    ):
        return None
    edges = [0, *(edge for span in sorted(spans.values()) for edge in span), len(head)]
    fixed = tuple(head[edges[at] : edges[at + 1]] for at in range(0, len(edges), 2))
    in_order = sorted(_SIGNED, key=lambda name: spans[name])
    where = {name: 2 * place + 1 for place, name in enumerate(in_order)}
    form = Form(
        path=found["path"],
        query=found["query"] or b"",
        host=host,
        _parts=Struct("".join(f"{stop - start}s" for start, stop in pairwise(edges))),
        _fixed=fixed,
        _order=(where[_SIGNED[0]], where[_SIGNED[1]], where[_SIGNED[2]], where[_SIGNED[3]]),
    )
    return form, (key, timestamp, nonce, signature)
