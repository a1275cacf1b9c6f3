"""Kill -9 between the decision and the commit, and right after it: what the file says then."""

import asyncio
import os
import signal
import sys
from typing import Any

import pytest
from sqlalchemy import select

from chains.crashpoints import VARIABLE
from service.db.engine import Database
from service.db.models import intents, order_plans, orders, plans, reservations

pytestmark = pytest.mark.deep


async def killed_at(point: str, database_url: str) -> dict[str, list[Any]]:
    """The rows of a database whose process was killed there."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.service.orders.keeper.child", database_url, env={**os.environ, VARIABLE: point}
    )
    assert await child.wait() == -signal.SIGKILL
    db = await Database.open(database_url)
    try:
        tables = (orders, order_plans, plans, intents, reservations)
        return await db.read(lambda c: {table.name: list(c.execute(select(table))) for table in tables})
    finally:
        await db.close()


async def test_killed_between_decision_and_commit_the_order_rests_with_its_hold(sqlite_url: str) -> None:
    rows = await killed_at("K18", sqlite_url)
    [order] = rows["orders"]
    assert (order.state, order.plan_id, order.tries) == ("NEW", None, 0)
    assert rows["plans"] == rows["order_plans"] == rows["intents"] == []
    assert {(row.order_id, row.plan_id, row.released_ms) for row in rows["reservations"]} == {(order.id, None, None)}


async def test_killed_after_the_commit_there_is_one_try_with_its_plan_and_hold(sqlite_url: str) -> None:
    rows = await killed_at("K19", sqlite_url)
    [order], [plan], [tried] = rows["orders"], rows["plans"], rows["order_plans"]
    assert (order.state, order.plan_id, order.tries) == ("NEW", plan.id, 1)
    assert (tried.plan_id, tried.order_id) == (plan.id, order.id)
    assert [row.state for row in rows["intents"]] == ["queued", "queued"]
    assert {(row.order_id, row.plan_id, row.released_ms) for row in rows["reservations"]} == {(None, plan.id, None)}
