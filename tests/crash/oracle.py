"""What must hold after a kill trial, looked up in the database file, in what the proxy saw, and on the chain itself.

The chain is asked past the proxy and past the product's own client. Findings are sentences, by category.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from sqlalchemy import create_engine, select

from chains.tx.model import Outcome, TxState
from scripts.devnet.calls import Contract
from scripts.devnet.catalogue import CHAINS
from scripts.devnet.rpc import DevRpc
from service.db import models as m
from tests.crash.trials import Trial
from tests.faults.observed import Effect, Recorder, SeenTx

THERE_BEFORE: Final = 1
"""What the destination has of each asset before the trial, base units."""
PAID: Final = ("confirmed", "final")
SETTLED: Final = frozenset(
    {"FILLED", "REJECTED", "EXPIRED", "CANCELED", "confirmed", "final", "rejected", "cancelled", "failed"}
)


class Category(StrEnum):
    DOUBLE_SEND = "double sends"
    """An effect happened more often on the chain than the database says it should have."""
    LOST_INTENT = "lost intents"
    """Something was answered as accepted and is not there, or did not come to an end."""
    LEAKED_RESERVATION = "leaked reservations"
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
    database: Path
    acks: Sequence[str]
    result: Mapping[str, Any]
    recorder: Recorder
    node: DevRpc
    wallet: str
    destination: str


def judge(evidence: Evidence) -> list[Finding]:
    """Everything that does not hold."""
    rows = _rows(evidence.database)
    mined = _mined(evidence)
    return [
        *_lost(evidence, rows),
        *_effects(rows, mined),
        *_payments(evidence, rows),
        *_nonces(evidence, rows, mined),
        *_recorded(evidence, rows),
        *_reservations(evidence, rows),
        *_books(evidence, rows),
    ]


Row = Mapping[str, Any]
Rows = Mapping[str, Sequence[Row]]


def _rows(database: Path) -> Rows:
    engine = create_engine(f"sqlite:///{database}")
    tables = (m.orders, m.withdrawals, m.intents, m.txs, m.attempts, m.reservations, m.outbox, m.plans)
    try:
        with engine.connect() as c:
            return {table.name: [dict(row) for row in c.execute(select(table)).mappings()] for table in tables}
    finally:
        engine.dispose()


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
    found = []
    subjects = {row["client_id"]: row for row in (*rows["orders"], *rows["withdrawals"])}
    for line in evidence.acks:
        client_id, number = line.split()
        if client_id not in subjects or subjects[client_id]["id"] != int(number):
            found.append(f"{client_id} was accepted as {number} and is not in the database")
    found += [f"{name} ended as {row['state']}" for name, row in subjects.items() if row["state"] not in SETTLED]
    found += [f"nonce {tx['nonce']} is {tx['state']} at the end" for tx in rows["txs"] if tx["state"] != TxState.FINAL]
    for subject in evidence.trial.subjects:
        if subject.client_id not in subjects and subject.client_id not in evidence.result["refused"]:
            found.append(f"{subject.client_id} was never taken on nor refused")
    plans = {row["plan_id"] for row in subjects.values()}
    found += [f"plan {plan['id']} belongs to nothing" for plan in rows["plans"] if plan["id"] not in plans]
    return [Finding(category=Category.LOST_INTENT, text=text) for text in found]


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
    found = []
    for asset in sorted({subject.asset for subject in evidence.trial.subjects if subject.asset}):
        if asset in ("ETH", "POL"):
            has = int(evidence.node("eth_getBalance", evidence.destination, "latest"), 16)
        else:
            token = Contract(evidence.node, CHAINS[evidence.trial.chain].tokens[asset].address)
            has = token.view("balanceOf(address)(uint256)", evidence.destination)
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
    """I6."""
    open_ones = [row for row in rows["reservations"] if row["released_ms"] is None]
    found = [f"{row['raw']} of {row['asset']} is held for {row['plan_id']}" for row in open_ones]
    if not evidence.result["nothing_reserved"] and not found:
        found.append("the service says that something is held")
    return [Finding(category=Category.LEAKED_RESERVATION, text=text) for text in found]


def _books(evidence: Evidence, rows: Rows) -> list[Finding]:
    """I3, and events without a gap."""
    found = [f"{row}" for row in evidence.result["wrong_rows"]]
    if not evidence.result["compared_rows"]:
        found.append("nothing was compared")
    sequence = [row["seq"] for row in rows["outbox"]]
    if sorted(sequence) != list(range(1, len(sequence) + 1)):
        found.append("the event sequence has a gap")
    return [Finding(category=Category.BOOKS, text=text) for text in found]
