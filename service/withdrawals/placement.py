"""Taking a withdrawal on: a destination that the key allows, a transfer that would work, funds held, one transaction.

Guarantees: as `service.plans.accepting`: the same client id pays once, whatever is refused has reserved and queued
nothing; the destination receives the amount asked for, gas on top.
Not guaranteed: that anybody holds the key of the destination. It must be in the key's allowlist for that reason.
"""

from dataclasses import dataclass

from sqlalchemy import Connection

from chains.errors import ExecutionReverted
from chains.tx.model import Lane, PlanId
from chains.tx.simulation import padded_gas
from chains.types import ZERO_ADDRESS, Address, CallRequest, InvalidAddress, parse_address
from contracts import erc20
from contracts.assets import Asset
from service.audit.acts import WITHDRAWAL_PLACED
from service.audit.model import Subject
from service.auth import budgets, keys
from service.auth.callers import Caller
from service.auth.caveats import Cost, Kind, Target, caveats_of, limits, require
from service.build import ChainRuntime, Services
from service.db.txstore import SqlTxStore
from service.errors import ApiError
from service.ids import withdrawal_plan_id
from service.journal import books
from service.markets.usd import asset_worth
from service.plans.accepting import Accepted, Funds, accept_once, hold_funds
from service.plans.building import queued_plan
from service.plans.funds import needs, witnessed_balances
from service.plans.params import params_hash
from service.plans.recording import record_placed
from service.plans.refusals import client_id_conflict, not_enough
from service.withdrawals import storage
from service.withdrawals.lifecycle import EVENT
from service.withdrawals.model import Withdrawal, WithdrawalDraft
from service.withdrawals.view import withdrawal_document


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A parsed withdrawal request; `amount` in base units."""

    asset: Asset
    amount: int
    destination: Address
    client_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    call: CallRequest
    funds: Funds
    gas_wei: int
    usd: int | None
    """In micro-dollars; None: not known, or no limit asks for it."""


def parse_destination(runtime: ChainRuntime, wallet: Address, text: str) -> Address:
    """A destination from outside.

    Raises:
        ApiError: invalid_address (form or checksum), or destination_unsafe: coins sent there would be lost or go
            nowhere.
    """
    try:
        destination = parse_address(text)
    except InvalidAddress as exc:
        raise ApiError("invalid_address", str(exc)) from exc
    pinned = runtime.deployments.contracts(runtime.config.chain_id).values()
    if destination == ZERO_ADDRESS:
        why = "the zero address belongs to nobody"
    elif runtime.assets.find_address(destination) is not None:
        why = "this is a token's own contract; coins sent there are lost"
    elif destination in pinned:
        why = "this is a protocol's contract; coins sent there are lost"
    elif destination == wallet:
        why = "this is the wallet itself"
    else:
        return destination
    raise ApiError("destination_unsafe", why)


async def place(services: Services, runtime: ChainRuntime, caller: Caller, *, asked: Asked) -> Accepted[Withdrawal]:
    """Accept the withdrawal, or answer with the one that the same client id made before.

    Raises:
        ApiError: refused; nothing was reserved or queued.
        ChainError, BalanceUnknown: the chain cannot be asked now.
    """
    digest = _digest(runtime, caller, asked)
    plan_id = withdrawal_plan_id(services.clock)

    async def prepare() -> _Prepared:
        await services.db.read(lambda c: _check_allowed(c, services, runtime, caller=caller, asked=asked))
        return await _prepare(runtime, caller, asked=asked, now_s=services.clock.now_ms() // 1000)

    def accept(c: Connection, lane: Lane, prepared: _Prepared) -> Withdrawal:
        _check_allowed(c, services, runtime, caller=caller, asked=asked)
        now_ms = services.clock.now_ms()
        cost = _cost(runtime, asked, prepared)
        budgets.charge(c, caller.key_id, caveats=limits(caller.key), cost=cost, now_ms=now_ms)
        plan = queued_plan(plan_id, lane, calls=[prepared.call], created_ms=now_ms, valid_until_ms=None)
        SqlTxStore().add_plan(c, plan)
        hold_funds(c, runtime, caller, plan_id=plan_id, funds=prepared.funds, now_ms=now_ms)
        draft = _draft(runtime, caller, asked, digest=digest, plan_id=plan_id)
        withdrawal = storage.insert_withdrawal(c, draft, now_ms=now_ms)
        record_placed(
            c,
            caller,
            act=WITHDRAWAL_PLACED,
            subject=Subject(kind="withdrawal", id=str(withdrawal.id)),
            details={
                "client_id": asked.client_id,
                "asset": asked.asset.id,
                "amount_raw": asked.amount,
                "destination": asked.destination,
                "params_hash": digest,
                "plan": str(plan_id),
            },
            master=services.master,
            now_ms=now_ms,
        )
        document = withdrawal_document(withdrawal, chain=runtime.config, asset=asked.asset)
        books.emit(c, account_id=caller.account_id, kind=EVENT, payload=document, now_ms=now_ms)
        return withdrawal

    return await accept_once(
        services, runtime, caller, known=lambda c: _known(c, caller, asked, digest), prepare=prepare, accept=accept
    )


def _check_allowed(c: Connection, services: Services, runtime: ChainRuntime, *, caller: Caller, asked: Asked) -> None:
    target = Target(
        wallet_id=caller.wallet.id,
        chain_id=runtime.config.chain_id,
        assets=frozenset({asked.asset.id}),
        market=None,
        destination=asked.destination,
    )
    require(caveats_of(caller.key, keys.list_destinations(c, caller.key_id, master=services.master)), target)


def _cost(runtime: ChainRuntime, asked: Asked, prepared: _Prepared) -> Cost:
    return Cost(
        kind=Kind.WITHDRAWAL,
        chain_id=runtime.config.chain_id,
        asset=asked.asset.id,
        amount=asked.amount,
        usd=prepared.usd,
        gas_wei=prepared.gas_wei,
        used={},
    )


async def _prepare(runtime: ChainRuntime, caller: Caller, *, asked: Asked, now_s: int) -> _Prepared:
    call = erc20.transfer_call(asked.asset, asked.destination, amount=asked.amount)
    head = await runtime.client.head()
    wallet, native = caller.wallet.address, runtime.assets.native
    balances = await witnessed_balances(runtime, wallet, [asked.asset, native], block=head.ref)
    # Before the gas is estimated: a transfer of what is not there reverts with a wording of the token's own.
    if asked.amount > balances[asked.asset.id]:
        raise not_enough(runtime, asked.asset.id, wanted=asked.amount, free=balances[asked.asset.id])
    fees = await runtime.fees.suggested(runtime.client, block=head.ref)
    gas_wei = await _gas(runtime, caller, call=call) * fees.max_fee_wei
    wanted = needs((asked.asset.id, asked.amount), (native.id, gas_wei))
    usd = None
    if caller.key.restrictions.needs_withdrawal_usd:
        usd = await asset_worth(runtime, asked.asset, asked.amount, header=head, now_s=now_s)
    funds = Funds(wanted=wanted, balances=balances, height=head.number)
    return _Prepared(call=call, funds=funds, gas_wei=gas_wei, usd=usd)


async def _gas(runtime: ChainRuntime, caller: Caller, *, call: CallRequest) -> int:
    """Gas set aside. The estimate executes the transfer, so that a token that would refuse it is found here."""
    try:
        estimate = await runtime.client.estimate_gas(call, sender=caller.wallet.address)
    except ExecutionReverted as exc:
        reason = exc.reason or "no reason given"
        raise ApiError("would_revert", f"the transfer would fail on the chain: {reason}") from exc
    return padded_gas(estimate, data=call.data)


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
            "destination": asked.destination,
        },
    )


def _draft(runtime: ChainRuntime, caller: Caller, asked: Asked, *, digest: str, plan_id: PlanId) -> WithdrawalDraft:
    return WithdrawalDraft(
        account_id=caller.account_id,
        wallet_id=caller.wallet.id,
        key_id=caller.key_id,
        client_id=asked.client_id,
        params_hash=digest,
        chain_id=runtime.config.chain_id,
        asset=asked.asset.id,
        amount=asked.amount,
        destination=asked.destination,
        plan_id=plan_id,
    )
