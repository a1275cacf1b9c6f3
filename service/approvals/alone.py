"""What leaves by a contract call, for which nobody else can be asked: it stays below the account's thresholds, or is
refused.

Guarantees: a call that may take more than a withdrawal may without a second person, counted with what withdrawals took
alone and calls may have taken in the window, is not accepted; a worth that is not known is above every threshold in
USD.
"""

from collections.abc import Mapping
from dataclasses import replace

from sqlalchemy import Connection

from contracts.assets import AssetId, AssetList
from service.approvals import clearances, model, policies
from service.auth import budgets
from service.auth.secrets import MasterKey
from service.errors import ApiError


def counts_usd(c: Connection, account_id: int, *, master: MasterKey, now_ms: int) -> bool:
    """Whether the account has a threshold in USD, so that the worth of what leaves must be known."""
    return policies.policy_of(c, account_id, master=master, now_ms=now_ms).in_force.usd is not None


def refuse_above(
    c: Connection,
    account_id: int,
    *,
    out: Mapping[AssetId, int],
    assets: AssetList,
    usd: int | None,
    master: MasterKey,
    now_ms: int,
) -> None:
    """In the unit of work that accepts a call which may take `out`, worth `usd` together.

    Raises:
        ApiError: approval_required. Tampered.
    """
    thresholds = policies.policy_of(c, account_id, master=master, now_ms=now_ms).in_force
    if not thresholds.any:
        return
    before = clearances.taken_alone(c, account_id, now_ms=now_ms)
    before = replace(before, amounts=budgets.counted(assets, before.amounts))
    takes = {asset: raw for asset, raw in budgets.counted(assets, out).items() if raw}
    if takes and (why := model.why(thresholds, takes, usd=usd, before=before)) is not None:
        text = f"the account asks for a second person here ({why}), and contract calls have none"
        raise ApiError("approval_required", text)
