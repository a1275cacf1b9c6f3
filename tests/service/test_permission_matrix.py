"""Every route with every kind of key and with a session, out of the routes themselves: a new one is in it unlisted."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fastapi import APIRouter, Depends

from service.app import OPENAPI_PATH, declared_permissions
from service.auth.callers import SESSION, Needs, NoCallerDeclared, ReadCaller, TradeCaller
from service.auth.keys import Permission
from service.routers import ROUTERS
from tests.service.api import KINDS, Api, api, code_of

ROUTES = declared_permissions()
EXAMPLES = {"chain": "ethereum", "order_id": "1", "withdrawal_id": "1", "session_id": "0" * 36}
ALWAYS_REFUSED = {"expired": "key_expired", "revoked": "key_revoked", "wrong_ip": "ip_not_allowed"}


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Api]:
    async with api(tmp_path) as found:
        yield found


def refusal_of(permission: Needs, kind: str | None) -> str | None:
    """What the matrix says: the code that a kind of key gets, None where it may pass."""
    if permission is None:
        return None
    if kind is None:
        return "authentication_required"
    if kind in ALWAYS_REFUSED:
        return ALWAYS_REFUSED[kind]
    return None if kind == permission else "permission_denied"


@pytest.mark.parametrize("kind", [None, *KINDS])
async def test_every_route_with_every_kind_of_key(service: Api, kind: str | None) -> None:
    auth_codes = {
        "authentication_required",
        "authentication_failed",
        "permission_denied",
        "session_ended",
        *ALWAYS_REFUSED.values(),
    }
    for (method, path), permission in ROUTES.items():
        target = re.sub(r"\{(\w+)\}", lambda found: EXAMPLES[found[1]], path)
        answer = await service.ask(method, target, key=kind)
        expected = refusal_of(permission, kind)
        if expected is not None:
            assert code_of(answer) == expected, (method, path)
        else:
            code = code_of(answer) if answer.is_error else None
            assert code not in auth_codes, (method, path)
            assert answer.status_code != 500, (method, path)


def test_the_matrix_has_routes_of_every_kind() -> None:
    assert set(ROUTES.values()) == {None, SESSION, *Permission}
    for (method, path), permission in ROUTES.items():
        if permission in (Permission.TRADE, Permission.WITHDRAW):
            assert method == "POST", path


async def test_the_openapi_page_has_the_same_routes_and_says_what_each_needs(service: Api) -> None:
    answer = await service.ask("GET", OPENAPI_PATH)
    listed = {
        (method.upper(), path): operation["x-cambist-permission"]
        for path, operations in answer.json()["paths"].items()
        for method, operation in operations.items()
    }
    assert listed == {route: str(permission or "public") for route, permission in ROUTES.items()}


async def test_the_app_has_no_other_routes_than_its_routers_and_the_page(service: Api) -> None:
    others = [route for route in service.app.routes if getattr(route, "original_router", None) not in ROUTERS]
    assert [getattr(route, "path", None) for route in others] == [OPENAPI_PATH]


def test_a_route_without_a_caller_or_with_two_is_refused() -> None:
    silent, double, hidden = APIRouter(), APIRouter(), APIRouter()

    @silent.get("/silent")
    def no_caller() -> None: ...

    @double.get("/double")
    def two_callers(one: ReadCaller, two: TradeCaller) -> None: ...

    @hidden.get("/hidden", dependencies=[Depends(lambda: None)])
    def other_dependency() -> None: ...

    for router in (silent, double, hidden):
        with pytest.raises(NoCallerDeclared):
            declared_permissions([router])
    nested = APIRouter()
    nested.include_router(silent)
    with pytest.raises(NoCallerDeclared):
        declared_permissions([nested])
