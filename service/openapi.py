"""What the OpenAPI document says beyond the routes' own types: how to sign, what each route needs, how errors look."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi.routing import APIRoute

from service.auth.callers import declared_caller
from service.auth.signature import KEY_HEADER, NONCE_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER
from service.errors import ERRORS

DESCRIPTION: Final = f"""
Amounts are decimal text, never JSON numbers. Times are milliseconds UTC. Every read says at which block it was made.

**Signing.** Every route but the public ones needs the headers `{KEY_HEADER}`, `{TIMESTAMP_HEADER}` (milliseconds),
`{NONCE_HEADER}` (16 to 64 of `A-Z a-z 0-9 _ -`, fresh for each request) and `{SIGNATURE_HEADER}`: HMAC-SHA256 under the
secret, or Ed25519, in hex, of these five lines joined by a line feed: timestamp, nonce, method, path with query exactly
as sent, SHA-256 of the body in hex.

**Errors** are problem documents (RFC 9457); branch on `code`.
"""
_SCHEME: Final = "signature"
_HEADERS: Final = {
    "key": (KEY_HEADER, "The key's id."),
    "timestamp": (TIMESTAMP_HEADER, "Milliseconds UTC, at most 5 s old."),
    "nonce": (NONCE_HEADER, "Fresh for each request."),
    _SCHEME: (SIGNATURE_HEADER, "HMAC-SHA256 or Ed25519 over timestamp, nonce, method, path with query, body hash."),
}
_PROBLEM: Final[Mapping[str, Any]] = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail", "hint", "instance"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "enum": sorted(ERRORS), "description": "Stable: what programs branch on."},
        "detail": {"type": "string", "description": "What is wrong with this request."},
        "hint": {"type": "string", "description": "What to do."},
        "instance": {"type": "string", "description": "The request id, also in X-Request-Id."},
        "errors": {"type": "array", "items": {"type": "object"}, "description": "What is wrong with single fields."},
    },
    "example": {
        "type": "urn:cambist:error:invalid_amount",
        "title": ERRORS["invalid_amount"].title,
        "status": 400,
        "code": "invalid_amount",
        "detail": "amount: at most 6 digits after the decimal point are possible here; USDC has 6 decimals",
        "hint": ERRORS["invalid_amount"].hint,
        "instance": "urn:uuid:019b76da-a800-7c21-9d3e-0a4b8a4f7b11",
    },
}


def describe(document: dict[str, Any], routes: Sequence[APIRoute]) -> dict[str, Any]:
    """The document with security schemes, each route's permission, and the one shape of errors."""
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    # FastAPI's own shape of validation errors is not what this service answers.
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = dict(_PROBLEM)
    components["securitySchemes"] = {
        name: {"type": "apiKey", "in": "header", "name": header, "description": text}
        for name, (header, text) in _HEADERS.items()
    }
    for route in routes:
        permission = declared_caller(route)
        for method in route.methods or ():
            operation = document["paths"][route.path_format][method.lower()]
            operation["x-permission"] = "public" if permission is None else str(permission)
            operation["security"] = [] if permission is None else [{name: [] for name in _HEADERS}]
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = {
                "description": "A refusal; `code` says which.",
                "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
            }
    return document
