"""An account's thresholds in the database: those in force, and laxer ones that wait.

Guarantees: a row without its MAC is refused (`authority.Tampered`); what makes a threshold stricter is in force at
once, what makes one laxer, or takes it away, `COOLING_MS` after it was asked for; asking again takes back what waited.
An account without a row has no thresholds.
Not guaranteed: against a row that is deleted, or put back whole as it was before (see `service.auth.authority`).
"""

from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update

from service.approvals.model import COOLING_MS, NONE, Thresholds, document, parse, stricter_of
from service.auth import authority
from service.auth.secrets import MasterKey
from service.db.models import approval_policies


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """`following` is in force from `from_ms` on; both None where nothing waits."""

    in_force: Thresholds
    following: Thresholds | None = None
    from_ms: int | None = None


def policy_of(c: Connection, account_id: int, *, master: MasterKey, now_ms: int) -> Policy:
    """The thresholds of an account as they are now. Raises: authority.Tampered."""
    t = approval_policies
    row = c.execute(select(t).where(t.c.account_id == account_id)).mappings().one_or_none()
    if row is None:
        return Policy(in_force=NONE)
    authority.verify(master, t, row)
    if row["next_rules"] is None:
        return Policy(in_force=parse(row["rules"]))
    following = parse(row["next_rules"])
    if row["next_from_ms"] <= now_ms:
        return Policy(in_force=following)
    return Policy(in_force=parse(row["rules"]), following=following, from_ms=row["next_from_ms"])


def change(
    c: Connection, account_id: int, wanted: Thresholds, *, user_id: int, master: MasterKey, now_ms: int
) -> Policy:
    """Ask for other thresholds; what they are then. Raises: authority.Tampered: the stored ones were edited."""
    t = approval_policies
    before = policy_of(c, account_id, master=master, now_ms=now_ms).in_force
    now = stricter_of(before, wanted)
    waits = document(now) != document(wanted)
    row = {
        "account_id": account_id,
        "rules": document(now),
        "next_rules": document(wanted) if waits else None,
        "next_from_ms": now_ms + COOLING_MS if waits else None,
        "changed_ms": now_ms,
        "changed_by": user_id,
    }
    stored = row | {"mac": authority.mac(master, t, row)}
    if c.execute(update(t).where(t.c.account_id == account_id).values(stored)).rowcount == 0:
        c.execute(insert(t), stored)
    return policy_of(c, account_id, master=master, now_ms=now_ms)
