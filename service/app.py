"""The HTTP app over the services: routes, errors as problems, and the edge around both.

Guarantees: an app whose route does not name its caller is not made; nothing is started or stopped here (the process
owns that, not the ASGI lifespan); every path but `/v1/openapi.json` is a route with a declared caller.
"""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.types import ASGIApp

from service.auth.callers import Authenticator, declared_caller
from service.auth.keys import Permission
from service.auth.middleware import Edge
from service.auth.replay import NonceCache
from service.auth.signature import KEY_HEADER, NONCE_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER
from service.build import Services
from service.errors import ERRORS
from service.problems import MEDIA_TYPE, install_handlers
from service.ratelimits.buckets import Buckets
from service.routers import ROUTERS

OPENAPI_PATH: Final = "/v1/openapi.json"
BURST_S: Final = 10
"""A client may send as much at once as its rate gives in this time."""

_DESCRIPTION: Final = (
    "Your own on-chain wallets in the shape of an account at an exchange. Amounts are decimal text, never numbers."
    " Requests are signed with an API key; errors are problem documents with a stable `code`."
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


def create_app(services: Services) -> ASGIApp:
    """The app, behind its edge. Raises: NoCallerDeclared: a route that does not say who may use it."""
    settings = services.settings
    authenticator = Authenticator(
        db=services.db,
        master=services.master,
        clock=services.clock,
        nonces=NonceCache(started_ms=services.clock.now_ms()),
    )
    return Edge(
        create_api(services),
        settings=settings,
        authenticator=authenticator,
        by_address=_buckets(services, settings.ip_requests_per_minute),
        by_key=_buckets(services, settings.key_requests_per_minute),
    )


def create_api(services: Services) -> FastAPI:
    """The routes alone: what the tests walk. Without its edge nobody is a caller."""
    app = FastAPI(
        title="Cambist",
        version="1",
        description=_DESCRIPTION,
        openapi_url=OPENAPI_PATH,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.services = services
    install_handlers(app)
    for router in ROUTERS:
        app.include_router(router)
    _describe(app)
    return app


def routes_of(app: FastAPI) -> list[APIRoute]:
    """All routes but the OpenAPI page."""
    return [route for route in app.routes if isinstance(route, APIRoute)]


def _buckets(services: Services, per_minute: int) -> Buckets:
    return Buckets(services.clock, per_minute=per_minute, burst=max(1, per_minute * BURST_S // 60))


def _describe(app: FastAPI) -> None:
    """Who may call each route, and what errors look like, into the OpenAPI page."""
    needed: dict[tuple[str, str], Permission | None] = {}
    for route in routes_of(app):
        permission = declared_caller(route)
        needed |= {(route.path, method.lower()): permission for method in route.methods}
    document = app.openapi()
    components = document.setdefault("components", {})
    components["securitySchemes"] = {
        name: {"type": "apiKey", "in": "header", "name": name}
        for name in (KEY_HEADER, TIMESTAMP_HEADER, NONCE_HEADER, SIGNATURE_HEADER)
    }
    schemas = components.setdefault("schemas", {})
    schemas["Problem"] = _PROBLEM
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    signed = [{name: [] for name in components["securitySchemes"]}]
    answer = {
        "description": "Refused; see `code`.",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for (path, method), permission in needed.items():
        operation = document["paths"][path][method]
        operation["responses"].pop("422", None)
        operation["responses"]["default"] = answer
        operation["security"] = [] if permission is None else signed
        operation["x-cambist-permission"] = "public" if permission is None else str(permission)
    app.openapi_schema = document
