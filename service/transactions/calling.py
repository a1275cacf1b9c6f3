"""Calls of contracts that are none of ours: what a client describes, simulated, within what it declares.

    contract + function + arguments  ->  calldata  ->  [approvals, call] simulated at the head  ->  what would leave

Guarantees: the calldata is encoded here and decodes to the same arguments; in the simulation, no listed asset leaves by
more than is declared and no listed token is left approved for more than is declared, else nothing is queued. Balances
are by the word of two endpoints where there are two.
Not guaranteed: that the contract does the same when its call is mined. It can look at block, time, price or a switch of
its owner, and then take up to the allowances that it has by then: those of `approvals`, and whatever was given to it
elsewhere. Nothing bounds that on the chain; `lifecycle` says afterwards when it was more than declared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from chains.types import CallRequest, InvalidAddress, parse_address
from contracts import erc20
from contracts.abi import encode_call
from contracts.assets import APPROVE_RESET, AssetId
from contracts.errors import ContractError
from contracts.foreign_calls import decoded, is_contract
from service.approvals import alone
from service.auth import budgets
from service.auth.callers import Caller
from service.auth.caveats import limits
from service.build import ChainRuntime, Services
from service.errors import ApiError
from service.ids import transaction_plan_id
from service.journal import reservations
from service.markets import abi_text
from service.markets.abi_text import InvalidCall
from service.markets.usd import asset_worth
from service.plans.accepting import Funds
from service.plans.funds import needs, witnessed_balances
from service.plans.refusals import not_enough
from service.transactions.limits import most_out
from service.transactions.model import TransactionKind
from service.transactions.placement import Asked, Prepared, check_allowed, check_alone, cost_of, terms_of
from service.transactions.simulating import Allowed, Outcome, refusal, simulate


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What a simulation showed, and why the call would be refused all the same; None: it would be accepted."""

    outcome: Outcome
    refused: ApiError | None


def described(
    *,
    contract: str,
    function: str | Mapping[str, Any],
    arguments: Sequence[Any],
    value_wei: int,
    approvals: Mapping[AssetId, int],
    max_out: Mapping[AssetId, int],
    client_id: str,
) -> Asked:
    """A parsed request.

    Raises:
        ApiError: invalid_address, invalid_call; invalid_parameters: an approval of more than may leave.
    """
    for asset_id, raw in approvals.items():
        if raw > max_out.get(asset_id, 0):
            raise ApiError("invalid_parameters", f"`approvals` of {asset_id} are more than its `max_out`")
    try:
        found = abi_text.parse_sent_function(function)
        data = encode_call(found, *abi_text.arguments(found, arguments))
        decoded(found, data)
    except (InvalidCall, ContractError) as exc:
        raise ApiError("invalid_call", str(exc)) from exc
    try:
        call = CallRequest(to=parse_address(contract), data=data, value_wei=value_wei)
    except InvalidAddress as exc:
        raise ApiError("invalid_address", str(exc)) from exc
    return Asked(
        kind=TransactionKind.CONTRACT,
        client_id=client_id,
        call=call,
        function=found.signature,
        approvals=approvals,
        max_out=max_out,
    )


async def prepare(services: Services, runtime: ChainRuntime, caller: Caller, *, asked: Asked) -> Prepared:
    """Simulate the plan at the head, and what it takes.

    Raises:
        ApiError: would_revert, out_too_large, simulation_unavailable, insufficient_balance, insufficient_gas,
            invalid_call.
        ChainError, BalanceUnknown: the chain cannot be asked now.
    """
    outcome = await _simulated(runtime, caller, asked=asked)
    refused = refusal(outcome, allowed=allowed_by(runtime, asked), assets=runtime.assets)
    if refused is not None:
        raise refused
    return await _prepared(services, runtime, caller, asked=asked, outcome=outcome)


