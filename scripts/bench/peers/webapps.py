"""What the HTTP benchmark is compared with: `python -m scripts.bench.peers.webapps WAY PORT FILE`.

    asgi        an ASGI function that sends the bytes
    starlette   a route of bare Starlette that makes the body from values, with JSONResponse
    bytes       the same, but sends bytes it has: nothing that answers differently each time can be this
    usual       FastAPI as people write it: dependencies for signature, permission, address and rate; a model for the
                answer, made from values, through response_model

FILE: JSON with `bodies` (text by path) and `secrets` (by key). All read the same requests, signatures in the headers
included; only `usual` looks at them: key, window, signature, seen nonces, an allowlist of networks, a bucket a key.
"""

import hmac
import json
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException, Request
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from service.balances.schemas import BalancesAnswer
from service.markets.schemas import DepthOut
from service.markets.ticker_schemas import Tickers
from service.orders.schemas import OrderPage

WINDOW_MS = 5_000
UNREACHED = 10.0**9
MODELS: dict[str, type[BaseModel]] = {
    "ticker": Tickers,
    "depth": DepthOut,
    "balances": BalancesAnswer,
    "orders": OrderPage,
}
"""By a word of the path."""


def asgi(bodies: dict[str, bytes], _: dict[str, str]) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = bodies[scope["path"]]
        headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def starlette(bodies: dict[str, bytes], _: dict[str, str]) -> ASGIApp:
    def endpoint(body: bytes) -> Callable[[StarletteRequest], Any]:
        async def answer(request: StarletteRequest) -> Response:
            return Response(body, media_type="application/json")

        return answer

    return Starlette(routes=[Route(path, endpoint(body)) for path, body in bodies.items()])


def starlette_values(bodies: dict[str, bytes], _: dict[str, str]) -> ASGIApp:
    def endpoint(document: Any) -> Callable[[StarletteRequest], Any]:
        async def answer(request: StarletteRequest) -> Response:
            return JSONResponse(document)

        return answer

    return Starlette(routes=[Route(path, endpoint(json.loads(body))) for path, body in bodies.items()])


def usual(bodies: dict[str, bytes], secrets: dict[str, str]) -> ASGIApp:
    app = FastAPI()
    seen: set[tuple[str, str]] = set()
    networks = [ip_network("127.0.0.0/8")]
    buckets: dict[str, tuple[float, float]] = {}

    async def signed(
        request: Request,
        x_cambist_key: Annotated[str, Header()],
        x_cambist_timestamp: Annotated[int, Header()],
        x_cambist_nonce: Annotated[str, Header()],
        x_cambist_signature: Annotated[str, Header()],
    ) -> str:
        if x_cambist_key not in secrets or abs(time.time() * 1_000 - x_cambist_timestamp) > WINDOW_MS:
            raise HTTPException(401)
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        digest = sha256(await request.body()).hexdigest()
        text = "\n".join([str(x_cambist_timestamp), x_cambist_nonce, request.method, target, digest])
        right = hmac.new(secrets[x_cambist_key].encode(), text.encode(), sha256).hexdigest()
        if not hmac.compare_digest(right, x_cambist_signature) or (x_cambist_key, x_cambist_nonce) in seen:
            raise HTTPException(401)
        seen.add((x_cambist_key, x_cambist_nonce))
        address = ip_address(request.client.host if request.client else "")
        if not any(address in network for network in networks):
            raise HTTPException(403)
        return x_cambist_key

    async def limited(key: Annotated[str, Depends(signed)]) -> str:
        now = time.monotonic()
        left, since = buckets.get(key, (UNREACHED, now))
        left = min(UNREACHED, left + (now - since) * UNREACHED / 60)
        if left < 1:
            raise HTTPException(429)
        buckets[key] = (left - 1, now)
        return key

    def endpoint(model: type[BaseModel], document: Any) -> Callable[..., Any]:
        async def answer(key: Annotated[str, Depends(limited)]) -> Any:
            return model.model_validate(document)

        return answer

    for path, body in bodies.items():
        model = next(model for word, model in MODELS.items() if word in path)
        # As a service has it at hand: values, not text.
        document = model.model_validate_json(body).model_dump()
        app.get(path, response_model=model)(endpoint(model, document))
    return app


WAYS: dict[str, Callable[[dict[str, bytes], dict[str, str]], ASGIApp]] = {
    "asgi": asgi,
    "starlette": starlette_values,
    "bytes": starlette,
    "usual": usual,
}


def main(way: str, port: str, file: str) -> None:
    given = json.loads(Path(file).read_text())
    app = WAYS[way]({path: text.encode() for path, text in given["bodies"].items()}, given["secrets"])
    uvicorn.run(app, host="127.0.0.1", port=int(port), access_log=False, log_level="error", lifespan="off")


if __name__ == "__main__":
    main(*sys.argv[1:])
