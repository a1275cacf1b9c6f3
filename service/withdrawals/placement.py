"""Taking a withdrawal on: a destination that the key allows, a transfer that would work, funds held, one transaction.

Guarantees: as `service.plans.accepting`: the same client id pays once, whatever is refused has reserved and queued
nothing. One that needs a second person is stored, and its funds are held, but no lane sees it before it is approved.
With each goes its clearance, without which nothing is signed.
Not guaranteed: that anybody holds the key of the destination. It must be in the key's allowlist for that reason.
"""

from dataclasses import replace

from sqlalchemy import Connection

from chains.tx.model import IntentState, Lane, Plan, PlanId
from chains.types import Address
from service.accounts.holds import refuse_if_maker_held
from service.addresses import reach
from service.addresses.checking import parse_safe
from service.approvals import clearances, model, policies
from service.approvals.model import Why
from service.audit.acts import WITHDRAWAL_PLACED
from service.audit.model import Subject
from service.auth import budgets
from service.auth.callers import Caller
from service.auth.caveats import Cost, Kind, Target, caveats_of, limits, require
from service.build import ChainRuntime, Services
from service.db.txstore import SqlTxStore
from service.errors import ApiError
from service.ids import withdrawal_plan_id
from service.journal import books
from service.plans.accepting import Accepted, accept_once, hold_funds
from service.plans.building import queued_plan
from service.plans.params import params_hash
from service.plans.recording import record_placed
from service.plans.refusals import client_id_conflict
from service.withdrawals import storage
from service.withdrawals.lifecycle import EVENT
from service.withdrawals.model import AmountIs, Withdrawal, WithdrawalDraft, WithdrawalState
from service.withdrawals.preparing import Asked, Prepared, prepare
from service.withdrawals.view import withdrawal_document


def parse_destination(runtime: ChainRuntime, wallet: Address, text: str) -> Address:
    """A destination from outside.

    Raises:
        ApiError: invalid_address (form or checksum), or destination_unsafe: coins sent there would be lost or go
            nowhere.
    """
    destination = parse_safe(runtime, text)
    if destination == wallet:
        raise ApiError("destination_unsafe", "this is the wallet itself")
    return destination


async def place(services: Services, runtime: ChainRuntime, caller: Caller, *, asked: Asked) -> Accepted[Withdrawal]:
    """Accept the withdrawal, or answer with the one that the same client id made before.

    Raises:
        ApiError: refused; nothing was reserved or queued.
        ChainError, BalanceUnknown: the chain cannot be asked now.
    """
    digest = _digest(runtime, caller, asked)
    plan_id = withdrawal_plan_id(services.clock)

    async def ask_chain() -> Prepared:
        return await prepare_allowed(services, runtime, caller, asked=asked)

    def accept(c: Connection, lane: Lane, prepared: Prepared) -> Withdrawal:
        check_allowed(c, services, runtime, caller=caller, asked=asked)
        now_ms = services.clock.now_ms()
        why = why_approval(c, services, runtime, caller=caller, asked=asked, prepared=prepared)
        cost = cost_of(runtime, asked, prepared)
        budgets.charge(c, caller.key_id, caveats=limits(caller.key), cost=cost, now_ms=now_ms)
        SqlTxStore().add_plan(c, _plan(plan_id, lane, prepared, waits=why is not None, now_ms=now_ms))
        hold_funds(c, runtime, caller, plan_id=plan_id, funds=prepared.funds, now_ms=now_ms)
        state = WithdrawalState.PROCESSING if why is None else WithdrawalState.AWAITING_APPROVAL
        draft = _draft(runtime, caller, asked, prepared=prepared, digest=digest, plan_id=plan_id)
        withdrawal = storage.insert_withdrawal(c, draft, state=state, now_ms=now_ms)
        clearances.insert_clearance(
            c,
            withdrawal,
            why=why,
            usd=prepared.usd,
            requester_id=caller.key.made_by,
            expires_ms=None if why is None else now_ms + model.EXPIRES_MS,
            master=services.master,
        )
        record_placed(
            c,
            caller,
            act=WITHDRAWAL_PLACED,
            subject=Subject(kind="withdrawal", id=str(withdrawal.id)),
            details={
                "client_id": asked.client_id,
                "asset": asked.asset.id,
                "amount_raw": prepared.amount,
                "amount_is": str(asked.amount_is),
                "destination": asked.destination,
                "params_hash": digest,
                "plan": str(plan_id),
                "needs_approval": None if why is None else str(why),
            },
            master=services.master,
            now_ms=now_ms,
        )
        document = withdrawal_document(withdrawal, chain=runtime.config, asset=asked.asset)
        books.emit(c, account_id=caller.account_id, kind=EVENT, payload=document, now_ms=now_ms)
        return withdrawal

    return await accept_once(
        services, runtime, caller, known=lambda c: _known(c, caller, asked, digest), prepare=ask_chain, accept=accept
    )


