"""Routes of transactions: wraps, allowances, calls of contracts, for the key's own wallet.

Wrapping, unwrapping and revoking need a trade key, since nothing leaves the wallet but gas; calls of contracts need a
withdraw key that lists contract and function; looking needs a read key.
"""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response, status

from chains.types import ChainId
from chains.units import format_units
from contracts.assets import AssetId, AssetList
from service.auth.callers import Caller, ReadCaller, TradeCaller, WithdrawCaller
from service.build import ChainRuntime, Services
from service.errors import ApiError
from service.markets.listing import block_of
from service.markets.lookup import ChainName, Here, asset_named, chain_named, config_named, parse_amount
from service.orders.schemas import CLIENT_ID
from service.plans.answers import made_before
from service.transactions import allowances as standing
from service.transactions import calling, placement, storage, upkeep
from service.transactions.model import Transaction, TransactionKind, TransactionState
from service.transactions.schemas import (
    AllowanceOut,
    AllowanceRef,
    AllowancesOut,
    AssetAmount,
    AssetAmountIn,
    CallIn,
    CallTried,
    PlacedCallIn,
    Refused,
    RevokeIn,
    SpenderOut,
    TransactionOut,
    Transactions,
    WrapIn,
)
from service.transactions.view import amounts_of, transaction_document

router = APIRouter(prefix="/v1", tags=["transactions"])

MAX_LISTED = 100
MAX_ID = 2**53 - 1
MAX_SPENDERS = 16
TRIED = "not-placed"
"""The client id of a call that is only tried out."""


@router.post("/{chain}/wrap", status_code=status.HTTP_202_ACCEPTED, responses=made_before(TransactionOut))
async def wrap(
    chain: ChainName, body: WrapIn, caller: TradeCaller, services: Here, response: Response
) -> TransactionOut:
    """Native coins into wrapped ones, one for one: 202 once it is durable and funded, 200 for a known client id."""
    runtime = chain_named(services, chain)
    amount = parse_amount(body.amount, runtime.assets.native, field="amount")
    asked = upkeep.wrap(runtime, amount=amount, client_id=body.client_transaction_id)
    return await _upkeep(services, runtime, caller, asked=asked, response=response)


@router.post("/{chain}/unwrap", status_code=status.HTTP_202_ACCEPTED, responses=made_before(TransactionOut))
async def unwrap(
    chain: ChainName, body: WrapIn, caller: TradeCaller, services: Here, response: Response
) -> TransactionOut:
    """Wrapped coins into native ones, one for one."""
    runtime = chain_named(services, chain)
    amount = parse_amount(body.amount, runtime.assets.wrapped, field="amount")
    asked = upkeep.unwrap(runtime, amount=amount, client_id=body.client_transaction_id)
    return await _upkeep(services, runtime, caller, asked=asked, response=response)


@router.get("/{chain}/allowances")
async def list_allowances(
    chain: ChainName,
    caller: ReadCaller,
    services: Here,
    spender: Annotated[
        str | None,
        Query(
            max_length=800,
            description="More spenders, separated by commas.",
            examples=["0x70997970C51812dc3A010C7d01b50e0d17dc79C8"],
        ),
    ] = None,
) -> AllowancesOut:
    """What others may take of the wallet's listed tokens, at the chain's latest block. Unknown is not zero."""
    runtime = chain_named(services, chain)
    named = [upkeep.parse_spender(text) for text in (spender or "").split(",") if text]
    if len(named) > MAX_SPENDERS:
        raise ApiError("invalid_parameters", f"at most {MAX_SPENDERS} spenders at once")
    found = await standing.read_allowances(services, runtime, caller.wallet, named=named)
    return AllowancesOut(
        chain=runtime.config.key,
        wallet=caller.wallet.address,
        allowances=[_allowance(one, found) for one in found.found],
        spenders=[SpenderOut(address=address, name=name) for address, name in found.spenders.items()],
        block=block_of(found.header, now_ms=services.clock.now_ms()),
    )


@router.post("/{chain}/allowances/revoke", status_code=status.HTTP_202_ACCEPTED, responses=made_before(TransactionOut))
async def revoke_allowance(
    chain: ChainName, body: RevokeIn, caller: TradeCaller, services: Here, response: Response
) -> TransactionOut:
    """Set the allowance of one spender to zero. Refused while an open order or call counts on it."""
    runtime = chain_named(services, chain)
    asset, spender = asset_named(runtime, body.asset), upkeep.parse_spender(body.spender)
    asked = upkeep.revoke(asset, spender, client_id=body.client_transaction_id)
    return await _upkeep(services, runtime, caller, asked=asked, response=response)


@router.post("/{chain}/transactions", status_code=status.HTTP_202_ACCEPTED, responses=made_before(TransactionOut))
async def place_transaction(
    chain: ChainName, body: PlacedCallIn, caller: WithdrawCaller, services: Here, response: Response
) -> TransactionOut:
    """Call a contract that the key lists, within `max_out`."""
    runtime = chain_named(services, chain)
    asked = _asked_call(runtime, body, client_id=body.client_transaction_id)
    placed = await placement.place(
        services,
        runtime,
        caller,
        asked=asked,
        prepare=lambda: calling.prepare(services, runtime, caller, asked=asked),
    )
    if not placed.created:
        response.status_code = status.HTTP_200_OK
    return _shown(services, placed.value)


