"""What must hold of a trial's rows at any moment, whatever was killed: what was promised, and what is held for what.

    what was answered as accepted is there         a cancel, an approval, a rejection stays one
    a cooling time is what was said at first        an order that rests, waits or is under way has its funds held
    a replacement has both halves or none

Pure: of rows by table, as a life reads them when it begins, and the oracle at the end.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Table, select

from service.db import models as m

TABLES: Final[Sequence[Table]] = (
    *(m.orders, m.order_plans, m.fills, m.withdrawals, m.transactions, m.clearances, m.book_entries),
    *(m.intents, m.plans, m.txs, m.attempts, m.reservations, m.journal_entries, m.outbox, m.key_usage, m.api_keys),
)
WAITS: Final = frozenset({"awaiting_approval", "processing"})
"""Of a withdrawal or transaction of which nothing was mined, as far as its row says."""
STAYS: Final = {"approve_by_key": "approved", "approve_in_session": "approved", "reject": "rejected"}

Row = Mapping[str, Any]
Rows = Mapping[str, Sequence[Row]]


def read_rows(c: Connection) -> Rows:
    return {table.name: [dict(row) for row in c.execute(select(table)).mappings()] for table in TABLES}


def rests(order: Row) -> bool:
    return order["state"] == "NEW" and order["plan_id"] is None


def lost(rows: Rows, promised: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What was answered as accepted, and is not there as that."""
    for one in promised:
        if one["act"] != "place":
            continue
        named = "name" if one["kind"] == "book_entries" else "client_id"
        there = [row["id"] for row in rows[one["kind"]] if row[named] == one["of"]]
        if there != [one["id"]]:
            yield f"{one['of']} was accepted as {one['id']}, and there is {there}"


def broken(rows: Rows, promised: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Whatever else does not hold, as sentences."""
    yield from _kept(rows, promised)
    yield from _cooling(rows, promised)
    yield from _held(rows)
    yield from _replaced(rows, promised)


def _kept(rows: Rows, promised: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    subjects = {row["client_id"]: row for table in ("withdrawals", "orders") for row in rows[table]}
    cleared = {row["withdrawal_id"]: row["state"] for row in rows["clearances"]}
    for one in promised:
        row = subjects.get(one["of"])
        if one["act"] in STAYS:
            state = None if row is None else cleared.get(row["id"])
            if state != STAYS[one["act"]]:
                yield f"{one['of']} was {STAYS[one['act']]}, and is {state}"
        elif one.get("state") in ("CANCELED", "cancelled") and (row is None or row["state"] != one["state"]):
            yield f"{one['of']} was {one['state']}, and is {row and row['state']}"


def _cooling(rows: Rows, promised: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for one in promised:
        if one.get("kind") != "book_entries":
            continue
        for row in rows["book_entries"]:
            if row["id"] == one["id"] and row["in_force_ms"] != one["until_ms"]:
                yield f"an entry was to cool until {one['until_ms']}, and cools until {row['in_force_ms']}"


def _held(rows: Rows) -> Iterator[str]:
    """Orders that rest hold what their limit takes at most; whatever is under way holds something."""
    held = [row for row in rows["reservations"] if row["released_ms"] is None]
    of_order = {(row["order_id"], row["asset"]): row["raw"] for row in held}
    of_plan = {row["plan_id"] for row in held}
    for order in rows["orders"]:
        sold = order["base_asset"] if order["side"] == "sell" else order["quote_asset"]
        if rests(order) and of_order.get((order["id"], sold), 0) < order["max_sold"]:
            yield f"{order['client_id']} rests, and holds less than it may sell"
        if order["state"] == "NEW" and order["plan_id"] is not None and order["plan_id"] not in of_plan:
            yield f"{order['client_id']} is under way, and holds nothing"
    for row in (*rows["withdrawals"], *rows["transactions"]):
        if row["state"] in WAITS and row["plan_id"] not in of_plan:
            yield f"{row['client_id']} is {row['state']}, and holds nothing"


def _replaced(rows: Rows, promised: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Of a replacement that is both or neither: the new order is there exactly if the old one gave way to it."""
    orders = {row["client_id"]: row for row in rows["orders"]}
    for one in promised:
        if one["act"] == "replace_if_both" and not (one["cancelled"] and one["placed"]):
            yield f"{one['of']} was replaced by half"
        if "placed" in one and one["placed"] is not None:
            new = orders.get(f"{one['of']}-new")
            if new is None or new["id"] != one["placed"]:
                yield f"{one['of']} was replaced by {one['placed']}, which is not there"
    for name, order in orders.items():
        gave_way = order["state"] == "CANCELED" and order["reason"] == "replaced"
        if gave_way and f"{name}-new" not in orders:
            yield f"{name} gave way to an order that is not there"
