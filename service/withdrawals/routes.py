"""Routes of withdrawals. Asking for one needs a withdraw key, looking a read key, for the key's own wallet; one that is
not sent is cancelled by a withdraw key of its wallet, or in a session of an owner of its account."""

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response, status
from sqlalchemy import Connection

from chains.types import ChainId
from chains.units import format_units
from service.accounts.memberships import OWNERS, require_role
from service.audit.acts import WITHDRAWAL_CANCELLED
from service.audit.model import Subject
from service.audit.recording import record_by_person
from service.auth.callers import Caller, EitherCaller, ReadCaller, WithdrawCaller
from service.auth.caveats import caveats_of, require
from service.auth.restrictions import USD_DECIMALS
from service.build import ChainRuntime, Services
from service.errors import ApiError
from service.markets.lookup import ChainName, Here, asset_named, chain_named, config_named, parse_amount
from service.orders.schemas import CLIENT_ID
from service.plans.answers import made_before
from service.plans.recording import record_placed
from service.withdrawals import placement, storage
from service.withdrawals.cancelling import cancel
from service.withdrawals.estimating import Estimate, estimate
from service.withdrawals.model import AmountIs, Withdrawal, WithdrawalState, target_of
from service.withdrawals.preparing import Asked
from service.withdrawals.schemas import EstimateOut, WithdrawalAsked, WithdrawalIn, WithdrawalOut, Withdrawals
from service.withdrawals.storage import Filters
from service.withdrawals.view import NATIVE_DECIMALS, listed_asset, withdrawal_document

router = APIRouter(prefix="/v1", tags=["withdrawals"])

MAX_LISTED = 100
MAX_ID = 2**53 - 1

WithdrawalId = Annotated[int, Path(ge=1, le=MAX_ID, examples=[7])]


@router.post("/{chain}/withdrawals", status_code=status.HTTP_202_ACCEPTED, responses=made_before(WithdrawalOut))
async def place_withdrawal(
    chain: ChainName, body: WithdrawalIn, caller: WithdrawCaller, services: Here, response: Response
) -> WithdrawalOut:
    """Accept a withdrawal: 202 once it is durable and funded, 200 with the same one for a known client id."""
    runtime = chain_named(services, chain)
    asked = _asked(runtime, caller, body, client_id=body.client_withdrawal_id)
    placed = await placement.place(services, runtime, caller, asked=asked)
    if not placed.created:
        response.status_code = status.HTTP_200_OK
    return _shown(services, placed.value)


@router.post("/{chain}/withdrawals/estimate")
async def estimate_withdrawal(
    chain: ChainName, body: WithdrawalAsked, caller: WithdrawCaller, services: Here
) -> EstimateOut:
    """What a withdrawal would be now: fee, what arrives, who has to approve. Refused as placing it would be."""
    runtime = chain_named(services, chain)
    asked = _asked(runtime, caller, body, client_id="")
    return _estimated(runtime, asked, await estimate(services, runtime, caller, asked=asked))


@router.get("/withdrawals")
async def list_withdrawals(
    caller: ReadCaller,
    services: Here,
    chain: Annotated[str | None, Query(max_length=32, examples=["ethereum"])] = None,
    asset: Annotated[str | None, Query(max_length=96, examples=["USDC"])] = None,
    state: WithdrawalState | None = None,
    client_withdrawal_id: Annotated[str | None, Query(pattern=CLIENT_ID, examples=["payout-2026-11-22-1"])] = None,
    since_ms: Annotated[int | None, Query(ge=0, le=MAX_ID, examples=[1_763_800_000_000])] = None,
    until_ms: Annotated[int | None, Query(ge=0, le=MAX_ID, examples=[1_763_900_000_000])] = None,
    before: Annotated[int | None, Query(ge=1, le=MAX_ID, examples=[120])] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED, examples=[50])] = 50,
) -> Withdrawals:
    """The wallet's withdrawals, newest first; `before` an id continues a list. `since_ms` is inside, `until_ms` not."""
    filters = Filters(
        chain_id=None if chain is None else config_named(services, chain).chain_id,
        client_id=client_withdrawal_id,
        state=state,
        assets=None if asset is None else _ids_named(services, asset),
        since_ms=since_ms,
        until_ms=until_ms,
        before_id=before,
    )

    def read(c: Connection) -> list[tuple[Withdrawal, int | None]]:
        return _with_heights(c, storage.list_withdrawals(c, caller.wallet.id, filters=filters, limit=limit))

    found = await services.db.read(read)
    return Withdrawals(withdrawals=[_shown(services, withdrawal, height) for withdrawal, height in found])


@router.get("/withdrawals/{withdrawal_id}")
async def get_withdrawal(withdrawal_id: WithdrawalId, caller: ReadCaller, services: Here) -> WithdrawalOut:
    """One withdrawal."""

    def read(c: Connection) -> list[tuple[Withdrawal, int | None]]:
        one = storage.withdrawal_by_id(c, withdrawal_id, wallet_id=caller.wallet.id)
        return [] if one is None else _with_heights(c, [one])

    found = await services.db.read(read)
    if not found:
        raise _not_found(withdrawal_id)
    [(withdrawal, height)] = found
    return _shown(services, withdrawal, height)


