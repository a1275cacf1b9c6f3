"""A person's session as a caller, beside keys: from a bearer token (programs) or a cookie (browsers).

    Authorization: Bearer cs_...      a program; nothing else is looked at
    Cookie: __Host-session=cs_...     a browser; whatever changes state also needs an Origin of this service and the
                                      session's token in X-Cambist-CSRF

Guarantees: a request with more than one kind of credentials (signature, bearer token, cookie) is refused, whatever its
route; a session is looked up for every request, so that ending it counts at once; a token works only where it was given
for. The cookie's prefix makes browsers keep it to this host, to TLS (loopback apart) and to no other path.
Not here: signing in (`service.accounts`).
"""

import hmac
import re
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from chains.tx.store import Clock
from service.accounts import sessions, users
from service.accounts.sessions import Carrier, Session
from service.accounts.users import Credential
from service.auth.keys import IpAddress
from service.auth.secrets import MasterKey
from service.auth.signature import is_signed
from service.auth.wellformed import Headers
from service.db.engine import Database
from service.errors import ApiError

COOKIE: Final = "__Host-session"
CSRF_HEADER: Final = "X-Cambist-CSRF"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_TOKEN: Final = re.compile(rf"{sessions.PREFIX}[A-Za-z0-9_-]{{43}}")
_CARRIERS: Final = frozenset({b"authorization", b"cookie"})
_LOOPBACK: Final = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCaller:
    """A person who is signed in, now."""

    session: Session
    user_id: int
    name: str
    owns_installation: bool
    has_totp: bool
    held_until_ms: int
    client_ip: IpAddress | None

    @property
    def id(self) -> str:
        return f"session:{self.session.id}"

    def check_open(self, c: Connection) -> None:
        """In the unit of work that changes something: not by a session ended meanwhile. Raises: ApiError."""
        if not sessions.is_open(c, self.session.id):
            raise _ended()


@dataclass(frozen=True, slots=True, kw_only=True)
class Presented:
    """A token and where it came."""

    token: str
    carrier: Carrier

    def __repr__(self) -> str:
        return f"Presented(carrier={self.carrier})"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionAuthenticator:
    """Turns a session's token into a caller."""

    db: Database
    master: MasterKey
    clock: Clock
    idle_ms: int

    async def authenticate(
        self, presented: Presented, headers: Headers, *, method: str, client_ip: IpAddress | None
    ) -> SessionCaller:
        """The caller of a request.

        Raises:
            ApiError: session_ended, origin_not_allowed, csrf_failed.
            Tampered, DatabaseError: the session cannot be read.
        """
        now_ms = self.clock.now_ms()
        session, credential = await self.db.read(lambda c: self._load(c, presented.token))
        if session is None or credential is None or session.carrier is not presented.carrier:
            raise _ended()
        if session.is_over(now_ms, idle_ms=self.idle_ms):
            raise _ended()
        if session.carrier is Carrier.COOKIE and method not in SAFE_METHODS:
            check_origin(headers)
            self._check_csrf(session, headers)
        if now_ms - session.last_seen_ms >= sessions.SEEN_EVERY_MS:
            await self.db.run(lambda c: sessions.touch(c, session.id, master=self.master, now_ms=now_ms))
        return SessionCaller(
            session=session,
            user_id=credential.user_id,
            name=credential.name,
            owns_installation=credential.owns_installation,
            has_totp=credential.has_totp,
            held_until_ms=credential.held_until_ms,
            client_ip=client_ip,
        )

    def _load(self, c: Connection, token: str) -> tuple[Session | None, Credential | None]:
        session = sessions.by_token(c, token, master=self.master)
        if session is None:
            return None, None
        return session, users.credential_of(c, session.user_id, master=self.master)

    def _check_csrf(self, session: Session, headers: Headers) -> None:
        given = _values(headers, CSRF_HEADER.lower().encode())
        right = csrf_token(self.master, session.id).encode()
        if len(given) != 1 or not hmac.compare_digest(given[0], right):
            raise ApiError("csrf_failed", f"{CSRF_HEADER} does not have this session's token")


def read_session(headers: Headers) -> Presented | None:
    """The token of a request from its raw headers; None where it has none.

    Raises:
        ApiError: session_ended: it is malformed. ambiguous_credentials: more than one kind, or one twice.
    """
    if not any(name in _CARRIERS for name, _ in headers):
        return None
    bearers = _values(headers, b"authorization")
    cookies = [value for line in _values(headers, b"cookie") for value in _cookies(line)]
    if len(bearers) + len(cookies) + is_signed(headers) > 1:
        raise ApiError("ambiguous_credentials", "a request has a signature, a bearer token or a session cookie")
    if not bearers and not cookies:
        return None
    carrier, text = (Carrier.BEARER, bearers[0].decode("latin-1")) if bearers else (Carrier.COOKIE, cookies[0])
    if carrier is Carrier.BEARER:
        scheme, _, text = text.partition(" ")
        text = text if scheme.lower() == "bearer" else ""
    if not _TOKEN.fullmatch(text):
        raise _ended()
    return Presented(token=text, carrier=carrier)


def check_origin(headers: Headers) -> None:
    """That a browser's request comes from a page of this service (its Host was checked before).

    Raises:
        ApiError: origin_not_allowed.
    """
    hosts, origins = _values(headers, b"host"), _values(headers, b"origin")
    if len(hosts) == 1 and len(origins) == 1:
        host, origin = (one[0].decode("latin-1").lower() for one in (hosts, origins))
        # In the clear only on this machine, where browsers take it for safe, too.
        if origin == f"https://{host}" or (origin == f"http://{host}" and _LOOPBACK.fullmatch(host)):
            return
    raise ApiError("origin_not_allowed", "the Origin header does not name this service")


def csrf_token(master: MasterKey, session_id: str) -> str:
    """What a page of ours sends along and a page of others does not know."""
    return hmac.digest(master.subkey("csrf"), session_id.encode(), "sha256").hex()


def _cookies(line: bytes) -> list[str]:
    pairs = (pair.strip().partition("=") for pair in line.decode("latin-1").split(";"))
    return [value for name, _, value in pairs if name == COOKIE]


def _values(headers: Headers, name: bytes) -> list[bytes]:
    return [value for given, value in headers if given == name]


def _ended() -> ApiError:
    return ApiError("session_ended", "there is no such session, or it has ended")
