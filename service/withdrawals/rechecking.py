"""What is looked at again right before a withdrawal is signed, beyond its decoded call and its destination.

    its clearance      there, with its MAC, bound to exactly this withdrawal, and clear or approved
    its gas            limit and fee bound of the transaction are those that were accepted
    its key            still has the permission, and is still for this chain and asset
    the key's limits   as they are now, over what the day of the acceptance had taken

Guarantees: a withdrawal that was written or edited in the database, or is not approved, is refused, and so is one whose
key was narrowed meanwhile to less than what it takes; of what is sent already that closes the nonce by a self-send.
Not looked at: expiry and networks of the key, which are about requests; and prices, which were counted when it was
accepted: a key that has its first limit in USD since then refuses what was accepted without a known worth.
"""

from dataclasses import replace

from sqlalchemy import Connection

from chains.tx.model import Intent
from chains.tx.store import PreSignRefused
from contracts.assets import AssetList
from service.approvals.clearances import Clearance, why_not
from service.auth import budgets
from service.auth.authority import Tampered
from service.auth.caveats import Cost, Kind, Target, Use, caveats_of, decide, takes
from service.auth.keys import ApiKey, Permission
from service.auth.secrets import MasterKey
from service.withdrawals.model import Withdrawal, leaves_at_most, takes_fee_off


def recheck(
    c: Connection, intent: Intent, withdrawal: Withdrawal, *, key: ApiKey, assets: AssetList, master: MasterKey
) -> None:
    """Raises: PreSignRefused."""
    try:
        why, clearance = why_not(c, withdrawal, master=master)
    except Tampered as exc:
        raise PreSignRefused(str(exc)) from exc
    if why is not None or clearance is None:
        raise PreSignRefused(why or "nothing clears the withdrawal")
    bound = withdrawal.max_fee_wei if takes_fee_off(withdrawal.asset, withdrawal.amount_is) else None
    if (intent.gas_limit, intent.max_gas_cost_wei) != (withdrawal.gas_limit, bound):
        raise PreSignRefused("the transfer's gas limit or fee bound is not the withdrawal's")
    _check_key(c, withdrawal, clearance, key=key, assets=assets)


def _check_key(c: Connection, withdrawal: Withdrawal, clearance: Clearance, *, key: ApiKey, assets: AssetList) -> None:
    target = Target(
        wallet_id=withdrawal.wallet_id,
        chain_id=withdrawal.chain_id,
        assets=frozenset({withdrawal.asset}),
        market=None,
        # Who may be paid is checked by its own rule.
        destination=None,
    )
    leaves = leaves_at_most(
        withdrawal.asset, withdrawal.amount, amount_is=withdrawal.amount_is, max_fee_wei=withdrawal.max_fee_wei
    )
    cost = Cost(
        kind=Kind.WITHDRAWAL,
        chain_id=withdrawal.chain_id,
        amounts=budgets.counted(assets, {withdrawal.asset: leaves}),
        usd=clearance.usd,
        gas_wei=withdrawal.max_fee_wei or 0,
        used={},
    )
    own = takes(cost)
    # What had a limit that day was counted, this withdrawal with it.
    counted = budgets.used(c, key.id, now_ms=withdrawal.created_ms)
    others = {tally: max(0, raw - (own.get(tally) or 0)) for tally, raw in counted.items()}
    denied = decide(caveats_of(key), Use(permission=Permission.WITHDRAW), target, replace(cost, used=others))
    if denied is not None:
        raise PreSignRefused(f"the key's limits are narrower now: {denied.reason}")
