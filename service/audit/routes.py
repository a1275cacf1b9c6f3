"""The audit log of an account, for its owners in a session."""

from collections.abc import Sequence
from typing import Annotated, Final

import orjson
from fastapi import APIRouter, Query
from sqlalchemy import Connection

from service.accounts import people
from service.accounts.memberships import OWNERS, require_role
from service.audit import reading
from service.audit.model import Entry
from service.audit.schemas import AuditEntriesOut, AuditEntryOut
from service.auth.callers import PersonCaller
from service.markets.lookup import Here

MOST: Final = 100
MAX_SEQ: Final = 2**53

router = APIRouter(prefix="/v1/audit", tags=["audit"])


@router.get("")
async def list_audit_entries(
    caller: PersonCaller,
    services: Here,
    account: Annotated[
        str | None, Query(max_length=64, description="Where you are in several.", examples=["main"])
    ] = None,
    act: Annotated[
        str | None,
        Query(
            max_length=48, pattern=r"^[a-z_.]+$", description="An act, or a group such as `key.`.", examples=["key."]
        ),
    ] = None,
    outcome: Annotated[
        str | None, Query(max_length=64, pattern=r"^[a-z_]+$", description="Or its code.", examples=["refused"])
    ] = None,
    before: Annotated[
        int | None, Query(ge=1, le=MAX_SEQ, description="Entries before this number.", examples=[17])
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MOST, examples=[50])] = 50,
) -> AuditEntriesOut:
    """What was done and refused in an account you own: keys and their requests, orders, withdrawals, members."""

    def read(c: Connection) -> tuple[str, Sequence[Entry]]:
        mine = require_role(c, caller, account, one_of=OWNERS, master=services.master)
        found = people.get_account(c, mine.account_id)
        wanted = reading.Wanted(chain=mine.account_id, before=before, act=act, outcome=outcome)
        # One more than asked for says whether there is a next page.
        return "" if found is None else found.name, reading.newest(c, wanted, limit=limit + 1)

    name, entries = await services.db.read(read)
    newest_first = list(reversed(entries))
    shown = newest_first[:limit]
    return AuditEntriesOut(
        account=name,
        entries=[_shown(one) for one in shown],
        next_before=shown[-1].seq if len(newest_first) > limit else None,
    )


def _shown(entry: Entry) -> AuditEntryOut:
    return AuditEntryOut.model_validate(
        {
            "seq": entry.seq,
            "time_ms": entry.time_ms,
            "act": entry.act,
            "outcome": entry.outcome,
            "code": entry.code,
            "actor_kind": entry.actor_kind,
            "actor": entry.actor,
            "subject_kind": entry.subject_kind,
            "subject": entry.subject,
            "client_ip": entry.client_ip,
            "details": orjson.loads(entry.details),
            "hash": entry.hash.hex(),
        }
    )
