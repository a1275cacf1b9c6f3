"""Who asks, and the permission that a route needs, as the type of its `caller` parameter.

    PublicCaller     anyone; a signature is not looked at
    ReadCaller       a key with read
    TradeCaller      a key with trade
    WithdrawCaller   a key with withdraw
    PersonCaller     a person who is signed in (`service.auth.session_caller`)

Guarantees: a key is looked up for every request, so that revocation, expiry and a changed allowlist count at once;
what a key may not do is answered only after its signature was right; permissions do not include each other.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant
from sqlalchemy import Connection, select
from starlette.routing import BaseRoute

from chains.tx.store import Clock
from chains.types import Address
from service.accounts.wallets import Wallet, get_wallet
from service.auth import keys, replay, signature
from service.auth.authority import Tampered
from service.auth.caveats import Arrival, Use, caveats_of, require
from service.auth.keys import ApiKey, IpAddress, Permission
from service.auth.secrets import MasterKey
from service.auth.session_caller import SessionCaller
from service.auth.signature import Signed
from service.db.engine import Database
from service.db.models import api_keys, wallets
from service.errors import ApiError, Told


@dataclass(frozen=True, slots=True, kw_only=True)
class WalletRef:
    """The one wallet of a key."""

    id: int
    address: Address
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A key whose request was signed right, now, from where it may come."""

    key: ApiKey
    wallet: WalletRef
    client_ip: IpAddress
    nonce: str
    timestamp_ms: int

    @property
    def key_id(self) -> str:
        return self.key.id

    @property
    def account_id(self) -> int:
        return self.key.account_id

    def claim_nonce(self, c: Connection) -> None:
        """In the unit of work that accepts a state change, first: once, and not by a key revoked meanwhile.

        Raises:
            ApiError: replayed, key_revoked.
        """
        if c.execute(select(api_keys.c.revoked_ms).where(api_keys.c.id == self.key_id)).scalar_one() is not None:
            raise ApiError("key_revoked", "this key was revoked")
        replay.claim_nonce(c, self.key_id, nonce=self.nonce, timestamp_ms=self.timestamp_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Anyone:
    """Who asks for something public. None where the client has no IP address."""

    client_ip: IpAddress | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Authenticator:
    """Turns a signature into a caller."""

    db: Database
    master: MasterKey
    clock: Clock
    nonces: replay.NonceCache

    async def authenticate(self, signed: Signed, text: bytes, *, client_ip: IpAddress) -> Caller:
        """The caller of a request whose signed text is `text`.

        Raises:
            ApiError: authentication_failed, timestamp_out_of_window, replayed, busy, key_revoked, key_expired,
                ip_not_allowed.
            Tampered, SealBroken, DatabaseError: the key cannot be read.
        """
        now_ms = self.clock.now_ms()
        signature.check_window(signed.timestamp_ms, now_ms=now_ms)
        key, wallet = await self.db.read(lambda c: self._load(c, signed.key_id))
        signature.verify(key, signed, text, master=self.master)
        if key is None or wallet is None:
            raise ApiError("authentication_failed", "the key has no wallet")
        self.nonces.remember(signed, now_ms=now_ms)
        try:
            if key.revoked_ms is not None:
                raise ApiError("key_revoked", "this key was revoked")
            require(caveats_of(key), Arrival(now_ms=now_ms, client_ip=client_ip))
        except ApiError as exc:
            # The owner sees in the audit log whose key it was.
            exc.told = Told(reason=exc.message, key=(key.id, key.account_id))
            raise
        return Caller(
            key=key,
            wallet=WalletRef(id=wallet.id, address=wallet.address, label=wallet.label),
            client_ip=client_ip,
            nonce=signed.nonce,
            timestamp_ms=signed.timestamp_ms,
        )

    def _load(self, c: Connection, key_id: str) -> tuple[ApiKey | None, Wallet | None]:
        key = keys.load_key(c, key_id, master=self.master)
        wallet = None if key is None else get_wallet(c, key.wallet_id, master=self.master)
        if key is not None and wallet is not None and wallet.account_id != key.account_id:
            raise Tampered(wallets)
        return key, wallet


def _public(request: Request) -> Anyone:
    return Anyone(client_ip=request.scope["state"].get("client_ip"))


def _needing(permission: Permission) -> Callable[[Request], Caller]:
    def check(request: Request) -> Caller:
        found = _found(request, "this path needs a signed request")
        if isinstance(found, SessionCaller):
            raise ApiError("permission_denied", "this path needs a request signed by a key, not a session")
        require(caveats_of(found.key), Use(permission=permission))
        return found

    return check


def _person(request: Request) -> SessionCaller:
    found = _found(request, "this path needs a session")
    if isinstance(found, Caller):
        raise ApiError("permission_denied", "this path needs a session, not a key")
    return found


def _found(request: Request, needs: str) -> Caller | SessionCaller:
    # Set by the middleware: a caller, or why there is none.
    found: Caller | SessionCaller | ApiError | None = request.scope["state"].get("caller")
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
PersonCaller = Annotated[SessionCaller, Depends(_person)]

SESSION: Final = "session"
Needs = Permission | Literal["session"] | None
"""What a route needs: a key with a permission, a session, or nothing."""

_DECLARED: Final[dict[object, Needs]] = {
    _public: None,
    _read: Permission.READ,
    _trade: Permission.TRADE,
    _withdraw: Permission.WITHDRAW,
    _person: SESSION,
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
