"""F75: every route by every kind of key and session, out of the routes themselves: none is left out.

What a route ought to need is written down apart from it (`tests.service.rights`). The kinds are those of
`tests.service.kinds`. A route is asked with no body, and with the one of its examples.
"""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import httpx
import pytest
from fastapi import APIRouter, Depends

from service.app import OPENAPI_PATH, declared_permissions
from service.auth.callers import NoCallerDeclared, ReadCaller, TradeCaller
from service.auth.keys import Permission
from service.problems import MEDIA_TYPE
from service.routers import ROUTERS
from tests.service.api import Api, api, code_of
from tests.service.documented import Documented, example_of, needed, operations
from tests.service.kinds import KINDS, callers
from tests.service.rights import by_route

ROUTES: Final = declared_permissions()
AUTH_CODES: Final = frozenset(
    {
        *("authentication_required", "authentication_failed", "timestamp_out_of_window", "replayed", "session_ended"),
        *("permission_denied", "ip_not_allowed", "key_expired", "key_revoked", "key_inactive"),
    }
)
VERBS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
UNKNOWN: Final = (
    "/",
    "/v1",
    "/v1/",
    "/v1/orders/",
    "/v1/nothing",
    "/docs",
    "/redoc",
    "/openapi.json",
    "/metrics",
    "/admin",
    "/v1/ethereum/wallets/show-private-key",
    "/v2/orders",
    "/v1//orders",
    "/v1/orders/..",
    "/%2e%2e/v1/orders",
    "/v1/ethereum/orders%00",
    "/V1/orders",
)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Api]:
    async with api(tmp_path) as found:
        yield found


async def documented(service: Api) -> Sequence[Documented]:
    answer = await service.ask("GET", OPENAPI_PATH)
    return list(operations(answer.json()))


def target_of(one: Documented) -> str:
    return one.target({found["name"]: example_of(found["schema"], one.page) for found in one.parameters})


def check(one: Documented, kind: str, answer: httpx.Response) -> None:
    """That the answer is the matrix's: refused with its code, or answered or refused for something else."""
    place = (kind, one.method, one.path, answer.text[:300])
    refusal = KINDS[kind].refusal(ROUTES[one.method, one.path])
    code = code_of(answer) if answer.is_error else None
    if refusal is not None:
        assert code == refusal, place
    else:
        assert code not in AUTH_CODES, place
        assert code != "internal_error", place


@pytest.mark.deep
async def test_every_route_by_every_kind_of_caller(service: Api) -> None:
    """F75"""
    made = await callers(service)
    for one in await documented(service):
        for kind in KINDS:
            # What is refused is refused whatever is in the body.
            may = KINDS[kind].refusal(ROUTES[one.method, one.path]) is None
            for body in {b"", one.plausible_body()} if may else {b""}:
                check(one, kind, await made.ask(kind, one.method, target_of(one), body=body))


async def test_the_matrix_is_of_at_least_eight_kinds_of_key_and_of_every_role_of_a_session(service: Api) -> None:
    assert len([kind for kind in KINDS.values() if not kind.in_session]) >= 8
    assert {kind.session_of for kind in KINDS.values()} >= {"owner", "trader", "approver", "viewer", "stranger"}


def test_every_route_needs_what_is_written_down_for_it() -> None:
    """F75: a route that declares too little is in the matrix with what it declares; here with what it should."""
    assert {route: needed(found) for route, found in ROUTES.items()} == by_route()


def test_the_matrix_has_routes_of_every_kind_and_reading_ones_take_no_other_permission() -> None:
    assert {needed(found) for found in ROUTES.values()} >= {"public", "session", *(str(one) for one in Permission)}
    for (method, path), permission in ROUTES.items():
        if method in ("GET", "HEAD") and permission in (Permission.TRADE, Permission.WITHDRAW):
            raise AssertionError(f"{path} reads, and needs {permission}: reading changes nothing")


@pytest.mark.parametrize("kind", ["all", "session of owner"])
async def test_a_verb_that_a_path_does_not_have_is_refused_by_the_same_rules(service: Api, kind: str) -> None:
    """F75: default deny: no verb reaches a route's work by another name."""
    made = await callers(service)
    by_path: dict[str, set[str]] = {}
    for method, path in ROUTES:
        by_path.setdefault(path, set()).add(method)
    # One session is enough: nothing that is asked here ends it.
    token = {"authorization": f"Bearer {await made.session('owner')}"} if KINDS[kind].in_session else {}
    asking = "nothing" if token else kind
    tried: set[tuple[str, str]] = set()
    for one in await documented(service):
        for verb in VERBS:
            if verb in by_path[one.path] or (verb, one.path) in tried:
                continue
            tried.add((verb, one.path))
            answer = await made.ask(asking, verb, target_of(one), more=token)
            assert answer.status_code in (404, 405), (verb, one.path, answer.status_code)
            if verb != "HEAD":
                assert code_of(answer) in ("not_found", "method_not_allowed"), (verb, one.path)


@pytest.mark.parametrize("kind", ["all", "session of owner", "nothing", "revoked"])
async def test_a_path_that_is_no_route_answers_nothing(service: Api, kind: str) -> None:
    """F75"""
    made = await callers(service)
    for path in UNKNOWN:
        for verb in ("GET", "POST", "DELETE"):
            answer = await made.ask(kind, verb, path)
            assert 400 <= answer.status_code < 500, (verb, path)
            assert answer.headers["content-type"] == MEDIA_TYPE, (verb, path)
            assert code_of(answer) in ("not_found", "method_not_allowed", "invalid_request"), (verb, path)


async def test_two_kinds_of_credentials_on_one_request_are_refused_on_every_route(service: Api) -> None:
    """F75: what reads one of them must not be told another."""
    made = await callers(service)
    token = await made.session("owner")
    for one in await documented(service):
        answer = await made.ask("all", one.method, target_of(one), more={"authorization": f"Bearer {token}"})
        assert code_of(answer) == "ambiguous_credentials", one.path


async def test_a_viewer_and_a_stranger_change_nothing_of_an_account(service: Api) -> None:
    """Roles: what is not about one's own access is the owner's, trader's or approver's."""
    made = await callers(service)
    for one in await documented(service):
        if one.method == "GET" or "session" not in one.needs or one.path.startswith("/v1/auth/"):
            continue
        for kind in ("session of viewer", "session of a stranger"):
            answer = await made.ask(kind, one.method, target_of(one), body=one.plausible_body(account="main"))
            assert answer.is_error, (kind, one.method, one.path, answer.text)


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
