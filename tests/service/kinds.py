"""Kinds of callers: keys of every sort, sessions of every role, and requests that are signed wrong or not at all."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import Final

import httpx
from sqlalchemy import Connection

from chains.types import ChainId
from service.accounts import sessions, users, wallets
from service.accounts.people import Role, account_by_name, add_member, ensure_account
from service.accounts.sessions import Carrier, Lifetimes
from service.auth import keys
from service.auth.callers import KEY, SESSION, Needs
from service.auth.key_model import NewKey
from service.auth.keys import Created, Permission
from service.auth.restrictions import Restrictions
from service.ids import new_id
from tests.service.api import CLIENT, Api
from tests.service.auth.seed import DAY_MS, new_key
from tests.service.books_seed import address_of

EVERY: Final = frozenset(Permission)
OTHERS_WALLET: Final = address_of(2)
_ELSEWHERE: Final = ip_network("203.0.113.0/24")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of caller: the permissions of its key, or its being a session; `refused` is what it always gets."""

    permissions: frozenset[Permission] = frozenset()
    in_session: bool = False
    refused: str | None = None
    session_of: str | None = None

    def refusal(self, needs: Needs) -> str | None:
        """What the matrix says: the code that this kind gets of a route, None where it may pass."""
        if needs is None:
            return None
        if self.refused is not None:
            return self.refused
        # `withdraw or session` takes either.
        ways = set(str(needs).split(" or "))
        has = {SESSION} if self.in_session else {KEY, *(str(one) for one in self.permissions)}
        return None if ways & has else "permission_denied"


KINDS: Final[Mapping[str, Kind]] = {
    **{str(one): Kind(permissions=frozenset({one})) for one in Permission},
    "all": Kind(permissions=EVERY),
    "of another chain": Kind(permissions=EVERY),
    "of another account": Kind(permissions=EVERY),
    "expired": Kind(permissions=EVERY, refused="key_expired"),
    "revoked": Kind(permissions=EVERY, refused="key_revoked"),
    "wrong ip": Kind(permissions=EVERY, refused="ip_not_allowed"),
    "inactive": Kind(permissions=EVERY, refused="key_inactive"),
    "lapsed": Kind(permissions=EVERY, refused="key_inactive"),
    "bad signature": Kind(permissions=EVERY, refused="authentication_failed"),
    "unknown key": Kind(permissions=EVERY, refused="authentication_failed"),
    "old timestamp": Kind(permissions=EVERY, refused="timestamp_out_of_window"),
    "half signed": Kind(permissions=EVERY, refused="authentication_failed"),
    "nothing": Kind(refused="authentication_required"),
    **{f"session of {role}": Kind(in_session=True, session_of=str(role)) for role in Role},
    "session of a stranger": Kind(in_session=True, session_of="stranger"),
    "ended session": Kind(in_session=True, refused="session_ended"),
}


