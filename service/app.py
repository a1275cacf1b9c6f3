"""The HTTP application: routers, error answers and documentation behind the gate of `service.auth.middleware`.

Guarantees: every answer that is an error is a problem document; unknown query parameters are refused; nothing
happens at start or stop (the process owns the parts, see `service.serving`).
"""

from collections.abc import Iterator
from typing import Any, Final, Protocol

from fastapi import Depends, FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from chains.tx.store import Clock
from service import openapi as documents
from service.auth.middleware import Gate
from service.auth.secrets import MasterKey
from service.db.engine import Database
from service.errors import ApiError
from service.problems import install_handlers
from service.routers import ROUTERS
from service.settings import Settings

OPENAPI_PATH: Final = "/v1/openapi.json"
DOCS_PATH: Final = "/docs"


class AppServices(Protocol):
    """What the application itself needs; routes take what they need from `app.state.services`."""

    @property
    def settings(self) -> Settings: ...

    @property
    def db(self) -> Database: ...

    @property
    def master(self) -> MasterKey: ...

    @property
    def clock(self) -> Clock: ...


class Application:
    """The ASGI application: `api` behind its gate."""

    def __init__(self, api: FastAPI, gate: Gate) -> None:
        self.api: Final = api
        self._gate: Final = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._gate(scope, receive, send)


def create_app(services: AppServices) -> Application:
    """The application over those services."""
    api = create_api(services)
    gated: ASGIApp = api
    gate = Gate(gated, settings=services.settings, db=services.db, master=services.master, clock=services.clock)
    return Application(api, gate)


def create_api(services: AppServices) -> FastAPI:
    """The FastAPI part, without the gate: for its OpenAPI document and its route table."""
    api = FastAPI(
        title="Cambist",
        version="1",
        summary="Your own on-chain wallets in the shape of an account at a centralized exchange",
        description=documents.DESCRIPTION,
        openapi_url=OPENAPI_PATH,
        docs_url=DOCS_PATH,
        redoc_url=None,
        dependencies=[Depends(refuse_unknown_query)],
        redirect_slashes=False,
    )
    api.state.services = services
    install_handlers(api)
    for router in ROUTERS:
        api.include_router(router)
    plain_openapi = api.openapi

    def openapi() -> dict[str, Any]:
        return documents.describe(plain_openapi(), api_routes(api))

    # FastAPI's own way to extend the document is to replace this method of the instance.
    api.openapi = openapi  # type: ignore[method-assign]
    return api


def api_routes(api: FastAPI) -> list[APIRoute]:
    """The routes of the API itself, documentation pages aside."""
    return [route for route in api.routes if isinstance(route, APIRoute)]


def refuse_unknown_query(request: Request) -> None:
    """A misspelt parameter must not be ignored. Raises: ApiError: invalid_query."""
    route = request.scope["route"]
    known = set(_query_names(route.dependant))
    unknown = sorted(set(request.query_params) - known)
    if unknown:
        raise ApiError("invalid_query", f"no such parameter: {', '.join(name[:64] for name in unknown)}")


def _query_names(dependant: Dependant) -> Iterator[str]:
    for param in dependant.query_params:
        yield param.alias
    for inner in dependant.dependencies:
        yield from _query_names(inner)
