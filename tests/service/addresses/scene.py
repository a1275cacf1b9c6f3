"""An API with two chains that a scripted node answers for, and Ada, who owns the account, with an authenticator."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import orjson
from sqlalchemy import Connection

from chains.client import EvmClient
from chains.errors import RpcError, RpcRefused
from service.accounts import people, sessions, users
from service.accounts.people import Role
from service.accounts.sessions import Carrier, Lifetimes
from service.build import ChainRuntime
from service.ids import new_id
from tests.service.api import CLIENT, Api, api
from tests.service.auth.seed import DAY_MS
from tests.service.books_seed import address_of
from tests.service.ledger_node import scripted_chains

JOINED = 2 * DAY_MS
"""How long ago people joined, unless told otherwise."""
EXCHANGE = address_of(0x1234_5678)
SAFE, UNLISTED_TOKEN, OTHER = address_of(0x5AFE_0000), address_of(0x70CE_0000), address_of(0x99_0000)


@dataclass(slots=True, kw_only=True)
class CodeNode:
    """A `Transport` that knows which addresses have code, and what they answer."""

    name: str
    code: dict[str, str] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)

    async def request(self, method: str, params: Sequence[Any]) -> Any:
        match method:
            case "eth_getCode":
                return self.code.get(params[0], "0x")
            case "eth_call" if params[0]["to"] in self.tokens:
                return "0x" + (7).to_bytes(32, "big").hex()
            case "eth_call":
                raise RpcRefused("execution reverted", endpoint=self.name, method=method, code=3, data="0x")
            case other:
                raise RpcRefused(f"no {other} here", endpoint=self.name, method=method, code=-32601)

    async def batch(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any | RpcError]:
        return [await self.request(method, params) for method, params in calls]

    async def close(self) -> None: ...


@dataclass(slots=True, kw_only=True)
class Scene:
    """Who asks is Ada unless a token is given."""

    service: Api
    node: CodeNode
    token: str

    async def ask(
        self, method: str, target: str, body: Mapping[str, Any] | None = None, *, token: str | None = None
    ) -> httpx.Response:
        headers = {"authorization": f"Bearer {token or self.token}"}
        if body is None:
            return await self.service.client.request(method, target, headers=headers)
        headers["content-type"] = "application/json"
        return await self.service.client.request(method, target, headers=headers, content=orjson.dumps(body))

    async def add(self, address: str = EXCHANGE, name: str = "exchange", **more: Any) -> httpx.Response:
        """With a fresh code unless one is given."""
        body = {"chain": "ethereum", "address": address, "name": name, "totp_code": "", **more}
        if body["totp_code"] == "":
            body["totp_code"] = self.service.totp_code()
        return await self.ask("POST", "/v1/addresses", {k: v for k, v in body.items() if v is not None})

    async def book(self, **query: str) -> dict[str, Any]:
        answer = await self.ask("GET", "/v1/addresses" + ("?" + "&".join(f"{k}={v}" for k, v in query.items())))
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def person(
        self, name: str, *, role: Role | None = None, account: str = "main", joined_ago_ms: int = JOINED
    ) -> str:
        """The session of another user, with a role in the account or with an account of their own."""
        services, now_ms = self.service.services, self.service.clock.now_ms()
        session_id, master = new_id(self.service.clock), self.service.services.master

        def write(c: Connection) -> str:
            user = users.user_named(c, name)
            if user is None:
                if role is None:
                    people.ensure_account(c, name, owner=name, master=master, now_ms=now_ms)
                    user = users.user_named(c, name)
                    assert user is not None
                else:
                    user = users.insert_user(c, name, now_ms=now_ms)
                users.make_credential(c, user, password_hash="none", master=master, now_ms=now_ms)
            if role is not None:
                found = people.account_by_name(c, account)
                assert found is not None
                since_ms = now_ms - joined_ago_ms
                people.add_member(c, user.id, account_id=found.id, role=role, master=master, now_ms=since_ms)
            return sessions.create(
                c,
                session_id,
                user_id=user.id,
                carrier=Carrier.BEARER,
                lifetimes=Lifetimes(absolute_ms=100 * DAY_MS, idle_ms=100 * DAY_MS),
                client_ip=CLIENT[0],
                agent="",
                master=master,
                now_ms=now_ms,
            )[1]

        return await services.db.run(write)


def scripted(service: Api) -> CodeNode:
    """Give the API two chains that a scripted node answers for; the node."""
    node = CodeNode(name="scripted", code={SAFE: "0x6080", UNLISTED_TOKEN: "0x6080"}, tokens={UNLISTED_TOKEN})
    # What these routes need of a chain, and nothing else of it.
    chains = {
        key: SimpleNamespace(
            config=chain.config,
            client=EvmClient(chain.config, node),
            assets=chain.assets,
            deployments=chain.deployments,
            engine=SimpleNamespace(wake=lambda: None),
            recent_head=SimpleNamespace(latest=None),
        )
        for key, chain in scripted_chains(service.clock).items()
    }
    service.services = replace(service.services, chains=cast("Mapping[str, ChainRuntime]", chains))
    service.app.state.services = service.services
    return node


@asynccontextmanager
async def scene(directory: Path, **settings: Any) -> AsyncIterator[Scene]:
    async with api(directory, session_hours=24 * 30, session_idle_minutes=60 * 24 * 7, **settings) as service:
        node = scripted(service)
        await service.authenticator()
        made = Scene(service=service, node=node, token="")
        made.token = await made.person("ada")
        yield made