class Callers:
    """Requests by each kind, over an `Api`, whose account is `main` and has one wallet."""

    def __init__(self, service: Api, made: Mapping[str, Created], people: Mapping[str, int]) -> None:
        self._service: Final = service
        self._made = made
        self._people: Final = people

    async def ask(
        self, kind: str, method: str, target: str, *, body: bytes = b"", more: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """One request; the clock goes on by a second before it, so that no bucket of a rate limit is empty."""
        self._service.clock.advance_ms(1_000)
        headers = {**(more or {}), **await self._headers(kind, method, target, body)}
        if body:
            headers.setdefault("content-type", "application/json")
        self._service.client.cookies.clear()
        return await self._service.client.request(method, target, content=body, headers=headers)

    def use(self, kind: str, created: Created) -> None:
        """Ask with that key from now on."""
        self._made = {**self._made, kind: created}

    def user_of(self, who: str) -> int:
        """The id of the person of that role."""
        return self._people[who]

    def key_of(self, kind: str) -> str:
        """The id of that kind's key."""
        return self._made[kind].key.id

    async def session(self, who: str) -> str:
        """A new session's token."""
        service = self._service
        now_ms, session_id = service.clock.now_ms(), new_id(service.clock)
        lifetimes = Lifetimes(absolute_ms=DAY_MS, idle_ms=DAY_MS)
        _, token = await service.services.db.run(
            lambda c: sessions.create(
                c,
                session_id,
                user_id=self._people[who],
                carrier=Carrier.BEARER,
                lifetimes=lifetimes,
                client_ip=CLIENT[0],
                agent="",
                master=service.services.master,
                now_ms=now_ms,
            )
        )
        return token

    async def _headers(self, kind: str, method: str, target: str, body: bytes) -> dict[str, str]:
        found = KINDS[kind]
        if kind == "nothing":
            return {}
        if kind == "ended session":
            return {"authorization": f"Bearer {sessions.PREFIX}{'x' * 43}"}
        if found.session_of is not None:
            return {"authorization": f"Bearer {await self.session(found.session_of)}"}
        service = self._service
        at_ms = service.clock.now_ms() - (DAY_MS if kind == "old timestamp" else 0)
        used = {"bad signature": "all", "unknown key": "all", "old timestamp": "all", "half signed": "all"}.get(
            kind, kind
        )
        previous = dict(service.keys)
        service.keys = {**previous, **self._made}
        try:
            headers = service.signed(used, method, target, body=body, timestamp_ms=at_ms)
        finally:
            service.keys = previous
        changes: Mapping[str, Callable[[dict[str, str]], dict[str, str]]] = {
            "bad signature": lambda h: h | {"X-Cambist-Signature": _flipped(h["X-Cambist-Signature"])},
            "unknown key": lambda h: h | {"X-Cambist-Key": "ck_" + "0" * 16},
            "half signed": lambda h: {name: value for name, value in h.items() if name != "X-Cambist-Signature"},
        }
        return changes[kind](headers) if kind in changes else headers


async def callers(service: Api) -> Callers:
    """One of each kind in an `Api`'s account `main`, and another account beside it."""
    master, now_ms = service.services.master, service.clock.now_ms()

    def write(c: Connection) -> tuple[dict[str, Created], dict[str, int]]:
        main = account_by_name(c, "main")
        assert main is not None
        (wallet,) = wallets.list_wallets(c, master=master)
        every = new_key(wallet, *Permission)
        wanted: dict[str, NewKey] = {str(one): new_key(wallet, one, label=f"only {one}") for one in Permission} | {
            "all": every,
            "of another chain": replace(every, restrictions=Restrictions(chains=frozenset({ChainId(424_242)}))),
            "expired": replace(every, expires_ms=now_ms + 1_000),
            "revoked": every,
            "wrong ip": replace(every, ip_allowlist=(_ELSEWHERE,)),
            "inactive": replace(every, lapses_ms=now_ms + DAY_MS),
            "lapsed": replace(every, lapses_ms=now_ms + 1_000),
        }
        ensure_account(c, "others", owner="oscar", master=master, now_ms=now_ms)
        others = account_by_name(c, "others")
        assert others is not None
        theirs = wallets.insert_wallet(
            c,
            account_id=others.id,
            address=OTHERS_WALLET,
            label="theirs",
            signer="keystore",
            master=master,
            now_ms=now_ms,
        )
        wanted["of another account"] = new_key(theirs, *Permission)
        made = {
            kind: keys.create_key(c, replace(new, label=f"kind {kind}"), master=master, now_ms=now_ms)
            for kind, new in wanted.items()
        }
        keys.revoke_key(c, made["revoked"].key.id, master=master, now_ms=now_ms)
        people: dict[str, int] = {}
        for role in Role:
            user = users.insert_user(c, f"the.{role}", now_ms=now_ms)
            users.make_credential(c, user, password_hash="none", master=master, now_ms=now_ms)
            add_member(c, user.id, account_id=main.id, role=role, master=master, now_ms=now_ms)
            people[str(role)] = user.id
        oscar = users.user_named(c, "oscar")
        assert oscar is not None
        users.make_credential(c, oscar, password_hash="none", master=master, now_ms=now_ms)
        people["stranger"] = oscar.id
        return made, people

    made, people = await service.services.db.run(write)
    service.clock.advance_ms(2_000)
    return Callers(service, made, people)


def _flipped(signature: str) -> str:
    """Wrong by its last digit."""
    return signature[:-1] + ("0" if signature[-1] != "0" else "1")
