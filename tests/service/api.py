"""The real app over a real SQLite, with no chain active: for what happens before a route is at work."""

import secrets
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from functools import cache
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

import httpx
from fastapi import FastAPI
from sqlalchemy import Connection
from starlette.routing import BaseRoute

from service.accounts import sessions, totp, users
from service.accounts.passwords import PasswordHasher
from service.accounts.sessions import Carrier, Lifetimes
from service.app import create_app
from service.auth import keys
from service.auth.keys import Created, Permission
from service.auth.secrets import MasterKey
from service.auth.signature import sign_request
from service.build import Services, build
from service.db.engine import Database
from service.ids import new_id
from service.settings import Settings
from tests.clock import FakeClock
from tests.databases import place_migrated
from tests.service.auth.seed import DAY_MS, new_key, seed_wallet
from tests.service.served import AsServed

CLIENT: Final = ("127.0.0.1", 50_000)
KINDS: Final = ("read", "trade", "withdraw", "session", "expired", "revoked", "wrong_ip")


@dataclass(slots=True, kw_only=True)
class Api:
    """An app and what a client needs for it."""

    services: Services
    clock: FakeClock
    keys: Mapping[str, Created]
    app: FastAPI
    client: httpx.AsyncClient
    seed: bytes = b""
    """Of Ada's authenticator, once there is one."""

    def signed(
        self, key: str, method: str, target: str, *, body: bytes = b"", timestamp_ms: int | None = None
    ) -> dict[str, str]:
        """The headers of a request by that kind of key, signed now unless told otherwise."""
        created = self.keys[key]
        headers = sign_request(
            created.key.id,
            (created.secret or "").encode(),
            method=method,
            target=target,
            body=body,
            timestamp_ms=self.clock.now_ms() if timestamp_ms is None else timestamp_ms,
            nonce=secrets.token_hex(16),
        )
        return dict(headers)

    async def ask(self, method: str, target: str, *, key: str | None = None, body: bytes = b"") -> httpx.Response:
        if key == "session":
            headers = {"authorization": f"Bearer {await self.session()}"}
        else:
            headers = {} if key is None else self.signed(key, method, target, body=body)
        if body:
            headers["content-type"] = "application/json"
        return await self.client.request(method, target, content=body, headers=headers)

    async def authenticator(self) -> None:
        """Give Ada one, and let the hold pass that this begins: sessions are to be made afterwards."""
        master = self.services.master

        def write(c: Connection, now_ms: int) -> None:
            session = sessions.by_token(c, token, master=master)
            assert session is not None
            for step in ("begin", "confirm"):
                credential = users.credential_of(c, session.user_id, master=master)
                assert credential is not None
                if step == "begin":
                    self.seed = users.begin_totp(c, credential, master=master, now_ms=now_ms)
                    continue
                code = totp.code_at(self.seed, totp.step_at(now_ms))
                users.confirm_totp(c, credential, code=code, keep=session.id, master=master, now_ms=now_ms)

        token = await self.session()
        await self.services.db.run(lambda c: write(c, self.clock.now_ms()))
        self.clock.advance_ms(users.HOLD_MS)

    def totp_code(self) -> str:
        """A code of Ada's authenticator that was not used, half a minute later."""
        self.clock.advance_ms(totp.STEP_S * 1_000)
        return totp.code_at(self.seed, totp.step_at(self.clock.now_ms()))

    async def session(self, carrier: Carrier = Carrier.BEARER) -> str:
        """The token of a new session of Ada, who owns the account."""
        session_id, now_ms, master = new_id(self.clock), self.clock.now_ms(), self.services.master
        lifetimes = Lifetimes(absolute_ms=DAY_MS, idle_ms=DAY_MS)

        def write(c: Connection) -> str:
            ada = users.user_named(c, "ada")
            assert ada is not None
            if users.credential_of(c, ada.id, master=master) is None:
                users.make_credential(c, ada, password_hash="none", master=master, now_ms=now_ms)
            return sessions.create(
                c,
                session_id,
                user_id=ada.id,
                carrier=carrier,
                lifetimes=lifetimes,
                client_ip=CLIENT[0],
                agent="",
                master=master,
                now_ms=now_ms,
            )[1]

        return await self.services.db.run(write)