async def prepare_allowed(services: Services, runtime: ChainRuntime, caller: Caller, *, asked: Asked) -> Prepared:
    """What the chain says of a withdrawal that the key allows. Raises: as `prepare`; ApiError: the key does not."""

    def read(c: Connection) -> bool:
        check_allowed(c, services, runtime, caller=caller, asked=asked)
        now_ms = services.clock.now_ms()
        policy = policies.policy_of(c, caller.account_id, master=services.master, now_ms=now_ms)
        return caller.key.restrictions.needs_withdrawal_usd or policy.in_force.usd is not None

    with_usd = await services.db.read(read)
    wallet = caller.wallet
    return await prepare(services, runtime, wallet_id=wallet.id, wallet=wallet.address, asked=asked, with_usd=with_usd)


def check_allowed(c: Connection, services: Services, runtime: ChainRuntime, *, caller: Caller, asked: Asked) -> None:
    """Raises: ApiError: the key is not for this, or not for this destination, or its maker is on hold."""
    target = Target(
        wallet_id=caller.wallet.id,
        chain_id=runtime.config.chain_id,
        assets=frozenset({asked.asset.id}),
        market=None,
        destination=asked.destination,
    )
    chain_id, now_ms, key = runtime.config.chain_id, services.clock.now_ms(), caller.key
    refuse_if_maker_held(c, key, master=services.master, now_ms=now_ms)
    reach.check_cooled(
        c, key, chain_id=chain_id, address=asked.destination, now_ms=now_ms, master=services.master
    )  # fmt: skip
    reached = reach.destinations_of(c, key, chain_id=chain_id, now_ms=now_ms, master=services.master)
    require(caveats_of(key, reached), target)


def why_approval(
    c: Connection, services: Services, runtime: ChainRuntime, *, caller: Caller, asked: Asked, prepared: Prepared
) -> Why | None:
    """Why a second person is needed, as the account's thresholds are now; None: nobody is."""
    now_ms = services.clock.now_ms()
    policy = policies.policy_of(c, caller.account_id, master=services.master, now_ms=now_ms)
    if not policy.in_force.any:
        return None
    before = clearances.taken_alone(c, caller.account_id, now_ms=now_ms)
    return model.why(
        policy.in_force,
        budgets.counted(runtime.assets, {asked.asset.id: prepared.leaves}),
        usd=prepared.usd,
        before=replace(before, amounts=budgets.counted(runtime.assets, before.amounts)),
    )


def cost_of(runtime: ChainRuntime, asked: Asked, prepared: Prepared) -> Cost:
    """What it takes of the key's limits."""
    return Cost(
        kind=Kind.WITHDRAWAL,
        chain_id=runtime.config.chain_id,
        amounts=budgets.counted(runtime.assets, {asked.asset.id: prepared.leaves}),
        usd=prepared.usd,
        gas_wei=prepared.max_fee_wei,
        used={},
    )


def _plan(plan_id: PlanId, lane: Lane, prepared: Prepared, *, waits: bool, now_ms: int) -> Plan:
    """One call, its gas limit fixed. One that waits for a second person is only accepted, so that no lane takes it."""
    plan = queued_plan(plan_id, lane, calls=[prepared.call], created_ms=now_ms, valid_until_ms=None)
    [intent] = plan.intents
    bounded = replace(
        intent,
        gas_limit=prepared.gas_limit,
        max_gas_cost_wei=prepared.max_fee_wei if prepared.is_bounded else None,
        state=IntentState.ACCEPTED if waits else IntentState.QUEUED,
    )
    return replace(plan, intents=(bounded,))


def _known(c: Connection, caller: Caller, asked: Asked, digest: str) -> Withdrawal | None:
    """The account's withdrawal with this client id. Raises: ApiError: it was made with other parameters."""
    withdrawal = storage.withdrawal_by_client_id(c, asked.client_id, account_id=caller.account_id)
    if withdrawal is not None and withdrawal.params_hash != digest:
        raise client_id_conflict("withdrawal", asked.client_id)
    return withdrawal


def _digest(runtime: ChainRuntime, caller: Caller, asked: Asked) -> str:
    return params_hash(
        "withdrawal",
        {
            "chain_id": runtime.config.chain_id,
            "wallet_id": caller.wallet.id,
            "asset": asked.asset.id,
            "amount": asked.amount,
            # Left out where it says nothing: the fingerprint of what was asked for before there was this parameter.
            "amount_is": None if asked.amount_is is AmountIs.NET else str(asked.amount_is),
            "destination": asked.destination,
        },
    )


def _draft(
    runtime: ChainRuntime, caller: Caller, asked: Asked, *, prepared: Prepared, digest: str, plan_id: PlanId
) -> WithdrawalDraft:
    return WithdrawalDraft(
        account_id=caller.account_id,
        wallet_id=caller.wallet.id,
        key_id=caller.key_id,
        client_id=asked.client_id,
        params_hash=digest,
        chain_id=runtime.config.chain_id,
        asset=asked.asset.id,
        amount=prepared.amount,
        destination=asked.destination,
        plan_id=plan_id,
        amount_is=asked.amount_is,
        gas_limit=prepared.gas_limit,
        max_fee_wei=prepared.max_fee_wei,
    )
