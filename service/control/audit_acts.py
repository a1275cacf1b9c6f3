"""Owner's acts on the audit log: list, verify and export; and what every act that changes something leaves in it.

Guarantees: an act that changes something has an entry (`started`) that was durable before it began, and one of how it
ended; where the second is missing, the process ended or its commit failed in between, and the first says so. Verifying
reads every entry. Looking is not recorded; an export is, with the ends of the chains that it goes up to.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

import structlog
from pydantic import Field
from sqlalchemy import Connection

from chains.tx.store import StoreUnavailable
from service.accounts import people
from service.audit import reading, verifying
from service.audit.acts import ACTS
from service.audit.appending import PURPOSE, append, heads
from service.audit.exported import document, head_document, parse_head
from service.audit.model import Actor, ActorKind, NewEntry, Outcome
from service.audit.reading import Wanted
from service.audit.verifying import Broken
from service.build import Services
from service.control.params import NoParams, Params
from service.control.protocol import ActFailed
from service.control.server import Operator
from service.db.errors import DatabaseError

MOST: Final = 40
"""Entries in one answer: with details of the largest size still below a line of the control socket."""
MAX_KNOWN: Final = 1_000
"""Ends of an earlier export in one request; some 110 bytes each."""
PAGE: Final = 1_000
"""Entries verified in one read."""

_log: Final = structlog.get_logger("cambist.audit")


class ListEntries(Params):
    since_ms: int | None = Field(default=None, ge=0)
    until_ms: int | None = Field(default=None, ge=0)
    account: str | None = Field(default=None, max_length=64)
    actor: str | None = Field(default=None, max_length=80)
    subject: str | None = Field(default=None, max_length=128)
    act: str | None = Field(default=None, max_length=48)
    outcome: Literal["started", "done", "refused", "failed"] | None = None
    limit: int = Field(default=MOST, ge=1, le=MOST)


class KnownHead(Params):
    """The end of a chain, from an earlier export."""

    chain: int = Field(ge=0)
    seq: int = Field(ge=0)
    hash: str = Field(pattern=r"^[0-9a-f]{64}$")


class Verify(Params):
    known: list[KnownHead] = Field(default_factory=list, max_length=MAX_KNOWN)


class Page(Params):
    chain: int = Field(ge=0)
    after_seq: int = Field(ge=0)
    up_to: int = Field(ge=0)


async def list_(services: Services, params: ListEntries) -> dict[str, Any]:
    """The newest matching entries, oldest of them first; unverified."""

    def read(c: Connection) -> list[dict[str, Any]]:
        account = None if params.account is None else people.account_by_name(c, params.account)
        if params.account is not None and account is None:
            raise ActFailed("unknown_account", f"there is no account {params.account!r}")
        wanted = Wanted(
            since_ms=params.since_ms,
            until_ms=params.until_ms,
            account_id=None if account is None else account.id,
            actor=params.actor,
            subject=params.subject,
            act=params.act,
            outcome=params.outcome,
        )
        return [document(entry) for entry in reading.newest(c, wanted, limit=params.limit)]

    return {"entries": await services.db.read(read)}


async def export(services: Services, params: NoParams) -> dict[str, Any]:
    """The ends of all chains now, up to which `page` gives the entries; `entries` is how many there are."""
    ends = [head for head, _ in await services.db.read(lambda c: list(heads(c)))]
    return {
        "exported_ms": services.clock.now_ms(),
        "heads": [head_document(head) for head in ends],
        "entries": sum(head.seq for head in ends),
    }


async def page(services: Services, params: Page) -> dict[str, Any]:
    """The next entries of a chain, for an export."""
    found = await services.db.read(
        lambda c: reading.following(c, params.chain, after_seq=params.after_seq, up_to=params.up_to, limit=MOST)
    )
    return {"entries": [document(entry) for entry in found]}


async def verify(services: Services, params: Verify) -> dict[str, Any]:
    """Check every entry; `broken` is the first that is not as it was written, or null.

    `known` are ends of an earlier export: entries that are gone with an older copy of the database are found by them.
    """
    key = services.master.subkey(PURPOSE)
    known = [parse_head(one.model_dump()) for one in params.known]
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
    if broken is None and known:
        hashes = await services.db.read(lambda c: reading.hashes_at(c, known))
        broken = verifying.missing(known, hashes=hashes)
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


def _verdict(broken: Broken | None, *, checked: int) -> dict[str, Any]:
    found = None if broken is None else {"chain": broken.chain, "seq": broken.seq, "why": broken.why}
    return {"checked": checked, "broken": found}