@router.delete("/withdrawals/{withdrawal_id}")
async def cancel_withdrawal(
    withdrawal_id: WithdrawalId,
    caller: EitherCaller,
    services: Here,
    if_sent: Annotated[
        Literal["refuse", "self_send"],
        Query(description="`self_send`: try to overtake it; what is mined decides.", examples=["refuse"]),
    ] = "refuse",
    account: Annotated[
        str | None, Query(max_length=64, description="In a session with several.", examples=["main"])
    ] = None,
) -> WithdrawalOut:
    """Cancel a withdrawal: at once while nothing of it is sent."""

    def run(c: Connection) -> Withdrawal:
        now_ms = services.clock.now_ms()
        if isinstance(caller, Caller):
            caller.claim_nonce(c)
            before = storage.withdrawal_by_id(c, withdrawal_id, wallet_id=caller.wallet.id)
            if before is not None:
                require(caller.caveats or caveats_of(caller.key), target_of(before))
        else:
            caller.check_open(c)
            mine = require_role(c, caller, account, one_of=OWNERS, master=services.master)
            before = storage.withdrawal_of_account(c, withdrawal_id, account_id=mine.account_id)
        if before is None:
            raise _not_found(withdrawal_id)
        after = cancel(c, services, before, self_send=if_sent == "self_send", now_ms=now_ms)
        if before.state is not WithdrawalState.CANCELLED:
            _record_cancelled(c, services, caller, before=before, after=after, now_ms=now_ms)
        return after

    cancelled = await services.db.run(run)
    for runtime in services.chains.values():
        if runtime.config.chain_id == cancelled.chain_id:
            runtime.engine.wake()
    return _shown(services, cancelled)


def _asked(runtime: ChainRuntime, caller: Caller, body: WithdrawalAsked, *, client_id: str) -> Asked:
    if (body.amount is None) != (body.amount_is == "all"):
        raise ApiError("invalid_parameters", "give an amount, or `all` as `amount_is` and none")
    asset = asset_named(runtime, body.asset)
    return Asked(
        asset=asset,
        amount=None if body.amount is None else parse_amount(body.amount, asset, field="amount"),
        amount_is=AmountIs(body.amount_is),
        destination=placement.parse_destination(runtime, caller.wallet.address, body.address),
        client_id=client_id,
    )


def _record_cancelled(
    c: Connection, services: Services, caller: EitherCaller, *, before: Withdrawal, after: Withdrawal, now_ms: int
) -> None:
    subject = Subject(kind="withdrawal", id=str(before.id))
    details = {"client_id": before.client_id, "was": before.state.value, "is": after.state.value}
    master = services.master
    if isinstance(caller, Caller):
        record_placed(
            c, caller, act=WITHDRAWAL_CANCELLED, subject=subject, details=details, master=master, now_ms=now_ms
        )
        return
    record_by_person(
        c,
        caller,
        act=WITHDRAWAL_CANCELLED,
        subject=subject,
        details=details,
        account_id=before.account_id,
        master=master,
        now_ms=now_ms,
    )


def _with_heights(c: Connection, found: Sequence[Withdrawal]) -> list[tuple[Withdrawal, int | None]]:
    heights = storage.mined_at(c, [withdrawal.plan_id for withdrawal in found])
    return [(withdrawal, heights.get(withdrawal.plan_id)) for withdrawal in found]


def _not_found(withdrawal_id: int) -> ApiError:
    return ApiError("withdrawal_not_found", f"there is no withdrawal {withdrawal_id} of yours")


def _estimated(runtime: ChainRuntime, asked: Asked, found: Estimate) -> EstimateOut:
    prepared, native = found.prepared, runtime.config.native_symbol

    def fee(wei: int) -> dict[str, str]:
        return {"asset": native, "amount": format_units(wei, NATIVE_DECIMALS)}

    return EstimateOut.model_validate(
        {
            "chain": runtime.config.key,
            "asset": asked.asset.symbol,
            "amount": format_units(prepared.amount, asked.asset.decimals),
            "amount_is": asked.amount_is.value,
            "leaves_at_most": format_units(prepared.leaves, asked.asset.decimals),
            "address": asked.destination,
            "gas_limit": prepared.gas_limit,
            "expected_fee": fee(prepared.fee_wei),
            "max_fee": fee(prepared.max_fee_wei),
            "covered": found.covered,
            "usd": None if prepared.usd is None else format_units(prepared.usd, USD_DECIMALS),
            "needs_approval": None if found.why is None else found.why.value,
            "warnings": [{"code": one.code, "text": one.text} for one in found.warnings],
            "block_number": prepared.header.number,
        }
    )


def _shown(services: Services, withdrawal: Withdrawal, height: int | None = None) -> WithdrawalOut:
    known = (config for config in services.configs.values() if config.chain_id == withdrawal.chain_id)
    asset = listed_asset(services.assets, withdrawal.chain_id, withdrawal.asset)
    document = withdrawal_document(withdrawal, chain=next(known, None), asset=asset)
    depth = {"confirmations": _confirmations(services, withdrawal.chain_id, height)}
    return WithdrawalOut.model_validate(document | depth)


def _confirmations(services: Services, chain_id: ChainId, height: int | None) -> int | None:
    """Of a block at that height, by the newest head that this process read; None where it follows no chain."""
    runtime = next((one for one in services.chains.values() if one.config.chain_id == chain_id), None)
    noted = None if runtime is None else runtime.recent_head.latest
    if height is None or noted is None:
        return None
    return max(0, noted.header.number - height + 1)


def _ids_named(services: Services, name: str) -> Sequence[str]:
    """The ids of what is called so on any chain, by symbol or id. Raises: ApiError: unknown_asset."""
    found = [asset.id for listed in services.assets.values() for asset in listed if name in (asset.id, asset.symbol)]
    if not found:
        raise ApiError("unknown_asset", f"{name!r} is not listed on any chain")
    return found
