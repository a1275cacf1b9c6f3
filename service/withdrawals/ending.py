"""Ending a withdrawal that waits, before anything of it is sent: by its client, by who has to approve it, or by time.

Guarantees: in the caller's unit of work; its plan is rejected, what it held is released, and the withdrawal tells why,
or none of it; a lane that is just taking the plan either finds it gone or has it, never both (`StaleState`).
"""

from sqlalchemy import Connection

from chains.tx.reasons import RejectCode, reason
from contracts.deployments import load_deployments
from service.build import Services
from service.db.txstore import SqlTxStore
from service.journal import reservations
from service.plans.booking import ChainBooks
from service.withdrawals.lifecycle import WithdrawalLifecycle
from service.withdrawals.model import Withdrawal


def lifecycle_of(services: Services, withdrawal: Withdrawal, *, now_ms: int) -> WithdrawalLifecycle:
    """The withdrawal's way through its states. Raises: LookupError: its chain is not described any more."""
    configs = (one for one in services.configs.values() if one.chain_id == withdrawal.chain_id)
    config = next(configs, None)
    if config is None or withdrawal.chain_id not in services.assets:
        raise LookupError(f"chain {withdrawal.chain_id} is not described")
    # The registry is one for all chains; an operator's act on a service without nodes has none at hand.
    registry = next((chain.deployments for chain in services.chains.values()), None) or load_deployments()
    books = ChainBooks(config=config, assets=services.assets[withdrawal.chain_id], deployments=registry)
    return WithdrawalLifecycle(withdrawal=withdrawal, books=books, master=services.master, now_ms=now_ms)


def cancel_waiting(c: Connection, services: Services, withdrawal: Withdrawal, *, now_ms: int) -> Withdrawal:
    """By its client. Raises: StaleState: its lane has it, or it ended."""
    lifecycle = _end_plan(c, services, withdrawal, why="cancelled by its client", now_ms=now_ms)
    lifecycle.cancelled(c)
    return lifecycle.withdrawal


def reject_waiting(c: Connection, services: Services, withdrawal: Withdrawal, *, why: str, now_ms: int) -> Withdrawal:
    """With a reason that its client reads. Raises: StaleState: it does not wait any more."""
    lifecycle = _end_plan(c, services, withdrawal, why=why, now_ms=now_ms)
    lifecycle.rejected(c, reason=why, expired=False)
    return lifecycle.withdrawal


def _end_plan(
    c: Connection, services: Services, withdrawal: Withdrawal, *, why: str, now_ms: int
) -> WithdrawalLifecycle:
    lifecycle = lifecycle_of(services, withdrawal, now_ms=now_ms)
    SqlTxStore().reject_plan(c, withdrawal.plan_id, reason(RejectCode.GIVEN_UP, why))
    reservations.release(c, withdrawal.plan_id, now_ms)
    return lifecycle
