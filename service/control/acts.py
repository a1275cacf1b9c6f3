"""The owner's acts, once: the control socket of a running server and the command line on a stopped one call these.

Guarantees: parameters are checked strictly before anything is done; every act, done or refused, leaves one line in the
log that names the host's user and never a secret, and one that changes something also entries in the audit log, the
first before it begins; a refusal has a stable code and says what to do.
Not guaranteed: that two acts at once see each other; each is one unit of work.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog
from pydantic import BaseModel, ValidationError

from service.audit.model import Outcome
from service.build import Services
from service.control import (
    address_acts,
    approval_acts,
    asset_acts,
    audit_acts,
    chain_acts,
    key_acts,
    market_acts,
    panic_acts,
    rejecting,
    tx_acts,
    user_acts,
    wallet_acts,
)
from service.control.params import NoParams
from service.control.protocol import ActFailed
from service.control.server import Operator
from service.problems import api_error_of

_log: Final = structlog.get_logger("cambist.audit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What an act takes and does. `shown` names the parameters and results that may stand in the audit line.

    `asks_chains` False: the database is enough, so that a key is revoked although no node answers.
    """

    params: type[BaseModel]
    run: Callable[[Services, Any], Awaitable[dict[str, Any]]]
    shown: tuple[str, ...] = ()
    asks_chains: bool = True


ACTS: Final[Mapping[str, Act]] = {
    "tx.list": Act(params=tx_acts.ListTxs, run=tx_acts.list_, asks_chains=False),
    "tx.show": Act(params=tx_acts.ShowTx, run=tx_acts.show, shown=("named",), asks_chains=False),
    "tx.bump": Act(params=tx_acts.AskTx, run=tx_acts.bump, shown=("tx", "reason")),
    "tx.cancel": Act(params=tx_acts.AskTx, run=tx_acts.cancel, shown=("tx", "reason")),
    "tx.reject": Act(
        params=rejecting.RejectPlan, run=rejecting.reject, shown=("named", "reason", "plan"), asks_chains=False
    ),
    "tx.resolve": Act(
        params=tx_acts.ResolveLane,
        run=tx_acts.resolve,
        shown=("chain", "wallet", "hold_reason", "nonce_before", "next_nonce"),
    ),
    "tx.thaw": Act(
        params=chain_acts.ThawChain, run=chain_acts.thaw, shown=("chain", "freeze_reason"), asks_chains=False
    ),
    "wallet.create": Act(
        params=wallet_acts.CreateWallet, run=wallet_acts.create, shown=("account", "label", "address")
    ),
    "wallet.import": Act(
        params=wallet_acts.ImportWallet, run=wallet_acts.import_, shown=("account", "label", "kind", "address")
    ),
    "wallet.register": Act(
        params=wallet_acts.RegisterWallet, run=wallet_acts.register, shown=("account", "label", "address")
    ),
    "wallet.list": Act(params=NoParams, run=wallet_acts.list_, asks_chains=False),
    "key.create": Act(
        params=key_acts.CreateKey,
        run=key_acts.create,
        shown=("label", "wallet", "permissions", "ip_allowlist", "destinations", "lifetime_hours", "key"),
        asks_chains=False,
    ),
    "key.list": Act(params=NoParams, run=key_acts.list_, asks_chains=False),
    "key.revoke": Act(
        params=key_acts.RevokeKey,
        run=key_acts.revoke,
        shown=("key", "label", "closing", "rejected", "cancelled"),
        asks_chains=False,
    ),
    "address.list": Act(params=wallet_acts.OfAccount, run=address_acts.list_, asks_chains=False),
    "address.add": Act(
        params=address_acts.AddAddress,
        run=address_acts.add,
        shown=("account", "entry", "chain", "address", "name", "is_contract", "accept_look_alike", "in_force_ms"),
    ),
    "address.remove": Act(
        params=address_acts.RemoveAddress,
        run=address_acts.remove,
        shown=("account", "entry", "chain", "address", "name"),
        asks_chains=False,
    ),
    "approval.list": Act(params=NoParams, run=approval_acts.list_, asks_chains=False),
    "panic.on": Act(
        params=panic_acts.PanicOn,
        run=panic_acts.on,
        shown=("chain", "wallet", "key", "scope", "subject", "reason", "closing"),
        asks_chains=False,
    ),
    "panic.off": Act(
        params=panic_acts.PauseTarget,
        run=panic_acts.off,
        shown=("chain", "wallet", "key", "scope", "subject"),
        asks_chains=False,
    ),
    "asset.list": Act(params=asset_acts.ListAssets, run=asset_acts.list_, shown=("chain",), asks_chains=False),
    "asset.check": Act(
        params=asset_acts.CheckAsset, run=asset_acts.check, shown=("chain", "address", "label", "verdict")
    ),
    "asset.add": Act(
        params=asset_acts.AddAsset,
        run=asset_acts.add,
        shown=("chain", "address", "label", "quotes", "accepted", "unguarded", "feed", "markets"),
    ),
    "asset.remove": Act(
        params=asset_acts.RemoveAsset,
        run=asset_acts.remove,
        shown=("chain", "symbol", "despite_balances", "left_behind"),
        asks_chains=False,
    ),
    "market.check": Act(
        params=market_acts.CheckPools, run=market_acts.check, shown=("chain", "block", "pools", "differing")
    ),
    "user.invite": Act(params=user_acts.InviteUser, run=user_acts.invite, shown=("user",), asks_chains=False),
    "user.list": Act(params=NoParams, run=user_acts.list_, asks_chains=False),
    "user.reset-totp": Act(
        params=user_acts.NamedUser,
        run=user_acts.reset_totp,
        shown=("user", "sessions", "held_until_ms"),
        asks_chains=False,
    ),
    "panic.status": Act(params=NoParams, run=panic_acts.status, asks_chains=False),
    "audit.list": Act(params=audit_acts.ListEntries, run=audit_acts.list_, asks_chains=False),
    "audit.verify": Act(params=audit_acts.Verify, run=audit_acts.verify, asks_chains=False),
    "audit.export": Act(params=NoParams, run=audit_acts.export, shown=("entries", "heads"), asks_chains=False),
    "audit.page": Act(params=audit_acts.Page, run=audit_acts.page, asks_chains=False),
}