@router.post("/{chain}/transactions/test")
async def try_transaction(chain: ChainName, body: CallIn, caller: WithdrawCaller, services: Here) -> CallTried:
    """Simulate a call: what it would change of listed assets, and whether it would be accepted. Nothing is sent."""
    runtime = chain_named(services, chain)
    asked = _asked_call(runtime, body, client_id=TRIED)
    tried = await calling.try_out(services, runtime, caller, asked=asked)
    outcome, refused = tried.outcome, tried.refused
    changes = amounts_of(outcome.changes, runtime.assets)
    return CallTried(
        chain=runtime.config.key,
        changes=[AssetAmount.model_validate(change) for change in changes],
        granted=[
            AllowanceRef(asset=one.asset.symbol, asset_id=one.asset.id, spender=one.spender) for one in outcome.granted
        ],
        gas_limit=str(outcome.gas_limit),
        would_be_accepted=refused is None,
        refused=None if refused is None else Refused(code=refused.code, detail=refused.message, hint=refused.hint),
        block=block_of(outcome.head, now_ms=services.clock.now_ms()),
    )


@router.get("/transactions")
async def list_transactions(
    caller: ReadCaller,
    services: Here,
    chain: Annotated[str | None, Query(max_length=32, examples=["ethereum"])] = None,
    kind: TransactionKind | None = None,
    state: TransactionState | None = None,
    client_transaction_id: Annotated[str | None, Query(pattern=CLIENT_ID, examples=["wrap-2026-11-22-1"])] = None,
    before: Annotated[int | None, Query(ge=1, le=MAX_ID, examples=[120])] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED, examples=[50])] = 50,
) -> Transactions:
    """The wallet's wraps, unwraps, revocations and calls, newest first; `before` an id continues a list."""
    chain_id = None if chain is None else config_named(services, chain).chain_id
    found = await services.db.read(
        lambda c: storage.list_transactions(
            c,
            caller.wallet.id,
            chain_id=chain_id,
            kind=kind,
            state=state,
            client_id=client_transaction_id,
            before_id=before,
            limit=limit,
        )
    )
    return Transactions(transactions=[_shown(services, transaction) for transaction in found])


@router.get("/transactions/{transaction_id}")
async def get_transaction(
    transaction_id: Annotated[int, Path(ge=1, le=MAX_ID, examples=[7])], caller: ReadCaller, services: Here
) -> TransactionOut:
    """One transaction."""
    wallet_id = caller.wallet.id
    found = await services.db.read(lambda c: storage.transaction_by_id(c, transaction_id, wallet_id=wallet_id))
    if found is None:
        raise ApiError("transaction_not_found", f"the wallet has no transaction {transaction_id}")
    return _shown(services, found)


async def _upkeep(
    services: Services, runtime: ChainRuntime, caller: Caller, *, asked: placement.Asked, response: Response
) -> TransactionOut:
    placed = await placement.place(
        services, runtime, caller, asked=asked, prepare=lambda: upkeep.prepare(runtime, caller, asked=asked)
    )
    if not placed.created:
        response.status_code = status.HTTP_200_OK
    return _shown(services, placed.value)


def _asked_call(runtime: ChainRuntime, body: CallIn, *, client_id: str) -> placement.Asked:
    native = runtime.assets.native
    return calling.described(
        contract=body.contract,
        function=body.function,
        arguments=body.args,
        value_wei=0 if body.value is None else parse_amount(body.value, native, field="value"),
        approvals=_amounts(runtime, body.approvals, field="approvals"),
        max_out=_amounts(runtime, body.max_out, field="max_out"),
        client_id=client_id,
    )


def _amounts(runtime: ChainRuntime, given: Sequence[AssetAmountIn], *, field: str) -> dict[AssetId, int]:
    """By asset. Raises: ApiError: also for one that is given twice, or native."""
    found: dict[AssetId, int] = {}
    for one in given:
        asset = asset_named(runtime, one.asset)
        if asset.is_native:
            raise ApiError("invalid_parameters", f"{field}: {asset.symbol} leaves only as the call's `value`")
        if asset.id in found:
            raise ApiError("invalid_parameters", f"{field}: {asset.symbol} is given twice")
        found[asset.id] = parse_amount(one.amount, asset, field=field)
    return found


def _allowance(one: standing.Allowance, found: standing.Allowances) -> AllowanceOut:
    return AllowanceOut(
        asset=one.asset.symbol,
        asset_id=one.asset.id,
        spender=one.spender,
        spender_name=found.spenders.get(one.spender),
        status="unknown" if one.raw is None else "ok",
        amount=None if one.raw is None else format_units(one.raw, one.asset.decimals),
        unlimited=None if one.raw is None else one.raw >= standing.UNLIMITED_FROM,
        needed=one.is_needed,
    )


def _shown(services: Services, transaction: Transaction) -> TransactionOut:
    chain_id: ChainId = transaction.terms.chain_id
    known = (config for config in services.configs.values() if config.chain_id == chain_id)
    assets: AssetList | None = services.assets.get(chain_id)
    document = transaction_document(transaction, chain=next(known, None), assets=assets)
    return TransactionOut.model_validate(document)
