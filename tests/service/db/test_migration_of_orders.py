"""Orders and holds of before keep every digit when their tables are written anew for orders that rest."""

from typing import Any

import pytest
from alembic import command
from sqlalchemy import Connection, insert, select

from service.db import models as m
from service.db.engine import Database
from service.db.migrations.upgrade import alembic_config, upgrade_to_head
from tests.service.books_seed import NOW_MS, seed_owner, tx_hash
from tests.service.trading_seed import SNAPSHOT, USDC, USDT

BEFORE = "0009"
PLAN = "order:before"
HUGE = 2**255 + 12_345_678_901_234_567_890


def _row() -> dict[str, Any]:
    return {
        "client_id": "before",
        "params_hash": "0x" + "11" * 32,
        "chain_id": 1,
        "market": "USDCUSDT",
        "base_asset": USDC.id,
        "quote_asset": USDT.id,
        "side": "sell",
        "type": "market",
        "base_amount": HUGE,
        "quote_amount": None,
        "slippage_bps": 50,
        "max_sold": HUGE,
        "min_bought": HUGE - 1,
        "quote": SNAPSHOT,
        "plan_id": PLAN,
        "state": "FILLED",
        "reason": None,
        "filled_base": HUGE,
        "filled_quote": 7,
        "gas_wei": 9,
        "created_ms": NOW_MS,
        "updated_ms": NOW_MS,
    }


def _before(c: Connection) -> int:
    """An order of the last release, with its fill and its released hold. The answer is its id."""
    command.upgrade(alembic_config(c), BEFORE)
    owner = seed_owner(c)
    c.execute(
        insert(m.api_keys).values(
            id="key",
            account_id=owner.account_id,
            wallet_id=owner.wallet_id,
            label="key",
            algorithm="ed25519",
            public_key=bytes(32),
            can_read=True,
            can_trade=True,
            can_withdraw=False,
            ip_allowlist=[],
            created_ms=NOW_MS,
            mac=bytes(32),
        )
    )
    c.execute(insert(m.plans).values(id=PLAN, chain_id=1, wallet=owner.address, created_ms=NOW_MS))
    whose = {"account_id": owner.account_id, "wallet_id": owner.wallet_id}
    c.execute(insert(m.orders).values(id=41, key_id="key", **whose, **_row()))
    c.execute(
        insert(m.fills).values(
            order_id=41,
            account_id=owner.account_id,
            tx_hash=tx_hash(1),
            block_number=1,
            block_hash=tx_hash(2),
            base=HUGE,
            quote=7,
            gas_wei=9,
            created_ms=NOW_MS,
        )
    )
    c.execute(
        insert(m.reservations).values(
            **whose, chain_id=1, asset=USDC.id, raw=HUGE, plan_id=PLAN, created_ms=NOW_MS, released_ms=NOW_MS + 1
        )
    )
    return 41


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def empty_url(request: pytest.FixtureRequest, tmp_path: Any) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/before.sqlite"
    found: str = request.getfixturevalue("empty_postgres_url")
    return found


async def test_orders_of_before_are_kept_with_their_one_try(empty_url: str) -> None:
    database = await Database.open(empty_url)
    try:
        order_id = await database.run_aside(_before)
        await database.run_aside(upgrade_to_head)

        def read(c: Connection) -> None:
            order = c.execute(select(m.orders)).mappings().one()
            assert {name: order[name] for name in _row()} == _row()
            assert (order["id"], order["tries"], order["time_in_force"]) == (order_id, 1, None)
            tried = c.execute(select(m.order_plans)).mappings().one()
            assert (tried["plan_id"], tried["order_id"], tried["max_sold"]) == (PLAN, order_id, HUGE)
            assert (tried["min_bought"], tried["deadline_s"]) == (HUGE - 1, SNAPSHOT["deadline_s"])
            held = c.execute(select(m.reservations)).mappings().one()
            assert (held["raw"], held["plan_id"], held["order_id"]) == (HUGE, PLAN, None)
            assert held["released_ms"] == NOW_MS + 1
            assert c.execute(select(m.fills.c.order_id)).scalar_one() == order_id

        await database.read(read)
    finally:
        await database.close()
