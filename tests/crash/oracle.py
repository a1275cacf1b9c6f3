"""What must hold after a kill trial, looked up in the database file, in what the proxy saw, and on the chain itself.

The chain is asked past the proxy and past the product's own client. Findings are sentences, by category.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from chains.tx.model import Outcome, TxState
from scripts.devnet.calls import Contract
from scripts.devnet.catalogue import CHAINS
from scripts.devnet.rpc import DevRpc
from tests.crash import ledger, promises
from tests.crash.databases import rows_of
from tests.crash.promises import Row, Rows
from tests.crash.trials import Trial
from tests.faults.observed import Effect, Recorder, SeenTx

THERE_BEFORE: Final = 1
"""What the destination has of each asset before the trial, base units."""
PAID: Final = ("confirmed", "final")
SETTLED: Final = frozenset(
    {"FILLED", "REJECTED", "EXPIRED", "CANCELED", "confirmed", "final", "rejected", "cancelled", "failed"}
)
SUBJECTS: Final = ("orders", "withdrawals", "transactions")


class Category(StrEnum):
    DOUBLE_SEND = "double sends"
    """An effect happened more often on the chain than the database says it should have."""
    LOST_INTENT = "lost intents"
    """Something was answered as accepted and is not there, or did not come to an end."""
    LEAKED_RESERVATION = "leaked reservations"
    BROKEN_PROMISE = "promises that a restart broke"
    """An approval, a cooling time, a cancel, what an order holds while it rests."""
    UNAPPROVED = "payments that nobody approved, or not there yet"
    BUDGETS = "limits of a day counted wrong"
    OUTSIDE_LIMIT = "fills outside their limit"
    BOOKS = "books differ from the chain"
    UNRECORDED_SEND = "sends without a durable attempt"
    NONCES = "nonces without their row"
    BROKEN = "trials that did not run to their end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    category: Category
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All there is to look at."""

    trial: Trial
    database_url: str
    promised: Sequence[Mapping[str, Any]]
    broken: Sequence[str]
    """What lives did not find kept."""
    result: Mapping[str, Any]
    recorder: Recorder
    node: DevRpc
    wallet: str
    names: Mapping[str, str]
    """Addresses that only this trial has."""


def judge(evidence: Evidence) -> list[Finding]:
    """Everything that does not hold."""
    rows = rows_of(evidence.database_url)
    mined = _mined(evidence)
    return [
        *_lost(evidence, rows),
        *_effects(rows, mined),
        *_payments(evidence, rows),
        *_nonces(evidence, rows, mined),
        *_recorded(evidence, rows),
        *_reservations(evidence, rows),
        *_promises(evidence, rows),
        *_found(Category.UNAPPROVED, _unapproved(rows)),
        *_found(Category.BUDGETS, ledger.miscounted(rows)),
        *_found(Category.OUTSIDE_LIMIT, ledger.outside_limits(rows)),
        *_books(evidence, rows, mined),
    ]


def _found(category: Category, texts: Iterable[str]) -> list[Finding]:
    return [Finding(category=category, text=text) for text in texts]


def _mined(evidence: Evidence) -> dict[int, tuple[SeenTx, bool]]:
    """Canonical transactions of the wallet by nonce, with whether each succeeded. It signs nowhere else."""
    seen = [tx for tx in evidence.recorder.txs if tx.effect.sender == evidence.wallet]
    receipts = evidence.node.batch([("eth_getTransactionReceipt", tx.hash) for tx in seen])
    return {
        tx.nonce: (tx, int(receipt["status"], 16) == 1)
        for tx, receipt in zip(seen, receipts, strict=True)
        if receipt is not None
    }


def _lost(evidence: Evidence, rows: Rows) -> list[Finding]:
    found = [*promises.lost(rows, evidence.promised)]
    subjects = {row["client_id"]: row for table in SUBJECTS for row in rows[table]}
    for name, row in subjects.items():
        if row["state"] not in SETTLED and not ("tries" in row and promises.rests(row)):
            found.append(f"{name} ended as {row['state']}")
    found += [f"nonce {tx['nonce']} is {tx['state']} at the end" for tx in rows["txs"] if tx["state"] != TxState.FINAL]
    there = subjects.keys() | {row["name"] for row in rows["book_entries"]} | evidence.result["refused"].keys()
    for subject in evidence.trial.subjects:
        if subject.client_id not in there:
            found.append(f"{subject.client_id} was never taken on nor refused")
    plans = {row["plan_id"] for row in (*subjects.values(), *rows["order_plans"])}
    found += [f"plan {plan['id']} belongs to nothing" for plan in rows["plans"] if plan["id"] not in plans]
    return _found(Category.LOST_INTENT, found)


def _effects(rows: Rows, mined: Mapping[int, tuple[SeenTx, bool]]) -> list[Finding]:
    """I1: what happened on the chain is what the database calls succeeded, each as often."""
    outcome = {tx["intent_id"]: tx["outcome"] for tx in rows["txs"] if tx["state"] == TxState.FINAL}
    wanted = Counter(_effect(row) for row in rows["intents"] if outcome.get(row["id"]) == Outcome.SUCCEEDED)
    happened = Counter(tx.effect for tx, succeeded in mined.values() if succeeded and not _is_cancel(tx))
    return [
        Finding(
            category=Category.DOUBLE_SEND if happened[effect] > wanted[effect] else Category.LOST_INTENT,
            text=f"{effect} happened {happened[effect]} times, {wanted[effect]} recorded",
        )
        for effect in wanted.keys() | happened.keys()
        if happened[effect] != wanted[effect]
    ]


