"""`/metrics` on a port of its own: no key opens it, so it is not part of the API and listens on loopback by default."""

from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.build import Services
from service.observability.scraping import page

PATH: Final = "/metrics"


def metrics_app(services: Services) -> ASGIApp:
    """An ASGI app with one page."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        response: Response
        if scope["path"] != PATH:
            response = PlainTextResponse("only /metrics is here\n", status_code=404)
        elif scope["method"] not in ("GET", "HEAD"):
            response = PlainTextResponse("GET only\n", status_code=405)
        else:
            response = Response(await page(services), headers={"content-type": CONTENT_TYPE_LATEST})
        await response(scope, receive, send)

    return app
