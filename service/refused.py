"""Which refused requests the audit log counts, and what it is told of one.

Guarantees: a key is the actor of a refusal only where its signature was right, a person only where the session was;
what a request merely says is kept apart from that.
"""

from typing import Any, Final

from service.audit.model import UNKNOWN, Actor, ActorKind
from service.audit.recording import person
from service.audit.refusals import Refusal
from service.auth.callers import Caller
from service.auth.session_caller import SessionCaller
from service.auth.signature import KEY_HEADER
from service.errors import ApiError
from service.ratelimits.limits import bucket_of

MAX_KEY_ID: Final = 64
_STATUSES: Final = frozenset({401, 403})
_ALSO: Final = frozenset({"sign_in_locked", "limit_price_unknown", "record_tampered"})
_NOT: Final = frozenset({"authentication_required"})
"""Nothing was tried."""


def is_recorded(error: ApiError) -> bool:
    """Whether the audit log counts this refusal: of credentials, and of what they may do."""
    return error.code in _ALSO or (error.status in _STATUSES and error.code not in _NOT)


def refusal_of(error: ApiError, scope: Any) -> Refusal:
    """What is counted of a refused request, by its ASGI scope as the edge left it."""
    state = scope["state"]
    caller = state.get("caller")
    proven = caller if isinstance(caller, Caller | SessionCaller) else None
    told = error.told
    key = (proven.key_id, proven.account_id) if isinstance(proven, Caller) else None if told is None else told.key
    address = state.get("client_ip")
    return Refusal(
        code=error.code,
        reason=error.message if told is None else told.reason,
        actor=_actor(key, proven),
        account_id=None if key is None else key[1],
        claimed_key=_claimed(scope) if key is None and proven is None else None,
        user=None if told is None else told.user,
        client_ip=None if address is None else str(address),
        source=bucket_of(address),
        request_id=state.get("request_id"),
        # The template: a path that is not one of ours may hold anything.
        route=getattr(scope.get("route"), "path", None),
    )


def _actor(key: tuple[str, int] | None, caller: Caller | SessionCaller | None) -> Actor:
    if key is not None:
        return Actor(kind=ActorKind.KEY, id=key[0])
    return person(caller.user_id, caller.name) if isinstance(caller, SessionCaller) else UNKNOWN


def _claimed(scope: Any) -> str | None:
    given = [value for name, value in scope["headers"] if name == KEY_HEADER.lower().encode()]
    return given[0].decode("latin-1") if len(given) == 1 and len(given[0]) <= MAX_KEY_ID else None