def _effect(intent: Row) -> Effect:
    return Effect(
        sender=intent["wallet"],
        to=intent["to_address"],
        value_wei=intent["value_wei"],
        data="0x" + intent["data"].hex(),
    )


def _is_cancel(tx: SeenTx) -> bool:
    return tx.effect.to == tx.effect.sender


def _payments(evidence: Evidence, rows: Rows) -> list[Finding]:
    """The destination is this trial's own: it has exactly what was paid."""
    paid: Counter[str] = Counter()
    by_id = {subject.client_id: subject for subject in evidence.trial.subjects}
    for row in rows["withdrawals"]:
        if row["state"] in PAID:
            paid[by_id[row["client_id"]].asset] += row["amount"]
    destination = evidence.names["destination"]
    found = []
    for asset in sorted({subject.asset for subject in evidence.trial.subjects if subject.asset}):
        if asset in ("ETH", "POL"):
            has = int(evidence.node("eth_getBalance", destination, "latest"), 16)
        else:
            token = Contract(evidence.node, CHAINS[evidence.trial.chain].tokens[asset].address)
            has = token.view("balanceOf(address)(uint256)", destination)
        has -= THERE_BEFORE
        if has != paid[asset]:
            category = Category.DOUBLE_SEND if has > paid[asset] else Category.LOST_INTENT
            found.append(Finding(category=category, text=f"{has} {asset} arrived, {paid[asset]} were to be paid"))
    return found


def _nonces(evidence: Evidence, rows: Rows, mined: Mapping[int, tuple[SeenTx, bool]]) -> list[Finding]:
    """I2."""
    count = int(evidence.node("eth_getTransactionCount", evidence.wallet, "latest"), 16)
    hashes = {tx["nonce"]: tx["mined_hash"] for tx in rows["txs"]}
    found = []
    if sorted(mined) != list(range(count)):
        found.append(f"the chain is at nonce {count}; mined through the proxy: {sorted(mined)}")
    if sorted(hashes) != list(range(count)):
        found.append(f"the chain is at nonce {count}; rows: {sorted(hashes)}")
    found += [
        f"nonce {nonce} was mined as {tx.hash}, its row says {hashes.get(nonce)}"
        for nonce, (tx, _) in mined.items()
        if hashes.get(nonce) != tx.hash
    ]
    return [Finding(category=Category.NONCES, text=text) for text in found]


def _recorded(evidence: Evidence, rows: Rows) -> list[Finding]:
    """I4."""
    stored = {row["hash"] for row in rows["attempts"]}
    return [
        Finding(category=Category.UNRECORDED_SEND, text=f"{tx.hash} was sent and is not stored")
        for tx in evidence.recorder.txs
        if tx.effect.sender == evidence.wallet and tx.hash not in stored
    ]


def _reservations(evidence: Evidence, rows: Rows) -> list[Finding]:
    """I6: what rests holds its funds, and nothing else does."""
    open_ones = [row for row in rows["reservations"] if row["released_ms"] is None]
    resting = {row["id"] for row in rows["orders"] if promises.rests(row)}
    leaked = [row for row in open_ones if row["order_id"] not in resting]
    found = [f"{row['raw']} of {row['asset']} is held for {row['plan_id'] or row['order_id']}" for row in leaked]
    held: Counter[str] = Counter()
    for row in open_ones:
        held[row["asset"]] += row["raw"]
    told = {asset: int(raw) for asset, raw in evidence.result["held"].items()}
    if told != dict(held):
        found.append(f"the service says that {told} is held, its rows {dict(held)}")
    return _found(Category.LEAKED_RESERVATION, found)


def _promises(evidence: Evidence, rows: Rows) -> list[Finding]:
    found = [*evidence.broken, *promises.broken(rows, evidence.promised)]
    if evidence.result["audit"]["broken"] is not None:
        found.append(f"the audit log: {evidence.result['audit']['broken']}")
    states = {row["client_id"]: row for row in rows["withdrawals"]}
    for client_id in evidence.result["waited"]:
        # A day later: nobody decides about it any more.
        if states[client_id]["state"] != "rejected":
            found.append(f"{client_id} waited for a day, and is {states[client_id]['state']}")
    return _found(Category.BROKEN_PROMISE, found)


def _unapproved(rows: Rows) -> Iterator[str]:
    clearances = {row["withdrawal_id"]: row for row in rows["clearances"]}
    cooling = {row["address"] for row in rows["book_entries"]}
    begun = {row["plan_id"] for row in rows["intents"] if row["state"] == "placed"}
    for row in rows["withdrawals"]:
        clearance = clearances.get(row["id"])
        state = None if clearance is None else clearance["state"]
        if state not in ("clear", "approved") and (row["state"] in PAID or row["plan_id"] in begun):
            yield f"{row['client_id']} has a nonce, and its clearance is {state}"
        if row["destination"] in cooling:
            yield f"{row['client_id']} was accepted to an address that cools"


def _books(evidence: Evidence, rows: Rows, mined: Mapping[int, tuple[SeenTx, bool]]) -> list[Finding]:
    """I3: as a whole, and of each transaction and order; and events without a gap."""
    found = [f"{row}" for row in evidence.result["wrong_rows"]]
    if not evidence.result["compared_rows"]:
        found.append("nothing was compared")
    sequence = [row["seq"] for row in rows["outbox"]]
    if sorted(sequence) != list(range(1, len(sequence) + 1)):
        found.append("the event sequence has a gap")
    hashes = [tx.hash for tx, _ in mined.values()]
    found += ledger.unequal(rows, node=evidence.node, chain=evidence.trial.chain, wallet=evidence.wallet, hashes=hashes)
    return _found(Category.BOOKS, found)
