"""What becomes of something asked about a key: refused with the API's error, or done and in the audit log."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection

from service.accounts.names import InvalidName
from service.audit.model import Subject
from service.audit.recording import record_by_person
from service.auth.keys import ApiKey, InvalidKey, KeyLabelTaken
from service.auth.restrictions import InvalidRestriction
from service.auth.session_caller import SessionCaller
from service.build import Services
from service.errors import ApiError


@contextmanager
def refusals() -> Iterator[None]:
    """The rules' own errors as the API's. Raises: ApiError: invalid_key, label_taken."""
    try:
        yield
    except (InvalidKey, InvalidRestriction, InvalidName) as exc:
        raise ApiError("invalid_key", str(exc)) from exc
    except KeyLabelTaken as exc:
        raise ApiError("label_taken", str(exc)) from exc


def record(
    c: Connection,
    services: Services,
    caller: SessionCaller,
    key: ApiKey,
    *,
    act: str,
    now_ms: int,
    details: Mapping[str, Any] | None = None,
) -> None:
    """In the unit of work of what was done: its entry in the chain of the key's account."""
    said = {"label": key.label, "key": key.id, **(details or {})}
    subject = Subject(kind="key", id=key.id)
    record_by_person(
        c,
        caller,
        act=act,
        subject=subject,
        details=said,
        account_id=key.account_id,
        master=services.master,
        now_ms=now_ms,
    )
