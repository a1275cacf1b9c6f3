"""Owner's acts on transactions: list, show, bump, cancel, and resolve a lane that waits for a person.

Guarantees: a lane is released only for the reason that the person looked at; its nonce moves only to the chain's own,
and only while nothing of ours is open; a bump or cancel is asked of the engine, which does it and nobody else.
Not guaranteed: that a bump or a cancel wins; what is mined decides.
"""

from typing import Any, Final

from pydantic import Field
from sqlalchemy import Connection

from chains.errors import RpcError
from chains.tx.model import Attempt, Intent, Lane, LaneState, Tx, TxId
from chains.tx.reasons import HoldCode
from chains.tx.store import StaleState, UnusableRow
from chains.types import ChainId
from service.build import ChainRuntime, Services
from service.control.chain_acts import frozen_chains
from service.control.params import Params
from service.control.protocol import ActFailed
from service.control.wallet_acts import find_wallet
from service.db import txstory
from service.db.headstore import SqlHeadStore
from service.db.txstore import SqlTxStore

MOST: Final = 200
"""Rows in one answer: far below the size of a line of the control socket."""
SHOWN_DATA: Final = 2_048
"""Bytes of calldata in an answer."""
_NONCE_HOLDS: Final = (HoldCode.FOREIGN_NONCE, HoldCode.NONCE_AHEAD)


class ListTxs(Params):
    chain: str | None = None
    wallet: str | None = None
    all: bool = False
    limit: int = Field(default=50, ge=1, le=MOST)


class ShowTx(Params):
    named: str = Field(min_length=1, max_length=128)


class AskTx(Params):
    tx: int = Field(ge=1)
    reason: str = Field(default="asked by the operator", min_length=1, max_length=200)


class ResolveLane(Params):
    chain: str
    wallet: str
    hold_reason: str
    """As it was shown: another one, come meanwhile, has to be looked at first."""
    next_nonce: int | None = Field(default=None, ge=0)


async def list_(services: Services, params: ListTxs) -> dict[str, Any]:
    """Open slots (or all), newest first, those that make no sense by their ids, every held lane and every frozen
    chain."""
    chain_id = None if params.chain is None else _chain_id(services, params.chain)
    wallet = None if params.wallet is None else (await find_wallet(services, params.wallet)).address

    def read(c: Connection) -> dict[str, Any]:
        found = txstory.list_txs(c, chain_id=chain_id, wallet=wallet, with_closed=params.all, limit=params.limit)
        return {
            "transactions": [_slot_row(services, row) for row in found.intact],
            "unusable": list(found.unusable),
            "held": [
                {
                    "chain": _chain_key(services, row["chain_id"]),
                    "wallet": row["wallet"],
                    "next_nonce": row["next_nonce"],
                    "hold_reason": row["hold_reason"],
                }
                for row in txstory.held_lanes(c)
            ],
            "frozen": frozen_chains(c, services),
        }

    return await services.db.read(read)


async def show(services: Services, params: ShowTx) -> dict[str, Any]:
    """One plan from what asked for it to its end: steps, slots, attempts, and what the nodes said."""

    def read(c: Connection) -> dict[str, Any] | None:
        plan_id = txstory.find_plan(c, params.named)
        found = None if plan_id is None else txstory.story(c, plan_id)
        if found is None:
            return None
        return _story(services, found, SqlTxStore().lane(c, found.plan.lane))

    try:
        answer = await services.db.read(read)
    except UnusableRow as exc:
        raise ActFailed("unusable_row", str(exc), hint="something else has written it: put it back as it was") from exc
    if answer is None:
        raise ActFailed("no_such_transaction", f"nothing here is called {params.named!r}", hint="cambist tx list --all")
    return answer


async def bump(services: Services, params: AskTx) -> dict[str, Any]:
    """Another attempt at the same nonce, dearer, without waiting for the engine to find it time."""
    engine = (await _runtime_of(services, params.tx)).engine
    try:
        is_new = await engine.request_bump(TxId(params.tx), params.reason)
    except StaleState as exc:
        raise _not_waiting(params.tx) from exc
    return {"tx": params.tx, "asked": "bump", "is_new": is_new}