async def perform(services: Services, name: str, params: Mapping[str, Any], operator: Operator) -> dict[str, Any]:
    """Check, do and audit one act.

    Raises:
        ActFailed: no such act, wrong parameters, or the act was refused.
    """
    act = ACTS.get(name)
    if act is None:
        raise ActFailed("unknown_act", f"there is no act {name!r}", hint="Is it the same version of Cambist?")
    audit = _log.bind(act=name, host_user=operator.name, host_uid=operator.uid)
    said = {key: value for key, value in params.items() if key in act.shown}
    try:
        checked = act.params.model_validate(params)
    except ValidationError as exc:
        failure = _bad_params(exc)
        audit.warning("operator_act", outcome=failure.code)
        await audit_acts.record_end(services, name, operator, outcome=Outcome.REFUSED, code=failure.code)
        raise failure from None
    try:
        await audit_acts.record(services, name, operator, outcome=Outcome.STARTED, details=said)
        result = await act.run(services, checked)
    except ActFailed as failure:
        audit.warning("operator_act", outcome=failure.code, **said)
        await audit_acts.record_end(services, name, operator, outcome=Outcome.REFUSED, code=failure.code, details=said)
        raise
    except Exception as exc:
        # Logged there where it is of our own making; the same codes as the API's.
        error = api_error_of(exc)
        audit.error("operator_act", outcome=error.code, **said)
        await audit_acts.record_end(services, name, operator, outcome=Outcome.FAILED, code=error.code, details=said)
        raise ActFailed(error.code, error.message, hint=error.hint) from exc
    shown = said | {key: result[key] for key in act.shown if key in result}
    audit.info("operator_act", outcome="done", **shown)
    await audit_acts.record_end(services, name, operator, outcome=Outcome.DONE, details=shown)
    return result


def _bad_params(error: ValidationError) -> ActFailed:
    # Never the input: it may be a secret.
    problems = [f"{'.'.join(str(part) for part in found['loc'])}: {found['msg']}" for found in error.errors()]
    return ActFailed("bad_parameters", "; ".join(problems))