@asynccontextmanager
async def api(directory: Path, *, rows: Path | None = None, **settings: Any) -> AsyncIterator[Api]:
    """A service with one wallet and a key of every kind, each with all permissions of its name only.

    `rows` is a database to begin with a copy of: `kept` of one that this made, in this process.
    """
    clock = FakeClock()
    made = Settings(
        data_dir=directory / "data",
        master_key_file=directory / "master.key",
        **{"sign_in_requests_per_minute": 6_000} | settings,
    )
    made_keys = await _place_with_keys(made.data_dir / "cambist.sqlite", directory / "master.key", clock)
    if rows is not None:
        shutil.copyfile(rows, made.data_dir / "cambist.sqlite")
    # A cheap hash: what is tested here is when one is made, not how long it takes.
    services = replace(await build(made, clock=clock), passwords=PasswordHasher(time_cost=1, memory_kib=64))
    try:
        # Past the expired key's end.
        clock.advance_ms(1_000)
        app = app_of(services)
        transport = AsServed(app, client=CLIENT)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            yield Api(services=services, clock=clock, keys=made_keys, app=app, client=client)
    finally:
        await services.close()


def kept(service: Api, name: str) -> Path:
    """A copy of its database as it is now, until the end of this process."""
    path = Path(_directory().name) / f"{name}.sqlite"
    database = service.services.settings.data_dir / "cambist.sqlite"
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(path)) as target:
        source.backup(target)
    return path


def app_of(services: Services) -> FastAPI:
    """The app, with the routes and the page of the first that this process made.

    They depend on nothing but the routers, and what FastAPI works out of them at their first request (parameters, the
    page) takes longer than most tests.
    """
    app = create_app(services)
    routes = _routes()
    if not routes:
        routes.extend(app.router.routes)
    app.router.routes = routes
    described = app.openapi

    def page() -> dict[str, Any]:
        pages = _pages()
        if not pages:
            pages.append(described())
        return pages[0]

    app.openapi = page  # type: ignore[method-assign]
    return app


def code_of(answer: httpx.Response) -> str:
    """The code of a problem, held to its form."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    found = answer.json()
    assert set(found) - {"errors"} == {"type", "title", "status", "code", "detail", "hint", "instance"}
    assert found["status"] == answer.status_code
    assert found["instance"] == f"urn:uuid:{answer.headers['x-request-id']}"
    return str(found["code"])


@cache
def _routes() -> list[BaseRoute]:
    return []


@cache
def _pages() -> list[dict[str, Any]]:
    return []


async def _place_with_keys(path: Path, master_key_file: Path, clock: FakeClock) -> dict[str, Created]:
    """A database with a wallet and the keys, and the master key of their MACs: copies of the first of this process.

    Making them takes longer than most tests.
    """
    template, made = Path(_directory().name), _made()
    if not made:
        master = MasterKey.create(template / "master.key")
        await place_migrated(template / "cambist.sqlite")
        database = await Database.open(f"sqlite:///{template / 'cambist.sqlite'}")
        try:
            made |= await database.run(lambda c: _keys(c, master, clock.now_ms()))
        finally:
            await database.close()
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(template / "cambist.sqlite", path)
    # With its mode: a master key that others may read is refused.
    shutil.copy(template / "master.key", master_key_file)
    return dict(made)


@cache
def _made() -> dict[str, Created]:
    return {}


@cache
def _directory() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="cambist-keys-")


def _keys(c: Connection, master: MasterKey, now_ms: int) -> dict[str, Created]:
    wallet = seed_wallet(c, master)
    every = new_key(wallet, *Permission)
    wanted = {str(one): new_key(wallet, one, label=str(one)) for one in Permission} | {
        "expired": replace(every, label="expired", expires_ms=now_ms + 1_000),
        "revoked": replace(every, label="revoked", expires_ms=now_ms + DAY_MS),
        "wrong_ip": replace(every, label="wrong_ip", ip_allowlist=(ip_network("203.0.113.7/32"),)),
    }
    made = {name: keys.create_key(c, new, master=master, now_ms=now_ms) for name, new in wanted.items()}
    keys.revoke_key(c, made["revoked"].key.id, master=master, now_ms=now_ms)
    return made
