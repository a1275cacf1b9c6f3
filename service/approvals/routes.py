"""Routes of approvals: what waits for a second person, deciding about it, and from when on one is needed."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from sqlalchemy import Connection

from chains.types import ChainId
from chains.units import InvalidAmount, format_units, parse_units
from contracts.assets import AssetId
from service.accounts import confirming
from service.accounts.memberships import ANYONE, APPROVERS, OWNERS, require_role
from service.accounts.wallets import get_wallet
from service.approvals import deciding, listing, policies
from service.approvals.deciding import Decider
from service.approvals.listing import Seen
from service.approvals.model import EXPIRES_MS, WINDOW_MS, InvalidThresholds, Thresholds
from service.approvals.policies import Policy
from service.approvals.schemas import (
    ApprovalOut,
    Approvals,
    ApproveIn,
    AssetThreshold,
    PolicyIn,
    PolicyOut,
    RejectIn,
    ThresholdsOut,
)
from service.audit.acts import APPROVAL_POLICY
from service.audit.model import Subject
from service.audit.recording import record_by_person
from service.auth.authority import Sifted
from service.auth.callers import Caller, EitherCaller, PersonCaller
from service.auth.restrictions import USD_DECIMALS
from service.auth.session_caller import SessionCaller
from service.build import Services
from service.errors import ApiError
from service.markets.lookup import Here, config_named
from service.withdrawals.model import Withdrawal
from service.withdrawals.view import listed_asset, withdrawal_document

router = APIRouter(prefix="/v1", tags=["approvals"])

MAX_LISTED = 100
MAX_ID = 2**53 - 1
HOUR_MS = 3_600_000

WithdrawalId = Annotated[int, Path(ge=1, le=MAX_ID, examples=[7])]
Account = Annotated[str | None, Query(max_length=64, description="In a session with several.", examples=["main"])]


@router.get("/approvals")
async def list_approvals(
    caller: EitherCaller,
    services: Here,
    pending: Annotated[bool, Query(description="Only what waits.", examples=[True])] = True,
    before: Annotated[int | None, Query(ge=1, le=MAX_ID, examples=[120])] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED, examples=[50])] = 50,
    account: Account = None,
) -> Approvals:
    """Withdrawals of the account that need or needed a second person, newest first; to a key, those it is for."""

    def read(c: Connection) -> tuple[list[ApprovalOut], Sifted[Seen], int]:
        account_id, decider = _looking(c, services, caller, account)
        now_ms, master = services.clock.now_ms(), services.master
        seen = listing.list_seen(
            c,
            account_id,
            decider=decider,
            scope=listing.scope_of(caller),
            pending=pending,
            before_id=before,
            limit=limit,
            master=master,
            now_ms=now_ms,
        )
        return [_shown(c, services, one) for one in seen.intact], seen, account_id

    shown, seen, account_id = await services.db.read(read)
    services.refusals.note_unusable(seen, account_id=account_id)
    return Approvals(approvals=shown, unusable=list(seen.unusable))


@router.get("/approvals/{withdrawal_id}")
async def get_approval(
    withdrawal_id: WithdrawalId, caller: EitherCaller, services: Here, account: Account = None
) -> ApprovalOut:
    """One of them."""

    def read(c: Connection) -> ApprovalOut:
        account_id, decider = _looking(c, services, caller, account)
        if not listing.is_within(c, withdrawal_id, listing.scope_of(caller)):
            raise _not_found(withdrawal_id)
        return _look(c, services, account_id, withdrawal_id, decider=decider)

    return await services.db.read(read)


@router.post("/approvals/{withdrawal_id}/approve")
async def approve(withdrawal_id: WithdrawalId, body: ApproveIn, caller: EitherCaller, services: Here) -> ApprovalOut:
    """Let the withdrawal be sent. In a session with a code of the authenticator."""
    in_session = isinstance(caller, SessionCaller)
    offered = await confirming.offer(services, caller, body.totp_code) if isinstance(caller, SessionCaller) else None

    def run(c: Connection) -> tuple[Withdrawal, ApprovalOut]:
        decider = _deciding(c, services, caller, body.account)
        after = deciding.approve(
            c, services, caller, decider=decider, withdrawal_id=withdrawal_id, binding=body.binding
        )
        if isinstance(caller, SessionCaller):
            now_ms = services.clock.now_ms()
            confirming.confirm(c, caller, offered, master=services.master, now_ms=now_ms)
        return after, _look(c, services, decider.account_id, withdrawal_id, decider=decider)

    if not in_session and body.totp_code is not None:
        raise ApiError("invalid_parameters", "`totp_code` belongs into a session")
    after, shown = await services.db.run(run)
    for runtime in services.chains.values():
        if runtime.config.chain_id == after.chain_id:
            runtime.engine.wake()
    return shown


@router.post("/approvals/{withdrawal_id}/reject")
async def reject(withdrawal_id: WithdrawalId, body: RejectIn, caller: EitherCaller, services: Here) -> ApprovalOut:
    """End the withdrawal: nothing is sent, its funds are released."""

    def run(c: Connection) -> ApprovalOut:
        decider = _deciding(c, services, caller, body.account)
        reason = body.reason or "no reason given"
        deciding.reject(c, services, caller, decider=decider, withdrawal_id=withdrawal_id, reason=reason)
        return _look(c, services, decider.account_id, withdrawal_id, decider=decider)

    return await services.db.run(run)


@router.get("/approval-policy")
async def get_policy(caller: PersonCaller, services: Here, account: Account = None) -> PolicyOut:
    """From when on a withdrawal of the account needs a second person."""

    def read(c: Connection) -> PolicyOut:
        mine = require_role(c, caller, account, one_of=ANYONE, master=services.master)
        now_ms = services.clock.now_ms()
        policy = policies.policy_of(c, mine.account_id, master=services.master, now_ms=now_ms)
        return _policy(c, services, mine.account_id, policy)

    return await services.db.read(read)


@router.put("/approval-policy")
async def set_policy(body: PolicyIn, caller: PersonCaller, services: Here) -> PolicyOut:
    """Other thresholds: what is stricter at once, what is laxer a day later. An owner's, with a code."""
    wanted = _wanted(services, body)
    offered = await confirming.offer(services, caller, body.totp_code)

    def run(c: Connection) -> PolicyOut:
        master, now_ms = services.master, services.clock.now_ms()
        mine = require_role(c, caller, body.account, one_of=OWNERS, master=master)
        confirming.confirm(c, caller, offered, master=master, now_ms=now_ms)
        policy = policies.change(c, mine.account_id, wanted, user_id=caller.user_id, master=master, now_ms=now_ms)
        record_by_person(
            c,
            caller,
            act=APPROVAL_POLICY,
            subject=Subject(kind="account", id=str(mine.account_id)),
            details={
                "usd": None if wanted.usd is None else str(wanted.usd),
                "assets": [f"{asset}:{raw}" for asset, raw in sorted(wanted.assets.items())],
                "waits_until_ms": policy.from_ms,
            },
            account_id=mine.account_id,
            master=master,
            now_ms=now_ms,
        )
        return _policy(c, services, mine.account_id, policy)

    return await services.db.run(run)


