"""Who asks, and the permission that a route needs, as the type of its `caller` parameter.

    PublicCaller     anyone; a signature is not looked at
    ReadCaller       a key with read
    TradeCaller      a key with trade
    WithdrawCaller   a key with withdraw
    KeyCaller        a key with any permission
    PersonCaller     a person who is signed in (`service.auth.session_caller`)
    EitherCaller     a key with withdraw, or a person: what stops a withdrawal, or decides about one

Guarantees: revocation, expiry and a changed allowlist count at once, where they were made in this process, and within
a second elsewhere (`keymemory`); a refusal is never from memory; what a key may not do is answered only after its
signature was right; permissions do not include each other.
"""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant
from sqlalchemy import Connection
from starlette.routing import BaseRoute

from chains.tx.store import Clock
from service.auth import replay, signature
from service.auth.caveats import Arrival, Caveat, Use, caveats_of, require
from service.auth.keymemory import KeyMemory, LoadedKey, WalletRef
from service.auth.keys import ApiKey, IpAddress, Permission, refuse_if_changed
from service.auth.last_use import LastUses
from service.auth.secrets import MasterKey
from service.auth.session_caller import SessionCaller
from service.auth.signature import Signed
from service.errors import ApiError, Told


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A key whose request was signed right, now, from where it may come."""

    key: ApiKey
    wallet: WalletRef
    client_ip: IpAddress
    nonce: str
    timestamp_ms: int
    nonce_is_stored: bool = False
    """It has a row already (`replay.Nonces`)."""
    caveats: tuple[Caveat, ...] = ()
    """The key's, where they were made already."""

    @property
    def key_id(self) -> str:
        return self.key.id

    @property
    def account_id(self) -> int:
        return self.key.account_id

    def claim_nonce(self, c: Connection) -> None:
        """In the unit of work that accepts a state change, first: once, and not by a key that was revoked, or may do
        something else, since the request was let in. Placing something asks a chain in between, for seconds.

        Raises:
            ApiError: replayed, key_revoked, try_again.
        """
        refuse_if_changed(c, self.key)
        if not self.nonce_is_stored:
            replay.claim_nonce(c, self.key_id, nonce=self.nonce, timestamp_ms=self.timestamp_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Anyone:
    """Who asks for something public. None where the client has no IP address."""

    client_ip: IpAddress | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Authenticator:
    """Turns a signature into a caller."""

    master: MasterKey
    clock: Clock
    keys: KeyMemory
    nonces: replay.Nonces
    uses: LastUses

    async def authenticate(self, signed: Signed, text: bytes, *, client_ip: IpAddress, is_read: bool) -> Caller:
        """The caller of a request whose signed text is `text`. `is_read`: it changes nothing.

        Raises:
            ApiError: authentication_failed, timestamp_out_of_window, replayed, busy, key_inactive, key_revoked,
                key_expired, ip_not_allowed.
            Tampered, SealBroken, DatabaseError: the key cannot be read.
        """
        now_ms = self.clock.now_ms()
        signature.check_window(signed.timestamp_ms, now_ms=now_ms)
        arrival = Arrival(now_ms=now_ms, client_ip=client_ip)
        loaded = await self.keys.remembered(signed.key_id)
        admitted = self._would_pass(loaded, signed, text, arrival=arrival)
        if not admitted:
            # What is widened counts at once, and what a stranger is told costs the same whatever is remembered.
            loaded = await self.keys.load(signed.key_id)
            self._verify(loaded, signed, text)
        if loaded is None:
            raise ApiError("authentication_failed", "the key has no wallet")
        nonce_is_stored = await self.nonces.use(signed, now_ms=now_ms, is_read=is_read)
        if not admitted:
            try:
                _require_admitted(loaded, arrival)
            except ApiError as exc:
                # The owner sees in the audit log whose key it was.
                exc.told = Told(reason=exc.message, key=(loaded.key.id, loaded.key.account_id))
                raise
        self.uses.note(loaded.key, now_ms=now_ms)
        return Caller(
            key=loaded.key,
            wallet=loaded.wallet,
            client_ip=client_ip,
            nonce=signed.nonce,
            timestamp_ms=signed.timestamp_ms,
            nonce_is_stored=nonce_is_stored,
            caveats=loaded.caveats,
        )

    def _would_pass(self, loaded: LoadedKey | None, signed: Signed, text: bytes, *, arrival: Arrival) -> bool:
        try:
            # Of none, too: it takes as long, and is never right.
            self._verify(loaded, signed, text)
            if loaded is not None:
                _require_admitted(loaded, arrival)
        except ApiError:
            return False
        return loaded is not None

    def _verify(self, loaded: LoadedKey | None, signed: Signed, text: bytes) -> None:
        signature.verify(None if loaded is None else loaded.key, signed, text, master=self.master)


def _require_admitted(loaded: LoadedKey, arrival: Arrival) -> None:
    """Raises: ApiError: key_revoked, and what the caveats of an arrival say."""
    if loaded.key.revoked_ms is not None:
        raise ApiError("key_revoked", "this key was revoked")
    require(loaded.caveats, arrival)


Found = Caller | SessionCaller | ApiError | None
"""What the edge made of a request's credentials: who, why nobody, or that there are none."""


# Coroutine functions though they wait for nothing: FastAPI has a thread call any other, for each request.


async def _public(request: Request) -> Anyone:
    return Anyone(client_ip=request.scope["state"].get("client_ip"))


def _needing(permission: Permission) -> Callable[[Request], Awaitable[Caller]]:
    async def check(request: Request) -> Caller:
        return _key_with(_found(request), permission)

    return check


async def _any_key(request: Request) -> Caller:
    return _key(_found(request))


async def _person(request: Request) -> SessionCaller:
    return _someone(_found(request))


async def _either(request: Request) -> Caller | SessionCaller:
    return _key_or_someone(_found(request))


def _found(request: Request) -> Found:
    found: Found = request.scope["state"].get("caller")
    return found


def admitted(found: Found, needs: "Needs") -> Caller | SessionCaller | None:
    """What a route's `caller` is for that need; None for a public one. Raises: ApiError, as the route would."""
    match needs:
        case None:
            return None
        case Permission():
            return _key_with(found, needs)
        case "key":
            return _key(found)
        case "session":
            return _someone(found)
        case "withdraw or session":
            return _key_or_someone(found)


def _key_with(found: Found, permission: Permission) -> Caller:
    caller = _key(found)
    require(caller.caveats or caveats_of(caller.key), Use(permission=permission))
    return caller


def _key(found: Found) -> Caller:
    proven = _proven(found, "this path needs a signed request")
    if isinstance(proven, SessionCaller):
        raise ApiError("permission_denied", "this path needs a request signed by a key, not a session")
    return proven


def _someone(found: Found) -> SessionCaller:
    proven = _proven(found, "this path needs a session")
    if isinstance(proven, Caller):
        raise ApiError("permission_denied", "this path needs a session, not a key")
    return proven


def _key_or_someone(found: Found) -> Caller | SessionCaller:
    proven = _proven(found, "this path needs a signed request or a session")
    if isinstance(proven, Caller):
        require(caveats_of(proven.key), Use(permission=Permission.WITHDRAW))
    return proven


def _proven(found: Found, needs: str) -> Caller | SessionCaller:
    if found is None:
        raise ApiError("authentication_required", needs)
    if isinstance(found, ApiError):
        raise found
    return found


_read, _trade, _withdraw = (_needing(permission) for permission in Permission)

PublicCaller = Annotated[Anyone, Depends(_public)]
ReadCaller = Annotated[Caller, Depends(_read)]
TradeCaller = Annotated[Caller, Depends(_trade)]
WithdrawCaller = Annotated[Caller, Depends(_withdraw)]
KeyCaller = Annotated[Caller, Depends(_any_key)]
PersonCaller = Annotated[SessionCaller, Depends(_person)]
EitherCaller = Annotated[Caller | SessionCaller, Depends(_either)]

SESSION: Final = "session"
KEY: Final = "key"
EITHER: Final = "withdraw or session"
Needs = Permission | Literal["session", "key", "withdraw or session"] | None
"""What a route needs: a key with a permission, any key, a session, either of the two, or nothing."""

_DECLARED: Final[dict[object, Needs]] = {
    _public: None,
    _read: Permission.READ,
    _trade: Permission.TRADE,
    _withdraw: Permission.WITHDRAW,
    _any_key: KEY,
    _person: SESSION,
    _either: EITHER,
}


class NoCallerDeclared(TypeError):
    """A route does not say who may use it."""


def declared_caller(route: BaseRoute) -> Needs:
    """What a route needs; None for a public one. Raises: NoCallerDeclared: not exactly one."""
    dependant = getattr(route, "dependant", None)
    found = [] if dependant is None else [one.call for one in _all(dependant) if one.call in _DECLARED]
    if len(found) != 1:
        path = getattr(route, "path", route)
        raise NoCallerDeclared(f"{path} declares {len(found)} callers; every route names exactly one")
    return _DECLARED[found[0]]


def _all(dependant: Dependant) -> Iterator[Dependant]:
    for one in dependant.dependencies:
        yield one
        yield from _all(one)
