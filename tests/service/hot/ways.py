"""An app that leaves every request to the framework, and what two answers are compared by."""

from collections.abc import Mapping
from typing import Any

import httpx
from fastapi import FastAPI

from service.app import _App
from service.auth.middleware import Edge
from service.build import Services
from tests.service.api import app_of

VOLATILE = frozenset({"x-request-id"})


class Nothing:
    """Stands where the table of hot reads is."""

    async def answer(self, *_: Any, **__: Any) -> None:
        return None


def framework_only(services: Services) -> FastAPI:
    app = app_of(services)
    assert isinstance(app, _App)
    app.lane = None
    for layer in app.user_middleware:
        if getattr(layer.cls, "__name__", "") == Edge.__name__:
            layer.kwargs["hot"] = Nothing()
    return app


def shown(answer: httpx.Response) -> tuple[int, Mapping[str, str], Any]:
    """Status, headers and document, without what is each request's own."""
    headers = {name: value for name, value in answer.headers.items() if name not in VOLATILE}
    document = answer.json()
    if isinstance(document, dict) and "instance" in document:
        document["instance"] = ""
    return answer.status_code, headers, document