def _looking(
    c: Connection, services: Services, caller: Caller | SessionCaller, account: str | None
) -> tuple[int, Decider | None]:
    """The account, and the caller as somebody who decides there; None: they only look."""
    if isinstance(caller, SessionCaller):
        mine = require_role(c, caller, account, one_of=ANYONE, master=services.master)
        if mine.role not in APPROVERS:
            return mine.account_id, None
    decider = deciding.decider_of(c, services, caller, account)
    return decider.account_id, decider


def _deciding(c: Connection, services: Services, caller: Caller | SessionCaller, account: str | None) -> Decider:
    if isinstance(caller, Caller):
        caller.claim_nonce(c)
    return deciding.decider_of(c, services, caller, account)


def _look(
    c: Connection, services: Services, account_id: int, withdrawal_id: int, *, decider: Decider | None
) -> ApprovalOut:
    now_ms = services.clock.now_ms()
    seen = listing.look(c, account_id, withdrawal_id, decider=decider, master=services.master, now_ms=now_ms)
    if seen is None:
        raise _not_found(withdrawal_id)
    return _shown(c, services, seen)


def _not_found(withdrawal_id: int) -> ApiError:
    return ApiError("approval_not_found", f"no withdrawal {withdrawal_id} of the account needs an approval")


def _shown(c: Connection, services: Services, seen: Seen) -> ApprovalOut:
    withdrawal, clearance = seen.withdrawal, seen.clearance
    config = next((one for one in services.configs.values() if one.chain_id == withdrawal.chain_id), None)
    asset = listed_asset(services.assets, withdrawal.chain_id, withdrawal.asset)
    document = withdrawal_document(withdrawal, chain=config, asset=asset)
    wallet = get_wallet(c, withdrawal.wallet_id, master=services.master)
    kept = ("chain", "asset", "asset_id", "amount", "leaves_at_most", "max_fee", "address", "client_withdrawal_id")
    shown: dict[str, Any] = {name: document[name] for name in (*kept, "created_ms")}
    return ApprovalOut.model_validate(
        shown
        | {
            "id": withdrawal.id,
            "state": seen.state,
            "why": None if clearance.why is None else clearance.why.value,
            "binding": clearance.binding,
            "intact": seen.intact,
            "may_approve": seen.may_approve,
            "usd": None if clearance.usd is None else format_units(clearance.usd, USD_DECIMALS),
            "address_name": seen.address_name,
            "address_added_ms": seen.address_added_ms,
            "wallet": "" if wallet is None else wallet.label,
            "requester": seen.requester,
            "key_label": seen.key_label,
            "expires_ms": clearance.expires_ms,
            "decided_ms": clearance.decided_ms,
            "decided_by": seen.decided_by,
        }
    )