async def cancel(services: Services, params: AskTx) -> dict[str, Any]:
    """Close the nonce by a self-send. What is mined decides which of the two it was."""
    engine = (await _runtime_of(services, params.tx)).engine
    try:
        is_new = await engine.request_cancel(TxId(params.tx), params.reason)
    except StaleState as exc:
        raise _not_waiting(params.tx) from exc
    return {"tx": params.tx, "asked": "cancel", "is_new": is_new}


async def resolve(services: Services, params: ResolveLane) -> dict[str, Any]:
    """Release a held lane after a person looked."""
    runtime = _runtime(services, params.chain)
    wallet = (await find_wallet(services, params.wallet)).address
    lane = Lane(chain_id=runtime.config.chain_id, wallet=wallet)
    store = SqlTxStore()
    held, is_idle = await services.db.read(
        lambda c: (_held(c, lane, params), not store.open_txs(c, lane.chain_id, lane=lane))
    )
    next_nonce = await _next_nonce(runtime, held, asked=params.next_nonce, is_idle=is_idle)

    def run(c: Connection) -> None:
        now = _held(c, lane, params)
        if next_nonce != now.next_nonce:
            store.set_next_nonce(c, lane, now.next_nonce, next_nonce)
        store.hold_lane(c, lane, None)

    try:
        await services.db.run(run)
    except StaleState as exc:
        raise _not_idle() from exc
    runtime.engine.wake()
    return {
        "chain": params.chain,
        "wallet": wallet,
        "hold_reason": params.hold_reason,
        "nonce_before": held.next_nonce,
        "next_nonce": next_nonce,
    }


async def _next_nonce(runtime: ChainRuntime, held: LaneState, *, asked: int | None, is_idle: bool) -> int:
    """The nonce to go on with: the lane's own, or, where others used some, the one that the person names and the chain
    confirms."""
    code = (held.hold_reason or "").partition(":")[0]
    if asked is None and (code not in _NONCE_HOLDS or not is_idle):
        return held.next_nonce
    if asked is not None and not is_idle:
        raise _not_idle()
    try:
        account = await runtime.client.account(held.lane.wallet)
    except RpcError as exc:
        raise ActFailed("chain_unreachable", f"the chain's nonce is not known: {exc}") from exc
    if account.nonce_pending > account.nonce_latest:
        raise ActFailed(
            "foreign_pending",
            f"{account.nonce_pending - account.nonce_latest} transactions of this wallet that are not ours are pending",
            hint="Wait until they are mined, and stop whatever else uses this key.",
        )
    if asked is None and account.nonce_latest == held.next_nonce:
        return held.next_nonce
    if asked != account.nonce_latest:
        raise ActFailed(
            "next_nonce_needed" if asked is None else "wrong_next_nonce",
            f"the chain's next nonce is {account.nonce_latest}, this lane's is {held.next_nonce}",
            hint=f"When you know who used the nonces: --next-nonce {account.nonce_latest}",
        )
    return asked


def _held(c: Connection, lane: Lane, params: ResolveLane) -> LaneState:
    """The lane, held for the reason that was shown. Raises: ActFailed."""
    if (frozen := SqlHeadStore().frozen(c, lane.chain_id)) is not None:
        raise ActFailed(
            "chain_frozen", f"{params.chain} is frozen: {frozen}", hint=f"First: cambist tx thaw {params.chain}"
        )
    state = SqlTxStore().lane(c, lane)
    if state is None or state.hold_reason is None:
        raise ActFailed("not_held", f"{params.wallet} is not held on {params.chain}", hint="cambist tx list")
    if state.hold_reason != params.hold_reason:
        raise ActFailed("other_reason", f"it is held for another reason now: {state.hold_reason}")
    return state


def _not_idle() -> ActFailed:
    return ActFailed(
        "lane_not_idle", "its nonce cannot be moved while transactions of ours are open", hint="cambist tx list"
    )


def _not_waiting(tx_id: int) -> ActFailed:
    return ActFailed("not_waiting", f"transaction {tx_id} is mined or closed", hint=f"cambist tx show {tx_id}")


async def _runtime_of(services: Services, tx_id: int) -> ChainRuntime:
    def read(c: Connection) -> str | None:
        plan_id = txstory.find_plan(c, str(tx_id))
        found = None if plan_id is None else SqlTxStore().plan(c, plan_id)
        return None if found is None else _chain_key(services, found.lane.chain_id)

    key = await services.db.read(read)
    if key is None:
        raise ActFailed("no_such_transaction", f"there is no transaction {tx_id}", hint="cambist tx list --all")
    return _runtime(services, key)


