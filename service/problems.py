"""How an error becomes an answer: problem details (RFC 9457), and the code of every class of error from below.

Guarantees: every answer that is an error has a code of the table; what is not foreseen is `internal_error`, with
nothing of the exception in the answer; values that were sent are not sent back.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from chains import errors as chain_errors
from chains.tx.store import UnusableRow
from contracts import errors as contract_errors
from service.auth.authority import Tampered
from service.auth.secrets import SealBroken
from service.db import errors as db_errors
from service.errors import ERRORS, ApiError
from service.markets.state.model import StaleMarket
from service.plans.funds import BalanceUnknown
from service.refused import is_recorded, refusal_of

MEDIA_TYPE: Final = "application/problem+json"
ALWAYS: Final = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
"""Headers of every answer."""
REQUEST_ID: Final = b"x-request-id"
MAX_FIELDS: Final = 20
MAX_NAME: Final = 64
"""Characters of a field's name that are repeated: the client chose it."""

_CODES: Final[Mapping[type[Exception], str]] = {
    chain_errors.RpcUnavailable: "node_unavailable",
    chain_errors.RpcError: "node_failed",
    chain_errors.ExecutionReverted: "would_revert",
    chain_errors.FeeCapExceeded: "fees_too_high",
    chain_errors.SigningError: "signer_unavailable",
    chain_errors.ChainError: "node_failed",
    contract_errors.UnknownDeployment: "not_deployed",
    contract_errors.UnlistedAsset: "unknown_asset",
    contract_errors.AbiError: "node_failed",
    contract_errors.TokenRefused: "would_revert",
    contract_errors.FeedUnusable: "feed_unusable",
    contract_errors.InconsistentPool: "node_failed",
    contract_errors.TicksNotLoaded: "no_liquidity",
    contract_errors.UnsupportedPair: "unsupported_pair",
    contract_errors.InvalidTradeAmount: "invalid_amount",
    contract_errors.NoRoute: "no_route",
    contract_errors.InsufficientLiquidity: "no_liquidity",
    contract_errors.AmountTooSmall: "amount_too_small",
    BalanceUnknown: "balance_unknown",
    StaleMarket: "stale_market",
    db_errors.WriteConflict: "try_again",
    db_errors.CommitFailed: "not_saved",
    db_errors.CommitUnknown: "outcome_unknown",
    db_errors.DatabaseClosed: "shutting_down",
    Tampered: "record_tampered",
    SealBroken: "record_tampered",
    UnusableRow: "record_tampered",
}
"""By the nearest class; what is not below one of these is `internal_error`."""
_SHOWN: Final = (contract_errors.QuoteError, chain_errors.FeeCapExceeded, chain_errors.ExecutionReverted)
"""Errors about the client's own request, whose text is made for it. Of all others the table's words are shown: theirs
may name endpoints or rows."""
_BY_STATUS: Final = {404: "not_found", 405: "method_not_allowed", 400: "invalid_request"}

_log: Final = structlog.get_logger("cambist.http")


def api_error_of(exc: Exception) -> ApiError:
    """What the client is told. Errors of the service's own making are logged here, once."""
    if isinstance(exc, ApiError):
        return exc
    code = next((_CODES[cls] for cls in type(exc).__mro__ if cls in _CODES), "internal_error")
    kind = ERRORS[code]
    if code in ("internal_error", "record_tampered"):
        _log.error("request_failed", code=code, exc_info=exc)
    elif kind.status >= 500:
        _log.warning("request_failed", code=code, reason=str(exc))
    return ApiError(code, str(exc) if isinstance(exc, _SHOWN) else kind.title.lower())


def problem(
    error: ApiError,
    *,
    request_id: str,
    errors: Sequence[Mapping[str, str]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer. `errors` are what is wrong with single fields."""
    kind = error.kind
    document: dict[str, Any] = {
        "type": f"urn:cambist:error:{kind.code}",
        "title": kind.title,
        "status": kind.status,
        "code": kind.code,
        "detail": error.message,
        "hint": kind.hint,
        "instance": f"urn:uuid:{request_id}",
    }
    if errors is not None:
        document["errors"] = list(errors)
    response = Response(orjson.dumps(document), kind.status, media_type=MEDIA_TYPE, headers=dict(headers or {}))
    if error.retry_after_s is not None:
        response.headers["Retry-After"] = str(error.retry_after_s)
    if kind.status == 401:
        response.headers["WWW-Authenticate"] = "Cambist"
    return response


def install_handlers(app: FastAPI) -> None:
    """Answer every error of the app's routes as a problem."""
    # For Exception itself Starlette answers, and then raises it again for the server to log: ours is logged already,
    # so that the middleware around the app catches it (see service.auth.middleware).
    mapped: tuple[type[Exception], ...] = (ApiError, *_CODES)
    for cls in mapped:
        app.add_exception_handler(cls, _mapped)
    app.add_exception_handler(HTTPException, _routing)
    app.add_exception_handler(RequestValidationError, _invalid)


def request_id_of(request: Request) -> str:
    """The id that the middleware gave the request."""
    return str(request.scope["state"]["request_id"])


async def _mapped(request: Request, exc: Exception) -> Response:
    error = api_error_of(exc)
    if is_recorded(error):
        request.app.state.services.refusals.note(refusal_of(error, request.scope))
    return problem(error, request_id=request_id_of(request))


async def _routing(request: Request, exc: Exception) -> Response:
    """Of the framework's own errors, no text is passed on."""
    status = exc.status_code if isinstance(exc, HTTPException) else 500
    kept = exc.headers if isinstance(exc, HTTPException) and exc.headers else {}
    code = _BY_STATUS.get(status, "internal_error")
    detail = f"{request.method} {request.url.path}" if status in (404, 405) else ERRORS[code].title.lower()
    return problem(ApiError(code, detail), request_id=request_id_of(request), headers=kept)


async def _invalid(request: Request, exc: Exception) -> Response:
    found = exc.errors() if isinstance(exc, RequestValidationError) else []
    # Place and rule only: `input` and `ctx` have what was sent.
    fields = [
        {"field": ".".join(str(part)[:MAX_NAME] for part in error["loc"]), "problem": str(error["msg"])}
        for error in found[:MAX_FIELDS]
    ]
    detail = "; ".join(f"{one['field']}: {one['problem']}" for one in fields) or "the request is not valid"
    return problem(ApiError("invalid_request", detail), request_id=request_id_of(request), errors=fields)
