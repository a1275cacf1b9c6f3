"""What a key's accepted request leaves in the audit log: an entry in its account's chain.

Guarantees: in the unit of work that accepts, so that what was accepted and its entry commit together.
Not guaranteed: an entry of what was refused (the structured log has it).
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from service.audit.appending import append
from service.audit.model import Actor, ActorKind, NewEntry, Subject
from service.auth.callers import Caller
from service.auth.secrets import MasterKey


def record_placed(
    c: Connection,
    caller: Caller,
    *,
    act: str,
    subject: Subject,
    details: Mapping[str, Any],
    master: MasterKey,
    now_ms: int,
) -> None:
    """Append the entry of an accepted order or withdrawal."""
    entry = NewEntry(
        act=act,
        actor=Actor(kind=ActorKind.KEY, id=caller.key_id),
        subject=subject,
        account_id=caller.account_id,
        client_ip=str(caller.client_ip),
        details=details,
    )
    append(c, [entry], master=master, now_ms=now_ms, chain=caller.account_id)