def _runtime(services: Services, chain: str) -> ChainRuntime:
    if (runtime := services.chains.get(chain)) is None:
        active = ", ".join(services.chains) or "none"
        raise ActFailed("chain_not_active", f"{chain!r} is not an active chain; active: {active}")
    return runtime


def _chain_id(services: Services, chain: str) -> ChainId:
    if (config := services.configs.get(chain)) is None:
        raise ActFailed("no_such_chain", f"no chain is called {chain!r}; known: {', '.join(services.configs)}")
    return config.chain_id


def _chain_key(services: Services, chain_id: int) -> str:
    return next((key for key, config in services.configs.items() if config.chain_id == chain_id), str(chain_id))


# -- documents --------------------------------------------------------------------------------------------


def _slot_row(services: Services, row: Any) -> dict[str, Any]:
    return {
        "tx": row["id"],
        "chain": _chain_key(services, row["chain_id"]),
        "wallet": row["wallet"],
        "nonce": row["nonce"],
        "state": row["state"],
        "outcome": row["outcome"],
        "plan": row["plan_id"],
        "step": row["position"] + 1,
        "created_ms": row["created_ms"],
        "updated_ms": row["updated_ms"],
    }


def _story(services: Services, found: txstory.Story, lane: LaneState | None) -> dict[str, Any]:
    plan = found.plan
    by_intent: dict[str, list[Tx]] = {}
    for tx in found.txs:
        by_intent.setdefault(tx.intent_id, []).append(tx)
    subject: dict[str, Any] | None = None
    if found.kind is not None:
        kept = ("id", "client_id", "key_id", "state", "reason", "market", "side", "type", "asset", "destination")
        subject = {"kind": found.kind} | {name: found.subject[name] for name in kept if name in found.subject}
        if "amount" in found.subject:
            subject["amount_raw"] = str(found.subject["amount"])
    return {
        "plan": plan.id,
        "chain": _chain_key(services, plan.lane.chain_id),
        "wallet": plan.lane.wallet,
        "created_ms": plan.created_ms,
        "valid_until_ms": plan.valid_until_ms,
        "asked_by": subject,
        "lane": None if lane is None else {"next_nonce": lane.next_nonce, "hold_reason": lane.hold_reason},
        "steps": [
            _step(intent) | {"transactions": [_tx(tx, found.attempts[tx.id]) for tx in by_intent.get(intent.id, [])]}
            for intent in plan.intents
        ],
    }


def _step(intent: Intent) -> dict[str, Any]:
    return {
        "intent": intent.id,
        "step": intent.position + 1,
        "to": intent.call.to,
        "value_wei": str(intent.call.value_wei),
        "data": "0x" + intent.call.data[:SHOWN_DATA].hex(),
        "data_bytes": len(intent.call.data),
        "payload_hash": intent.payload_hash,
        "altered": intent.altered,
        "state": str(intent.state),
        "reason": intent.reject_reason,
    }


def _tx(tx: Tx, attempts: Any) -> dict[str, Any]:
    return {
        "tx": tx.id,
        "nonce": tx.nonce,
        "gas_limit": tx.gas_limit,
        "state": str(tx.state),
        "outcome": str(tx.outcome),
        "block": None if tx.block is None else {"number": tx.block.number, "hash": tx.block.hash},
        "mined_hash": tx.mined_hash,
        "wish": None if tx.wish is None else str(tx.wish),
        "wish_reason": tx.wish_reason,
        "note": tx.note,
        "created_ms": tx.created_ms,
        "updated_ms": tx.updated_ms,
        "attempts": [_attempt(attempt) for attempt in attempts],
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "hash": attempt.hash,
        "kind": str(attempt.kind),
        "state": str(attempt.state),
        "max_fee_wei": str(attempt.fees.max_fee_wei),
        "priority_fee_wei": str(attempt.fees.priority_fee_wei),
        "gas_limit": attempt.gas_limit,
        "created_ms": attempt.created_ms,
        "sent_ms": attempt.sent_ms,
        "node_answer": attempt.node_answer,
    }
