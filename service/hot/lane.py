"""The shortest way to a hot read: a plain signed request whose answer is in memory, judged and answered in one go.

    head (bytes) -> Lane.answer -> a 200 as it goes over the wire, or None: the edge takes it, as if nobody had looked

Plain: what `heads` reads, from a peer that is no proxy, for a route that is answered from memory; signed with HMAC by a
key that is remembered and freshly looked at; within all limits, counted by this process alone; its nonce needs no row.

Guarantees: only 200s come from here, the ones that the edge (`service.auth.middleware`) would give: each condition is
asked of whoever decides it there (limits, key memory, caveats, nonces, hot reads), so that there is one set of rules.
Nothing is taken or remembered before all of them are settled, and there is no await in between: a request that is left
to the edge has had no effect, and no signature works twice, once each way. A wrong signature is judged again there,
as any is; here, too, a key that is not known costs what a wrong signature does. Only what was answered makes a form
(`heads`) or a peer remembered, so that nobody without a key decides what is.
Not here: errors, and log lines; with the level at debug every request goes the whole way.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, NamedTuple, TypeVar

from prometheus_client import Counter

from service.auth.callers import Authenticator
from service.auth.keys import IpAddress
from service.auth.ready import Ready
from service.auth.signature import FUTURE_MS, PAST_MS
from service.auth.wellformed import check_host, check_query, client_address, normalized_hosts
from service.errors import ApiError
from service.hot import heads
from service.hot.heads import MAX_HEAD_BYTES, Form
from service.hot.reads import AtHand
from service.hot.table import HotTable
from service.ids import RequestIds
from service.observability.metrics import Metrics
from service.ratelimits.limits import Limits, bucket_of
from service.ratelimits.routetable import RouteTable, cost_of, weight_of
from service.settings import Settings

K = TypeVar("K")
V = TypeVar("V")

MAX_FORMS: Final = 2_000
"""Of heads; each some 1 KB, 5 KB at most. Then all are forgotten."""
MAX_PEERS: Final = 10_000
_METHOD: Final = "GET"
_IS_GET: Final = b"GET /v1/"
_NONCE_CHARS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
_ZERO: Final = 48
_OF_NOTHING: Final = sha256(b"").hexdigest().encode()
_NOBODY: Final = Ready(b"", ())
"""Only ever asked to spend the time; what it says is not used."""

_std_log: Final = logging.getLogger("cambist.http")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What is the same of all requests of a form."""

    form: Form
    cost: int
    body: AtHand
    signed: bytes
    """The last three lines of the text that is signed."""
    count: Counter


class _Peer(NamedTuple):
    address: IpAddress
    named: str
    bucket: str