async def try_out(services: Services, runtime: ChainRuntime, caller: Caller, *, asked: Asked) -> Tried:
    """Everything that accepting checks; nothing is written or sent. What only `max_out`, funds or limits refuse is in
    the answer, since the changes say what to declare.

    Raises:
        ApiError: the key may not make this call, or it would revert.
        ChainError, BalanceUnknown: the chain cannot be asked now.
    """
    terms = terms_of(runtime, caller, asked, plan_id=transaction_plan_id(services.clock))
    await services.db.read(lambda c: check_allowed(c, services, runtime, caller=caller, terms=terms))
    outcome = await _simulated(runtime, caller, asked=asked)

    def check(c: Connection, prepared: Prepared) -> None:
        cost, now_ms = cost_of(runtime, terms, prepared), services.clock.now_ms()
        budgets.check(c, caller.key_id, caveats=limits(caller.key), cost=cost, now_ms=now_ms)
        check_alone(c, services, runtime, caller=caller, terms=terms, usd=prepared.usd)
        funds = prepared.funds
        held = reservations.still_held(
            reservations.holds(c, caller.wallet.id, runtime.config.chain_id), at=funds.height
        )
        for asset_id, wanted in funds.wanted.items():
            free = max(0, funds.balances.get(asset_id, 0) - held.get(asset_id, 0))
            if wanted > free:
                raise not_enough(runtime, asset_id, wanted=wanted, free=free)

    refused = refusal(outcome, allowed=allowed_by(runtime, asked), assets=runtime.assets)
    if refused is None:
        try:
            prepared = await _prepared(services, runtime, caller, asked=asked, outcome=outcome)
            await services.db.read(lambda c: check(c, prepared))
        except ApiError as exc:
            refused = exc
    return Tried(outcome=outcome, refused=refused)


def allowed_by(runtime: ChainRuntime, asked: Asked) -> Allowed:
    """What was declared."""
    most = most_out(max_out=asked.max_out, value_wei=asked.call.value_wei, native=runtime.assets.native.id)
    return Allowed(contract=asked.call.to, most=most, approvals=asked.approvals)


def plan_calls(runtime: ChainRuntime, asked: Asked) -> Sequence[CallRequest]:
    """The exact approvals, then the call. A token that insists on zero first is reset whatever it says now."""
    calls: list[CallRequest] = []
    for asset_id, raw in sorted(asked.approvals.items()):
        asset = runtime.assets.by_id(asset_id)
        amounts = [0, raw] if APPROVE_RESET in asset.flags else [raw]
        calls += [erc20.approve_call(asset.token_address, asked.call.to, amount=amount) for amount in amounts]
    return [*calls, asked.call]


async def _simulated(runtime: ChainRuntime, caller: Caller, *, asked: Asked) -> Outcome:
    head = await runtime.client.head()
    if not is_contract(await runtime.client.code(asked.call.to, block=head.ref)):
        raise ApiError("invalid_call", f"there is no contract at {asked.call.to}")
    allowed, calls = allowed_by(runtime, asked), plan_calls(runtime, asked)
    return await simulate(runtime, caller.wallet.address, calls, allowed=allowed, head=head)


async def _prepared(
    services: Services, runtime: ChainRuntime, caller: Caller, *, asked: Asked, outcome: Outcome
) -> Prepared:
    """What the plan takes; all that may leave is set aside, not only what did in the simulation."""
    native, most = runtime.assets.native, allowed_by(runtime, asked).most
    fees = await runtime.fees.suggested(runtime.client, block=outcome.head.ref)
    gas_wei = outcome.gas_limit * fees.max_fee_wei
    assets = [runtime.assets.by_id(asset_id) for asset_id in most]
    balances = await witnessed_balances(runtime, caller.wallet.address, [*assets, native], block=outcome.head.ref)
    usd: int | None = None
    master, now_ms = services.master, services.clock.now_ms()
    counts_usd = await services.db.read(lambda c: alone.counts_usd(c, caller.account_id, master=master, now_ms=now_ms))
    if caller.key.restrictions.needs_withdrawal_usd or counts_usd:
        usd = await _worth(services, runtime, most, outcome=outcome)
    funds = Funds(wanted=needs(*most.items(), (native.id, gas_wei)), balances=balances, height=outcome.head.number)
    return Prepared(calls=plan_calls(runtime, asked), funds=funds, gas_wei=gas_wei, usd=usd)


async def _worth(
    services: Services, runtime: ChainRuntime, most: Mapping[AssetId, int], *, outcome: Outcome
) -> int | None:
    """All that may leave, in micro-dollars; None when any of it is not known."""
    total, now_s = 0, services.clock.now_ms() // 1000
    for asset_id, raw in most.items():
        worth = await asset_worth(runtime, runtime.assets.by_id(asset_id), raw, header=outcome.head, now_s=now_s)
        if worth is None:
            return None
        total += worth
    return total
