"""Taking a transaction on: what a key may ask for, funds held, one plan, queued in one unit of work.

Guarantees: as `service.plans.accepting`: the same client id of a kind makes one transaction, and whatever is refused
has reserved and queued nothing. What is specific to a kind is prepared in `upkeep` and `calling`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson
from sqlalchemy import Connection, select

from chains.tx.model import Lane, PlanId
from chains.types import Address, CallRequest
from contracts.assets import AssetId
from contracts.foreign_calls import why_never
from service.accounts.holds import refuse_if_maker_held
from service.addresses import reach
from service.approvals import alone
from service.audit.acts import TRANSACTION_PLACED
from service.audit.model import Subject
from service.auth import budgets
from service.auth.callers import Caller
from service.auth.caveats import CallCost, Cost, Kind, caveats_of, limits, require
from service.build import ChainRuntime, Services
from service.db.models import wallets
from service.db.txstore import SqlTxStore
from service.errors import ApiError
from service.ids import transaction_plan_id
from service.journal import books
from service.orders.storage import sells_already
from service.plans.accepting import Accepted, Funds, accept_once, hold_funds
from service.plans.binding import calls_hash
from service.plans.building import queued_plan
from service.plans.params import params_hash
from service.plans.recording import record_placed
from service.plans.refusals import client_id_conflict
from service.transactions import storage
from service.transactions.lifecycle import EVENT
from service.transactions.limits import most_out
from service.transactions.model import Terms, Transaction, TransactionKind
from service.transactions.presigning import facts_of
from service.transactions.terms import asked_mac, texts
from service.transactions.view import transaction_document

CALL_VALID_MS: Final = 10 * 60_000
"""A call that has no nonce ten minutes after its simulation is not sent any more: what it would do may have changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A parsed request: `Terms` without whose they are."""

    kind: TransactionKind
    client_id: str
    call: CallRequest
    asset: AssetId | None = None
    amount: int | None = None
    spender: Address | None = None
    function: str | None = None
    approvals: Mapping[AssetId, int] = field(default_factory=dict)
    max_out: Mapping[AssetId, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What the chain said: the plan's calls in order, what it takes, and the most that gas may cost.

    `usd` is what may leave, in micro-dollars; None: not known, or no limit asks for it.
    """

    calls: Sequence[CallRequest]
    funds: Funds
    gas_wei: int
    usd: int | None


async def place(
    services: Services,
    runtime: ChainRuntime,
    caller: Caller,
    *,
    asked: Asked,
    prepare: Callable[[], Awaitable[Prepared]],
) -> Accepted[Transaction]:
    """Accept the transaction, or answer with the one that the same client id made before.

    Raises:
        ApiError: refused; nothing was reserved or queued.
        ChainError, BalanceUnknown: the chain cannot be asked now.
    """
    plan_id = transaction_plan_id(services.clock)
    terms = terms_of(runtime, caller, asked, plan_id=plan_id)

    async def checked() -> Prepared:
        await services.db.read(lambda c: check_allowed(c, services, runtime, caller=caller, terms=terms))
        return await prepare()

    def accept(c: Connection, lane: Lane, prepared: Prepared) -> Transaction:
        check_allowed(c, services, runtime, caller=caller, terms=terms)
        now_ms = services.clock.now_ms()
        cost = cost_of(runtime, terms, prepared)
        budgets.charge(c, caller.key_id, caveats=limits(caller.key), cost=cost, now_ms=now_ms)
        check_alone(c, services, runtime, caller=caller, terms=terms, usd=prepared.usd)
        until_ms = now_ms + CALL_VALID_MS if terms.kind is TransactionKind.CONTRACT else None
        plan = queued_plan(plan_id, lane, calls=prepared.calls, created_ms=now_ms, valid_until_ms=until_ms)
        SqlTxStore().add_plan(c, plan)
        hold_funds(c, runtime, caller, plan_id=plan_id, funds=prepared.funds, now_ms=now_ms)
        bound = replace(terms, calls_hash=calls_hash(plan_id, plan.intents), valid_until_ms=until_ms)
        mac = asked_mac(services.master, bound)
        transaction = storage.insert_transaction(c, bound, asked_mac=mac, usd=prepared.usd, now_ms=now_ms)
        record_placed(
            c,
            caller,
            act=TRANSACTION_PLACED,
            subject=Subject(kind="transaction", id=str(transaction.id)),
            details=_recorded(terms),
            master=services.master,
            now_ms=now_ms,
        )
        document = transaction_document(transaction, chain=runtime.config, assets=runtime.assets)
        books.emit(c, account_id=caller.account_id, kind=EVENT, payload=document, now_ms=now_ms)
        return transaction

    def known(c: Connection) -> Transaction | None:
        found = storage.transaction_by_client_id(c, asked.client_id, account_id=caller.account_id, kind=asked.kind)
        if found is not None and found.terms.params_hash != terms.params_hash:
            raise client_id_conflict(str(asked.kind), asked.client_id)
        return found

    return await accept_once(services, runtime, caller, known=known, prepare=checked, accept=accept)


