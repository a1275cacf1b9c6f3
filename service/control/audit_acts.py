"""Owner's acts on the audit log: list and verify; and what every act that changes something leaves in it.

Guarantees: an act that changes something has an entry (`started`) that was durable before it began, and one of how it
ended; where the second is missing, the process ended or its commit failed in between, and the first says so. Verifying
reads every entry. Looking is not recorded.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

import orjson
import structlog
from pydantic import Field

from chains.tx.store import StoreUnavailable
from service.audit import reading, verifying
from service.audit.acts import ACTS
from service.audit.appending import PURPOSE, append, heads
from service.audit.model import Actor, ActorKind, Entry, NewEntry, Outcome
from service.audit.reading import Wanted
from service.audit.verifying import Broken
from service.build import Services
from service.control.params import NoParams, Params
from service.control.server import Operator
from service.db.errors import DatabaseError

MOST: Final = 100
"""Entries in one answer: with details of the largest size still below a line of the control socket."""
PAGE: Final = 1_000
"""Entries verified in one read."""

_log: Final = structlog.get_logger("cambist.audit")


class ListEntries(Params):
    since_ms: int | None = Field(default=None, ge=0)
    actor: str | None = Field(default=None, max_length=80)
    act: str | None = Field(default=None, max_length=48)
    outcome: Literal["started", "done", "refused", "failed"] | None = None
    limit: int = Field(default=50, ge=1, le=MOST)


async def list_(services: Services, params: ListEntries) -> dict[str, Any]:
    """The newest matching entries, oldest of them first; unverified."""
    wanted = Wanted(since_ms=params.since_ms, actor=params.actor, act=params.act, outcome=params.outcome)
    found = await services.db.read(lambda c: reading.newest(c, wanted, limit=params.limit))
    return {"entries": [document(entry) for entry in found]}


async def verify(services: Services, params: NoParams) -> dict[str, Any]:
    """Check every entry; `broken` is the first that is not as it was written, or null."""
    key = services.master.subkey(PURPOSE)
    ends, begun, newest = await services.db.read(
        lambda c: (list(heads(c)), reading.begun_chains(c), reading.newest_by_chain(c))
    )
    broken = verifying.check_chains([head for head, _ in ends], begun=begun, newest=newest)
    checked = 0
    for head, mac in ends if broken is None else ():
        reached = verifying.start_of(head.chain)
        while reached.seq < head.seq:
            at = reached
            page = await services.db.read(
                lambda c, at=at, end=head: reading.following(  # type: ignore[misc]
                    c, end.chain, after_seq=at.seq, up_to=end.seq, limit=PAGE
                )
            )
            found = verifying.check_entries(page, after=at, key=key)
            if isinstance(found, Broken):
                return _verdict(found, checked=checked)
            if found == at:
                break
            reached, checked = found, checked + len(page)
        broken = verifying.check_reached(reached, head) or verifying.check_end(head, mac, key=key)
        if broken is not None:
            break
    return _verdict(broken, checked=checked)


async def record(
    services: Services,
    name: str,
    operator: Operator,
    *,
    outcome: Outcome,
    code: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Append an entry of an operator's act; nothing for one that only looks.

    Raises:
        DatabaseError, StoreUnavailable: nothing was written.
    """
    if name not in ACTS:
        return
    entry = NewEntry(
        act=name,
        actor=Actor(kind=ActorKind.OPERATOR, id=f"{operator.name}:{operator.uid}"),
        outcome=outcome,
        code=code,
        details={} if details is None else details,
    )
    now_ms = services.clock.now_ms()
    await services.db.run(lambda c: append(c, [entry], master=services.master, now_ms=now_ms))


async def record_end(
    services: Services,
    name: str,
    operator: Operator,
    *,
    outcome: Outcome,
    code: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """As `record`, of an act that is over: what cannot be written is logged, and changes nothing about the act."""
    try:
        await record(services, name, operator, outcome=outcome, code=code, details=details)
    except (DatabaseError, StoreUnavailable) as exc:
        _log.error("audit_entry_not_written", act=name, outcome=outcome, reason=str(exc))


def document(entry: Entry) -> dict[str, Any]:
    """An entry as the owner sees it."""
    return {
        "chain": entry.chain,
        "seq": entry.seq,
        "time_ms": entry.time_ms,
        "act": entry.act,
        "outcome": entry.outcome,
        "code": entry.code,
        "actor_kind": entry.actor_kind,
        "actor": entry.actor,
        "subject_kind": entry.subject_kind,
        "subject": entry.subject,
        "account_id": entry.account_id,
        "request_id": entry.request_id,
        "client_ip": entry.client_ip,
        "details": orjson.loads(entry.details),
        "hash": entry.hash.hex(),
    }


def _verdict(broken: Broken | None, *, checked: int) -> dict[str, Any]:
    found = None if broken is None else {"chain": broken.chain, "seq": broken.seq, "why": broken.why}
    return {"checked": checked, "broken": found}