def _wanted(services: Services, body: PolicyIn) -> Thresholds:
    try:
        usd = None if body.usd is None else parse_units(body.usd, USD_DECIMALS)
        assets: dict[AssetId, int] = {}
        for one in body.assets:
            chain_id = config_named(services, one.chain).chain_id
            named = [a for a in services.assets.get(chain_id, ()) if one.asset in (a.id, a.symbol)]
            if not named:
                raise ApiError("unknown_asset", f"{one.asset!r} is not listed on {one.chain}")
            if named[0].id in assets:
                raise ApiError("invalid_parameters", f"{one.asset} of {one.chain} is given twice")
            assets[named[0].id] = parse_units(one.amount, named[0].decimals)
        return Thresholds(usd=usd, assets=assets)
    except InvalidAmount as exc:
        raise ApiError("invalid_amount", str(exc)) from exc
    except InvalidThresholds as exc:
        raise ApiError("invalid_parameters", str(exc)) from exc


def _policy(c: Connection, services: Services, account_id: int, policy: Policy) -> PolicyOut:
    approvers = deciding.approvers(c, account_id, master=services.master, now_ms=services.clock.now_ms())
    following = policy.following
    return PolicyOut(
        in_force=_thresholds(services, policy.in_force),
        following=None if following is None else _thresholds(services, following),
        following_from_ms=policy.from_ms,
        window_hours=WINDOW_MS // HOUR_MS,
        expires_hours=EXPIRES_MS // HOUR_MS,
        approvers=approvers,
    )


def _thresholds(services: Services, thresholds: Thresholds) -> ThresholdsOut:
    return ThresholdsOut(
        usd=None if thresholds.usd is None else format_units(thresholds.usd, USD_DECIMALS),
        assets=[_threshold(services, asset, raw) for asset, raw in sorted(thresholds.assets.items())],
    )


def _threshold(services: Services, asset_id: AssetId, raw: int) -> AssetThreshold:
    """By symbol where it is listed still, else by its id and in base units."""
    for config in services.configs.values():
        asset = listed_asset(services.assets, ChainId(config.chain_id), asset_id)
        if asset is not None:
            return AssetThreshold(chain=config.key, asset=asset.symbol, amount=format_units(raw, asset.decimals))
    return AssetThreshold(chain=asset_id.partition("/")[0], asset=asset_id, amount=str(raw))