def terms_of(runtime: ChainRuntime, caller: Caller, asked: Asked, *, plan_id: PlanId) -> Terms:
    """What is asked for, with whose it is."""
    called = asked.kind is TransactionKind.CONTRACT
    most = most_out(max_out=asked.max_out, value_wei=asked.call.value_wei, native=runtime.assets.native.id)
    return Terms(
        account_id=caller.account_id,
        wallet_id=caller.wallet.id,
        key_id=caller.key_id,
        kind=asked.kind,
        client_id=asked.client_id,
        params_hash=_digest(runtime, caller, asked),
        chain_id=runtime.config.chain_id,
        contract=asked.call.to,
        data=asked.call.data,
        value_wei=asked.call.value_wei,
        asset=asked.asset,
        amount=asked.amount,
        spender=asked.spender,
        function=asked.function,
        approvals=asked.approvals,
        max_out=most if called else {},
        plan_id=plan_id,
    )


def check_allowed(c: Connection, services: Services, runtime: ChainRuntime, *, caller: Caller, terms: Terms) -> None:
    """That the key may ask for it, and that nothing of the wallet is in its way. Raises: ApiError."""
    require(caveats_of(caller.key), *facts_of(terms, runtime.assets))
    if terms.kind is TransactionKind.CONTRACT:
        now_ms = services.clock.now_ms()
        refuse_if_maker_held(c, caller.key, master=services.master, now_ms=now_ms)
        reach.check_call_cooled(caller.key, now_ms=now_ms)
        own = frozenset(c.execute(select(wallets.c.address)).scalars())
        never = why_never(terms.call, assets=runtime.assets, deployments=runtime.deployments, wallets=own)
        if never is not None:
            raise ApiError("call_refused", never)
    if terms.kind is TransactionKind.REVOKE and terms.asset is not None and terms.spender is not None:
        routers = runtime.deployments.spenders(terms.chain_id)
        by_order = terms.spender in routers and sells_already(c, terms.wallet_id, asset_id=terms.asset)
        if by_order or storage.approves_already(c, terms.wallet_id, asset_id=terms.asset, spender=terms.spender):
            raise ApiError("allowance_in_use", "an open order or call of the wallet counts on this allowance")


def check_alone(
    c: Connection, services: Services, runtime: ChainRuntime, *, caller: Caller, terms: Terms, usd: int | None
) -> None:
    """That no second person is needed for what leaves; in the unit of work that accepts. Raises: ApiError."""
    if terms.kind is TransactionKind.CONTRACT:
        alone.refuse_above(
            c,
            caller.account_id,
            out=terms.max_out,
            assets=runtime.assets,
            usd=usd,
            master=services.master,
            now_ms=services.clock.now_ms(),
        )


def cost_of(runtime: ChainRuntime, terms: Terms, prepared: Prepared) -> Cost | CallCost:
    """What it takes of the key's limits."""
    if terms.kind is TransactionKind.CONTRACT:
        out = budgets.counted(runtime.assets, terms.max_out)
        return CallCost(chain_id=terms.chain_id, amounts=out, usd=prepared.usd, gas_wei=prepared.gas_wei, used={})
    return Cost(
        kind=Kind.UPKEEP,
        chain_id=terms.chain_id,
        amounts={},
        usd=None,
        gas_wei=prepared.gas_wei,
        used={},
    )


def _recorded(terms: Terms) -> dict[str, Any]:
    """What the audit log keeps of it."""
    called = terms.kind is TransactionKind.CONTRACT
    return {
        "kind": terms.kind.value,
        "client_id": terms.client_id,
        "asset": terms.asset,
        "amount_raw": terms.amount,
        "spender": terms.spender,
        "contract": terms.contract if called else None,
        "function": terms.function,
        "value_wei": terms.value_wei if called else None,
        "approvals": [f"{asset}={raw}" for asset, raw in terms.approvals.items()] or None,
        "max_out": [f"{asset}={raw}" for asset, raw in terms.max_out.items()] or None,
        "params_hash": terms.params_hash,
        "plan": str(terms.plan_id),
    }


def _digest(runtime: ChainRuntime, caller: Caller, asked: Asked) -> str:
    return params_hash(
        "transaction",
        {
            "kind": asked.kind.value,
            "chain_id": runtime.config.chain_id,
            "wallet_id": caller.wallet.id,
            "contract": asked.call.to,
            "data": "0x" + asked.call.data.hex(),
            "value_wei": asked.call.value_wei,
            "approvals": _text(asked.approvals),
            "max_out": _text(asked.max_out),
        },
    )


def _text(amounts: Mapping[AssetId, int]) -> str | None:
    stored = texts(amounts)
    return None if stored is None else orjson.dumps(stored, option=orjson.OPT_SORT_KEYS).decode()
