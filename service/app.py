"""The HTTP app over the services: routes, errors as problems, and the edge around both.

Guarantees: an app whose route does not name its caller is not made; nothing is started or stopped here (the process
owns that, not the ASGI lifespan); every path but `/v1/openapi.json` is a route with a declared caller; a
query parameter that a route does not have is refused, not ignored.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from service.accounts.signing_in import MINUTE_MS
from service.auth.budgets import DAY_MS
from service.auth.callers import EITHER, SESSION, Authenticator, Needs, declared_caller
from service.auth.keymemory import KeyMemory
from service.auth.middleware import Edge
from service.auth.replay import Nonces
from service.auth.session_caller import COOKIE, CSRF_HEADER, SessionAuthenticator
from service.auth.signature import KEY_HEADER, NONCE_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER
from service.build import Services
from service.errors import ERRORS, ApiError
from service.hot.lane import Lane
from service.hot.table import HotTable
from service.observability.timing import Timing
from service.problems import MAX_NAME, MEDIA_TYPE, install_handlers
from service.ratelimits.buckets import Buckets
from service.ratelimits.limits import Limits
from service.ratelimits.routetable import RouteTable
from service.routers import ROUTERS

OPENAPI_PATH: Final = "/v1/openapi.json"
BURST_S: Final = 10
"""A client may send as much at once as its rate gives in this time."""

_DESCRIPTION: Final = (
    "Your own on-chain wallets in the shape of an account at an exchange. Amounts are decimal text, never numbers."
    " Requests are signed with an API key; those about one's own sign-in have a session."
    " Errors are problem documents with a stable `code`."
)
_PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail", "hint", "instance"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "enum": list(ERRORS)},
        "detail": {"type": "string"},
        "hint": {"type": "string"},
        "instance": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "problem"],
                "properties": {"field": {"type": "string"}, "problem": {"type": "string"}},
            },
        },
    },
}


class _App(FastAPI):
    """FastAPI with our page. It is made when somebody asks for it: that takes longer than all the rest of the start."""

    lane: Lane | None = None
    """Asked by the server before it parses a request; what is left by it comes here."""

    def __init__(self, needed: Mapping[tuple[str, str], Needs], **settings: Any) -> None:
        super().__init__(**settings)
        self._needed = needed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Without FastAPI's telemetry, which looks into the environment for every request.
        await Starlette.__call__(self, scope, receive, send)

    def ahead(self, head: bytes, *, peer: str, before: bytes) -> bytes | None:
        return None if self.lane is None else self.lane.answer(head, peer=peer, before=before)

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = _described(super().openapi(), self._needed)
        return self.openapi_schema


def create_app(services: Services, routers: Sequence[APIRouter] = ROUTERS) -> FastAPI:
    """The app with those routes. Raises: NoCallerDeclared: a route does not say who may use it."""
    app = _App(
        declared_permissions(routers),
        title="Cambist",
        version="1",
        description=_DESCRIPTION,
        openapi_url=OPENAPI_PATH,
        # FastAPI's pages load scripts from someone else's server; any OpenAPI viewer shows the document.
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(refuse_unknown_query)],
        redirect_slashes=False,
    )
    app.state.services = services
    app.state.sign_in_rate = _buckets(services, services.settings.sign_in_requests_per_minute)
    app.state.limits = Limits(services.settings, db=services.db, clock=services.clock)
    install_handlers(app)
    for router in routers:
        app.include_router(router)
    settings = services.settings
    authenticator = Authenticator(
        master=services.master,
        clock=services.clock,
        keys=KeyMemory(
            services.db,
            master=services.master,
            clock=services.clock,
            idle_ms=settings.key_idle_days * DAY_MS,
        ),
        nonces=Nonces(services.db, started_ms=services.clock.now_ms()),
        uses=services.key_uses,
    )
    table, hot = RouteTable(routers), HotTable(services, routers)
    # Where others have the database, too, each request has a row to write or a slice to lease.
    if services.db.is_exclusive:
        app.lane = Lane(
            settings=settings,
            authenticator=authenticator,
            limits=app.state.limits,
            table=table,
            hot=hot,
            metrics=services.metrics,
        )
    app.add_middleware(
        Edge,
        settings=settings,
        authenticator=authenticator,
        sessions=SessionAuthenticator(
            db=services.db,
            master=services.master,
            clock=services.clock,
            idle_ms=settings.session_idle_minutes * MINUTE_MS,
        ),
        limits=app.state.limits,
        table=table,
        hot=hot,
    )
    app.add_middleware(Timing, metrics=services.metrics, clock=services.clock)
    return app


def declared_permissions(routers: Iterable[APIRouter] = ROUTERS) -> dict[tuple[str, str], Needs]:
    """What each method and path needs, None for public ones. Raises: NoCallerDeclared."""
    needed: dict[tuple[str, str], Needs] = {}
    for router in routers:
        for route in router.routes:
            permission = declared_caller(route)
            # What declares a caller is an APIRoute; anything else was refused.
            if isinstance(route, APIRoute):
                needed |= {(method, route.path): permission for method in route.methods or ()}
    return needed


async def refuse_unknown_query(request: Request) -> None:
    """A misspelt parameter must not be ignored. Raises: ApiError: invalid_query."""
    known = set(_query_names(request.scope["route"].dependant))
    if unknown := sorted(set(request.query_params) - known):
        raise ApiError("invalid_query", f"no such parameter: {', '.join(name[:MAX_NAME] for name in unknown)}")


def _query_names(dependant: Dependant) -> Iterator[str]:
    for parameter in dependant.query_params:
        yield parameter.alias
    for inner in dependant.dependencies:
        yield from _query_names(inner)


def _buckets(services: Services, per_minute: int) -> Buckets:
    return Buckets(services.clock, per_minute=per_minute, burst=max(1, per_minute * BURST_S // 60))


def _described(document: dict[str, Any], needed: Mapping[tuple[str, str], Needs]) -> dict[str, Any]:
    """The OpenAPI page with who may call each route, and what errors look like."""
    components = document.setdefault("components", {})
    signature = (KEY_HEADER, TIMESTAMP_HEADER, NONCE_HEADER, SIGNATURE_HEADER)
    components["securitySchemes"] = {
        **{name: {"type": "apiKey", "in": "header", "name": name} for name in (*signature, CSRF_HEADER)},
        "cookie": {"type": "apiKey", "in": "cookie", "name": COOKIE},
        "bearer": {"type": "http", "scheme": "bearer"},
    }
    schemas = components.setdefault("schemas", {})
    schemas["Problem"] = _PROBLEM
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    signed: list[dict[str, list[str]]] = [{name: [] for name in signature}]
    in_session: list[dict[str, list[str]]] = [{"bearer": []}, {"cookie": [], CSRF_HEADER: []}]
    answer = {
        "description": "Refused; see `code`.",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for (method, path), permission in needed.items():
        operation = document["paths"][path][method.lower()]
        operation["responses"].pop("422", None)
        operation["responses"]["default"] = answer
        ways = {None: [], SESSION: in_session, EITHER: [*signed, *in_session]}
        operation["security"] = ways.get(permission, signed)
        operation["x-cambist-permission"] = "public" if permission is None else str(permission)
    return document
