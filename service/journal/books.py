"""Appending to the books: journal entries and the outbox event that goes with them.

Guarantees: entries and their one event are written in the caller's unit of work, so both commit or neither; the
event sequence of an account is gapless and in commit order, since it is given out under the account's row lock;
an entry is never changed or removed (no function here does, and a mistake is reversed by opposite entries);
amounts are summed in Python ints, exactly.
Not guaranteed: that an effect is booked once. The caller books from a guarded state change (`mark_confirmed`),
which happens once; `reverse` undoes what is booked of a transaction and is safe to repeat.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, Connection, RowMapping, insert, or_, select, update

from chains.types import BlockHash, BlockRef, ChainId, TxHash
from contracts.assets import AssetId
from service.db.models import accounts, journal_entries, outbox

Cause = Literal["trade", "approval", "withdrawal", "transaction", "cancel", "gas", "reversal"]
"""Why an amount moved; `cause_id` names the order, withdrawal, transaction or intent behind it."""

_IN: Final = "in"
_OUT: Final = "out"


class UnknownAccount(LookupError):
    """No such account: a bug in the caller, since account ids come from loaded rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What one wallet gained (`raw` > 0) or lost (`raw` < 0) of one asset, in base units.

    `cause` replaces the cause of the whole record for this line (gas beside a trade, say).
    """

    asset_id: AssetId
    raw: int
    cause: Cause | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the journal. `raw` is signed here; the table keeps an unsigned amount and a direction."""

    id: int
    account_id: int
    wallet_id: int
    chain_id: ChainId
    asset_id: AssetId
    raw: int
    cause: str
    cause_id: str
    tx_hash: TxHash | None
    block: BlockRef | None
    event_seq: int
    created_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One outbox event. Streams and webhooks read these in `seq` order and nothing else."""

    account_id: int
    seq: int
    kind: str
    payload: Any
    created_ms: int


def record(
    c: Connection,
    *,
    account_id: int,
    wallet_id: int,
    changes: Sequence[Change],
    cause: Cause,
    cause_id: str,
    tx_hash: TxHash | None,
    block: BlockRef | None,
    event_kind: str,
    event_payload: Mapping[str, Any],
    now_ms: int,
) -> int:
    """Append the entries and exactly one event; the answer is the event's sequence number.

    Changes of zero leave no entry; a record of only such changes still leaves its event.

    Raises:
        UnknownAccount: there is no such account.
    """
    seq = emit(c, account_id=account_id, kind=event_kind, payload=event_payload, now_ms=now_ms)
    rows = [
        {
            "account_id": account_id,
            "wallet_id": wallet_id,
            "chain_id": chain_of(change.asset_id),
            "asset": change.asset_id,
            "raw": abs(change.raw),
            "direction": _IN if change.raw > 0 else _OUT,
            "cause": change.cause or cause,
            "cause_id": cause_id,
            "tx_hash": tx_hash,
            "block_number": None if block is None else block.number,
            "block_hash": None if block is None else block.hash,
            "event_seq": seq,
            "created_ms": now_ms,
        }
        for change in changes
        if change.raw
    ]
    if rows:
        c.execute(insert(journal_entries), rows)
    return seq


def emit(c: Connection, *, account_id: int, kind: str, payload: Mapping[str, Any], now_ms: int) -> int:
    """Append an event without entries; the answer is its sequence number, one more than the account's last.

    Raises:
        UnknownAccount: there is no such account.
    """
    return emit_all(c, account_id=account_id, kind=kind, payloads=[payload], now_ms=now_ms)


def emit_all(c: Connection, *, account_id: int, kind: str, payloads: Sequence[Mapping[str, Any]], now_ms: int) -> int:
    """Append events without entries, in that order; the answer is the last one's sequence number.

    Raises:
        UnknownAccount: there is no such account.
    """
    # The update takes the account's row lock until the commit: two units of work cannot interleave their numbers,
    # and one that rolls back gives its number back.
    seq = c.execute(
        update(accounts)
        .where(accounts.c.id == account_id)
        .values(event_seq=accounts.c.event_seq + len(payloads))
        .returning(accounts.c.event_seq)
    ).scalar_one_or_none()
    if seq is None:
        raise UnknownAccount(f"account {account_id}")
    first = int(seq) - len(payloads) + 1
    c.execute(
        insert(outbox),
        [
            {"account_id": account_id, "seq": number, "kind": kind, "payload": dict(payload), "created_ms": now_ms}
            for number, payload in enumerate(payloads, first)
        ],
    )
    return int(seq)


def reverse(
    c: Connection,
    *,
    account_id: int,
    wallet_id: int,
    tx_hash: TxHash,
    cause_id: str,
    block: BlockRef | None,
    event_kind: str,
    event_payload: Mapping[str, Any],
    now_ms: int,
) -> int | None:
    """Append what undoes everything booked so far of one transaction; None when nothing of it stands.

    The answer is the event's sequence number. Repeating it is harmless: the second time nothing stands.
    """
    standing = _sum(c, journal_entries.c.wallet_id == wallet_id, journal_entries.c.tx_hash == tx_hash, after={})
    changes = [Change(asset_id=asset, raw=-raw) for asset, raw in standing.items() if raw]
    if not changes:
        return None
    return record(
        c,
        account_id=account_id,
        wallet_id=wallet_id,
        changes=changes,
        cause="reversal",
        cause_id=cause_id,
        tx_hash=tx_hash,
        block=block,
        event_kind=event_kind,
        event_payload=event_payload,
        now_ms=now_ms,
    )


def totals(
    c: Connection,
    wallet_id: int,
    *,
    chain_id: ChainId,
    after: Mapping[AssetId, int] | None = None,
    up_to: int | None = None,
) -> Mapping[AssetId, int]:
    """What the journal says the wallet gained or lost on a chain, by asset, signed.

    With `after` (a block number an asset) and `up_to` (one for all) only what happened in between: after an asset's
    opening, up to the cursor. Entries without a block count always.
    """
    where = [journal_entries.c.wallet_id == wallet_id, journal_entries.c.chain_id == chain_id]
    if up_to is not None:
        where.append(or_(journal_entries.c.block_number.is_(None), journal_entries.c.block_number <= up_to))
    return _sum(c, *where, after=after or {})


def entries(c: Connection, account_id: int, *, after_id: int = 0, limit: int = 1000) -> Sequence[Entry]:
    """Journal lines of an account in the order they were written, after `after_id`."""
    rows = c.execute(
        select(journal_entries)
        .where(journal_entries.c.account_id == account_id, journal_entries.c.id > after_id)
        .order_by(journal_entries.c.id)
        .limit(limit)
    )
    return [_entry(row) for row in rows.mappings()]


def events(c: Connection, account_id: int, *, after_seq: int = 0, limit: int = 1000) -> Sequence[Event]:
    """Outbox events of an account in sequence, after `after_seq`."""
    rows = c.execute(
        select(outbox)
        .where(outbox.c.account_id == account_id, outbox.c.seq > after_seq)
        .order_by(outbox.c.seq)
        .limit(limit)
    )
    return [Event(**row) for row in rows.mappings()]


def chain_of(asset_id: AssetId) -> ChainId:
    """The chain of a CAIP-19 asset id. Raises: ValueError: not an `eip155:` id."""
    namespace, _, rest = asset_id.partition(":")
    reference = rest.partition("/")[0]
    if namespace != "eip155" or not reference.isascii() or not reference.isdigit():
        raise ValueError(f"not an EVM asset id: {asset_id!r}")
    return ChainId(int(reference))


def _sum(c: Connection, *where: ColumnElement[bool], after: Mapping[AssetId, int]) -> dict[AssetId, int]:
    # Row by row in ints: SQLite holds the amounts as text, and SQL's SUM would make floats of them.
    sums: dict[AssetId, int] = {}
    columns = (
        journal_entries.c.asset,
        journal_entries.c.raw,
        journal_entries.c.direction,
        journal_entries.c.block_number,
    )
    for asset, raw, direction, block in c.execute(select(*columns).where(*where)):
        if block is None or block > after.get(asset, -1):
            sums[asset] = sums.get(asset, 0) + (raw if direction == _IN else -raw)
    return sums


def _entry(row: RowMapping) -> Entry:
    block = None
    if row["block_number"] is not None:
        block = BlockRef(number=row["block_number"], hash=BlockHash(row["block_hash"]))
    return Entry(
        id=row["id"],
        account_id=row["account_id"],
        wallet_id=row["wallet_id"],
        chain_id=ChainId(row["chain_id"]),
        asset_id=AssetId(row["asset"]),
        raw=row["raw"] if row["direction"] == _IN else -row["raw"],
        cause=row["cause"],
        cause_id=row["cause_id"],
        tx_hash=row["tx_hash"],
        block=block,
        event_seq=row["event_seq"],
        created_ms=row["created_ms"],
    )
