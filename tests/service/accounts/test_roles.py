"""F75 by role: every route about members and the address book by every role, out of the routers themselves."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute

from service.accounts import joining
from service.accounts.member_routes import router as members
from service.accounts.people import Role
from service.addresses.routes import router as addresses
from tests.service.addresses.scene import Scene, scene
from tests.service.api import code_of
from tests.service.books_seed import address_of

SEES = frozenset(Role)
MANAGES = frozenset({Role.OWNER})


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Who may use it, and a body that is one for it."""

    may: frozenset[Role]
    body: Mapping[str, Any] | None = None


ROUTES: Mapping[tuple[str, str], Route] = {
    ("GET", "/v1/members"): Route(may=SEES),
    ("POST", "/v1/members"): Route(may=MANAGES, body={"user": "nobody", "role": "viewer"}),
    ("PATCH", "/v1/members/{user_id}"): Route(may=MANAGES, body={"role": "trader"}),
    ("DELETE", "/v1/members/{user_id}"): Route(may=MANAGES),
    ("POST", "/v1/invitations"): Route(may=MANAGES, body={"role": "viewer"}),
    ("DELETE", "/v1/invitations/{invitation_id}"): Route(may=MANAGES),
    ("GET", "/v1/addresses"): Route(may=SEES),
    ("POST", "/v1/addresses"): Route(
        may=MANAGES, body={"chain": "ethereum", "address": address_of(1 << 23), "name": "x"}
    ),
    ("PATCH", "/v1/addresses/{entry_id}"): Route(may=MANAGES, body={"name": "y"}),
    ("DELETE", "/v1/addresses/{entry_id}"): Route(may=MANAGES),
    ("PUT", "/v1/address-cooling"): Route(may=MANAGES, body={"cooling_hours": 48}),
}
PASSED = {None, "totp_required", "user_not_found", "invitation_not_found"}
OF_NO_ACCOUNT = {("POST", "/v1/memberships")}
"""Whoever has an invitation, in whatever account."""


@pytest.fixture
async def ada(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path) as found:
        yield found


def test_no_route_is_without_its_roles() -> None:
    found = {
        (method, route.path)
        for router in (members, addresses)
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
    assert found == set(ROUTES) | OF_NO_ACCOUNT


async def targets(ada: Scene) -> Mapping[str, str]:
    """What the paths' ids are of in this account."""
    await ada.person("cleo", role=Role.VIEWER)
    cleo = await ada.service.services.db.read(lambda c: joining.user_id_of(c, "cleo"))
    entry_id = (await ada.add()).json()["id"]
    return {"{user_id}": str(cleo), "{entry_id}": str(entry_id), "{invitation_id}": "0123456789abcdef"}


@pytest.mark.parametrize("role", [*Role, None])
async def test_every_route_by_every_role(ada: Scene, role: Role | None) -> None:
    ids = await targets(ada)
    token = await ada.person("bob", role=role)
    for (method, path), route in ROUTES.items():
        target = path
        for name, value in ids.items():
            target = target.replace(name, value)
        named = {"account": "main"}
        if route.body is None:
            answer = await ada.ask(method, f"{target}?account=main", token=token)
        else:
            answer = await ada.ask(method, target, {**route.body, **named}, token=token)
        code = code_of(answer) if answer.is_error else None
        if role is None:
            assert code == "account_not_found", (method, path, code)
        elif role not in route.may:
            assert code == "role_denied", (method, path, code)
        else:
            assert code in PASSED, (method, path, code)
    # Nothing of it was done by whoever may not.
    if role is not Role.OWNER:
        assert [one["name"] for one in (await ada.book())["addresses"]] == ["exchange"]
