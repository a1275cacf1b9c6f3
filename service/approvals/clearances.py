"""What lets a withdrawal be signed: its clearance, bound to all that it asks for.

    clear                          nobody else was needed when it was accepted
    pending -> approved | rejected another person decides
    any     -> ended              its withdrawal did, without a transaction or with a final one

Guarantees: one a withdrawal, stored with it in one unit of work; a row without its MAC is refused
(`authority.Tampered`), so that a withdrawal that was written or edited in the database, or approved there, is not
signed; what is decided is decided once; what has ended stays so, whatever the withdrawal's own row says.
Not guaranteed: that a row is the newest. An older one put back whole has its MAC.
Not here: who may decide (`deciding`), and what becomes of one that nobody decides (`expiring`).
"""

from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, insert, select, update

from chains.tx.store import StaleState
from contracts.assets import AssetId
from service.approvals.model import WINDOW_MS, ClearState, Taken, Why
from service.auth import authority
from service.auth.secrets import MasterKey
from service.db.models import clearances, transactions, withdrawals
from service.plans.params import params_hash
from service.withdrawals.model import AmountIs, Withdrawal, leaves_at_most

MAY_BE_SIGNED = frozenset({ClearState.CLEAR, ClearState.APPROVED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Clearance:
    """A stored clearance whose MAC was right. `usd`: micro-dollars when it was accepted, None where not known.

    `requester_id` is the user whose key asked, None for a key that was made on the host.
    """

    withdrawal_id: int
    account_id: int
    binding: str
    state: ClearState
    why: Why | None
    usd: int | None
    requester_id: int | None
    created_ms: int
    expires_ms: int | None
    decided_ms: int | None
    decider_id: int | None
    decided_with: str | None
    ended_ms: int | None
    mac: bytes

    def is_late(self, now_ms: int) -> bool:
        """Nobody decided in time."""
        return self.state is ClearState.PENDING and self.expires_ms is not None and self.expires_ms <= now_ms


def binding_of(withdrawal: Withdrawal) -> str:
    """The fingerprint of all that a withdrawal asks for: what a person approves is exactly this."""
    return params_hash(
        "clearance",
        {
            "id": withdrawal.id,
            "account_id": withdrawal.account_id,
            "wallet_id": withdrawal.wallet_id,
            "key_id": withdrawal.key_id,
            "client_id": withdrawal.client_id,
            "params_hash": withdrawal.params_hash,
            "chain_id": withdrawal.chain_id,
            "asset": withdrawal.asset,
            "amount": withdrawal.amount,
            "amount_is": str(withdrawal.amount_is),
            "destination": withdrawal.destination,
            "gas_limit": withdrawal.gas_limit,
            "max_fee_wei": withdrawal.max_fee_wei,
            "plan_id": withdrawal.plan_id,
            "created_ms": withdrawal.created_ms,
        },
    )


def insert_clearance(
    c: Connection,
    withdrawal: Withdrawal,
    *,
    why: Why | None,
    usd: int | None,
    requester_id: int | None,
    expires_ms: int | None,
    master: MasterKey,
) -> None:
    """Store the clearance of a withdrawal that is accepted: clear without a `why`, else pending."""
    row = {
        "withdrawal_id": withdrawal.id,
        "account_id": withdrawal.account_id,
        "binding": binding_of(withdrawal),
        "state": str(ClearState.CLEAR if why is None else ClearState.PENDING),
        "why": None if why is None else str(why),
        "usd": usd,
        "requester_id": requester_id,
        "created_ms": withdrawal.created_ms,
        "expires_ms": expires_ms,
        "decided_ms": None,
        "decider_id": None,
        "decided_with": None,
        "ended_ms": None,
    }
    c.execute(insert(clearances), row | {"mac": authority.mac(master, clearances, row)})


def clearance_of(c: Connection, withdrawal_id: int, *, master: MasterKey) -> Clearance | None:
    """Raises: authority.Tampered."""
    mine = select(clearances).where(clearances.c.withdrawal_id == withdrawal_id)
    try:
        found = c.execute(mine).mappings().one_or_none()
    except authority.UNREADABLE as exc:
        raise authority.Tampered(clearances) from exc
    return None if found is None else _clearance(found, master)


def why_not(c: Connection, withdrawal: Withdrawal, *, master: MasterKey) -> tuple[str | None, Clearance | None]:
    """Why nothing may be signed for the withdrawal; None: its clearance, which is there then, lets it.

    Raises: authority.Tampered.
    """
    found = clearance_of(c, withdrawal.id, master=master)
    if found is None:
        return "nothing says that the withdrawal was accepted here", None
    if found.binding != binding_of(withdrawal):
        return "the withdrawal is not the one that was accepted and approved", found
    if found.state not in MAY_BE_SIGNED:
        return f"its approval is {found.state}", found
    if found.ended_ms is not None:
        return "the withdrawal has ended", found
    return None, found


def decide(
    c: Connection,
    clearance: Clearance,
    state: ClearState,
    *,
    decider_id: int,
    decided_with: str,
    master: MasterKey,
    now_ms: int,
) -> None:
    """Approve or reject a pending one. Raises: StaleState: it was decided meanwhile."""
    t = clearances
    row = dict(c.execute(select(t).where(t.c.withdrawal_id == clearance.withdrawal_id)).mappings().one())
    values = {
        "state": str(state),
        "decided_ms": now_ms,
        "decider_id": decider_id,
        "decided_with": decided_with,
    }
    after = row | values
    written = c.execute(
        update(t)
        .where(t.c.withdrawal_id == clearance.withdrawal_id, t.c.state == ClearState.PENDING, t.c.mac == clearance.mac)
        .values(values | {"mac": authority.mac(master, t, after)})
    )
    if written.rowcount != 1:
        raise StaleState(f"the approval of withdrawal {clearance.withdrawal_id} was decided meanwhile")


def end(c: Connection, withdrawal_id: int, *, master: MasterKey, now_ms: int) -> None:
    """Its withdrawal has ended: nothing is signed for it any more, also when its state is put back in the database.

    A row without its MAC stays as it is: it lets nothing be signed.
    """
    t = clearances
    try:
        row = c.execute(select(t).where(t.c.withdrawal_id == withdrawal_id)).mappings().one_or_none()
        if row is None or row["ended_ms"] is not None:
            return
        authority.verify(master, t, row)
    except (authority.Tampered, *authority.UNREADABLE):
        return
    mac = authority.mac(master, t, dict(row) | {"ended_ms": now_ms})
    c.execute(update(t).where(t.c.withdrawal_id == withdrawal_id).values(ended_ms=now_ms, mac=mac))


def taken_alone(c: Connection, account_id: int, *, now_ms: int) -> Taken:
    """What the account's withdrawals took that needed nobody else, and its calls of contracts may have taken, in the
    window that ends now.

    What was accepted counts, whatever became of it, as it does for the limits of keys; of a worth that was not known
    only the amount does.
    """
    t, w = clearances, withdrawals
    rows = c.execute(
        select(t.c.usd, w.c.asset, w.c.amount, w.c.amount_is, w.c.max_fee_wei)
        .join(w, w.c.id == t.c.withdrawal_id)
        .where(t.c.account_id == account_id, t.c.state == ClearState.CLEAR, t.c.created_ms > now_ms - WINDOW_MS)
    ).all()
    usd, amounts = 0, dict[AssetId, int]()
    for row in rows:
        usd += row.usd or 0
        kind = AmountIs(row.amount_is)
        leaves = leaves_at_most(row.asset, row.amount, amount_is=kind, max_fee_wei=row.max_fee_wei)
        amounts[row.asset] = amounts.get(row.asset, 0) + leaves
    x = transactions
    calls = c.execute(
        select(x.c.usd, x.c.max_out).where(
            x.c.account_id == account_id, x.c.max_out.is_not(None), x.c.created_ms > now_ms - WINDOW_MS
        )
    ).all()
    for call in calls:
        usd += call.usd or 0
        for asset, raw in (call.max_out or {}).items():
            amounts[AssetId(asset)] = amounts.get(AssetId(asset), 0) + int(raw)
    return Taken(usd=usd, amounts=amounts)


def _clearance(row: RowMapping, master: MasterKey) -> Clearance:
    authority.verify(master, clearances, row)
    kinds = {
        "state": ClearState(row["state"]),
        "why": None if row["why"] is None else Why(row["why"]),
        "mac": bytes(row["mac"]),
    }
    return Clearance(**(dict(row) | kinds))