class Lane:
    """One an app, used by its event loop."""

    def __init__(
        self,
        *,
        settings: Settings,
        authenticator: Authenticator,
        limits: Limits,
        table: RouteTable,
        hot: HotTable,
        metrics: Metrics,
    ) -> None:
        self._trusted: Final = settings.trusted_proxies
        self._allowed_hosts: Final = normalized_hosts(settings.allowed_hosts)
        self._clock: Final = authenticator.clock
        self._keys: Final = authenticator.keys
        self._nonces: Final = authenticator.nonces
        self._uses: Final = authenticator.uses
        self._limits: Final = limits
        self._table: Final = table
        self._hot: Final = hot
        self._metrics: Final = metrics
        self._ids: Final = RequestIds()
        self._known: Final[dict[tuple[int, bytes], _Known]] = {}
        """By a head's length and first line."""
        self._peers: Final[dict[str, _Peer]] = {}

    def answer(self, head: bytes, *, peer: str, before: bytes) -> bytes | None:
        """The whole answer to what one read of a connection brought; None, and nothing has happened, where the edge is
        to look. `peer` is its address, `before` the header lines that the server itself adds."""
        if not head.startswith(_IS_GET) or len(head) > MAX_HEAD_BYTES or _std_log.isEnabledFor(logging.DEBUG):
            return None
        named = len(head), head[: head.find(b"\r")]
        known = self._known.get(named)
        values = None if known is None else known.form.values(head)
        is_new = known is None or values is None
        if known is None or values is None:
            if (read := heads.read(head)) is None or (known := self._known_of(read[0])) is None:
                return None
            values = read[1]
        key, timestamp, nonce, signature = values
        # Of the edge's form. A key that is remembered has an id of the right one, and a signature is compared.
        if not timestamp.isdigit() or timestamp[0] == _ZERO or nonce.translate(None, _NONCE_CHARS):
            return None
        now_ms, timestamp_ms = self._clock.now_ms(), int(timestamp)
        if not -FUTURE_MS <= now_ms - timestamp_ms <= PAST_MS:
            return None
        came_from = self._peers.get(peer) or self._peer(peer)
        if came_from is None:
            return None
        key_id = key.decode("latin-1")
        held = self._keys.at_hand(key_id)
        ready = _NOBODY if held is None else held[1]
        is_right = ready.is_right(b"\n".join((timestamp, nonce, known.signed)), signature)
        if held is None or not is_right:
            return None
        if not (ready.may_read and ready.admits(now_ms, came_from.address, named=came_from.named)):
            return None
        loaded = held[0]
        body = known.body(loaded.wallet.id, now_ms)
        nonce_text = nonce.decode("latin-1")
        if body is None or not self._nonces.is_fresh(key_id, nonce_text, timestamp_ms=timestamp_ms, now_ms=now_ms):
            return None
        taken = self._limits.take_at_once(came_from.bucket, key_id, known.cost, now_ms=now_ms)
        if taken is None:
            return None
        limit, used, reset_s, _, _ = taken
        # As the edge's headers, and in their order.
        answer = (
            b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\ncontent-type: application/json\r\ncache-control: no-store\r\n"
            b"x-content-type-options: nosniff\r\nx-request-id: %b\r\nx-ratelimit-limit: %d\r\nx-ratelimit-used: %d\r\n"
            b"x-ratelimit-remaining: %d\r\nx-ratelimit-reset: %d\r\n\r\n%b"
            % (before, len(body), self._ids.next(now_ms).encode(), limit, used, limit - used, reset_s, body)
        )
        # From here on nothing is left to the edge.
        self._nonces.use_fresh(loaded.key.id, nonce_text, timestamp_ms=timestamp_ms)
        self._uses.note(loaded.key, now_ms=now_ms)
        known.count.inc()
        if is_new:
            _remember(self._known, named, known, most=MAX_FORMS)
        if peer not in self._peers:
            _remember(self._peers, peer, came_from, most=MAX_PEERS)
        return answer

    def _known_of(self, form: Form) -> _Known | None:
        """What it asks for; None where that is not answered here, or asked of somebody else."""
        path, query = form.path.decode(), form.query
        route, parts = self._table.find(_METHOD, path)
        if route is None:
            return None
        try:
            check_host([(b"host", form.host)], self._allowed_hosts)
            names: Mapping[str, str] = check_query(query)
        except ApiError:
            return None
        body = self._hot.at_hand(route, parts, names)
        if body is None:
            return None
        return _Known(
            form=form,
            cost=cost_of(weight_of(route, _METHOD), names),
            body=body,
            signed=b"\n".join([_METHOD.encode(), form.path + (b"?" + query if query else b""), _OF_NOTHING]),
            count=self._metrics.requests.labels(_METHOD, route.path, "200"),
        )

    def _peer(self, host: str) -> _Peer | None:
        address = client_address(host, (), ())
        # Whom a proxy speaks for is in its headers.
        if address is None or any(address in network for network in self._trusted):
            return None
        return _Peer(address, str(address), bucket_of(address))


def _remember(memory: dict[K, V], key: K, value: V, *, most: int) -> None:
    if len(memory) >= most:
        memory.clear()
    memory[key] = value
