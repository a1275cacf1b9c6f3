"""orders that rest, their tries, and what they hold

Revision 0010, after 0009. SQLite cannot make a column nullable: the two tables are written anew there. What refers to
orders by its foreign key is judged at the end of the transaction, when the rows are back.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

from service.db.types import U256, Hash32, Json, RatioText

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_ORDERS = (
    "id, account_id, wallet_id, key_id, client_id, params_hash, chain_id, market, base_asset, quote_asset, side, type,"
    " base_amount, quote_amount, slippage_bps, max_sold, min_bought, quote, plan_id, state, reason, filled_base,"
    " filled_quote, gas_wei, created_ms, updated_ms"
)
_RESERVATIONS = "id, account_id, wallet_id, chain_id, asset, raw, plan_id, created_ms, released_ms"

_CHECKS = {
    "type": "type IN ('market', 'limit', 'limit_maker', 'stop_loss_limit', 'take_profit_limit')",
    "time_in_force": "time_in_force IN ('gtc', 'ioc', 'fok')",
    "price": "(type = 'market') = (price IS NULL)",
    "stop_price": "(type IN ('stop_loss_limit', 'take_profit_limit')) = (stop_price IS NOT NULL)",
    "in_force": "(type = 'market') = (time_in_force IS NULL)",
}
_OPEN = sa.text("state IN ('NEW', 'PARTIALLY_FILLED')")
_RESTING = sa.text("state = 'NEW' AND plan_id IS NULL")
_HELD = sa.text("released_ms IS NULL")


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _rewrite()
    else:
        _alter()
    op.create_index(
        "ix_orders_open", "orders", ["account_id", "market"], sqlite_where=_OPEN, postgresql_where=_OPEN, unique=False
    )
    op.create_index(
        "ix_orders_resting",
        "orders",
        ["chain_id", "id"],
        sqlite_where=_RESTING,
        postgresql_where=_RESTING,
        unique=False,
    )
    op.create_table(
        "order_plans",
        sa.Column("plan_id", sa.String(length=64), nullable=False),
        sa.Column("order_id", _id(), nullable=False),
        sa.Column("max_sold", U256(), nullable=False),
        sa.Column("min_bought", U256(), nullable=False),
        sa.Column("deadline_s", sa.BigInteger(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk_order_plans_order_id")),
        sa.ForeignKeyConstraint(["plan_id"], ["plans.id"], name=op.f("fk_order_plans_plan_id")),
        sa.PrimaryKeyConstraint("plan_id", name=op.f("pk_order_plans")),
    )
    op.create_index(op.f("ix_order_plans_order_id"), "order_plans", ["order_id"], unique=False)
    _first_tries()


def _first_tries() -> None:
    """The one try that each market order of before had."""
    before, after = _orders_of_before(), _order_plans()
    connection = op.get_bind()
    op.execute("UPDATE orders SET tries = 1")
    for row in connection.execute(sa.select(before)).all():
        connection.execute(
            sa.insert(after).values(
                plan_id=row.plan_id,
                order_id=row.id,
                max_sold=row.max_sold,
                min_bought=row.min_bought,
                deadline_s=int(row.quote["deadline_s"]),
                created_ms=row.created_ms,
            )
        )


def _alter() -> None:
    for column in _new_order_columns():
        op.add_column("orders", column)
    op.alter_column("orders", "plan_id", existing_type=sa.String(length=64), nullable=True)
    for name, condition in _CHECKS.items():
        op.create_check_constraint(op.f(f"ck_orders_{name}"), "orders", condition)
    op.add_column("reservations", sa.Column("order_id", _id(), nullable=True))
    op.alter_column("reservations", "plan_id", existing_type=sa.String(length=64), nullable=True)
    op.create_foreign_key(op.f("fk_reservations_order_id"), "reservations", "orders", ["order_id"], ["id"])
    op.create_unique_constraint(op.f("uq_reservations_order_id_asset"), "reservations", ["order_id", "asset"])
    op.create_check_constraint(op.f("ck_reservations_one_holder"), "reservations", _ONE_HOLDER)


_ONE_HOLDER = "(plan_id IS NULL) <> (order_id IS NULL)"


def _rewrite() -> None:
    op.execute("PRAGMA defer_foreign_keys = ON")
    op.execute("CREATE TABLE orders_before AS SELECT * FROM orders")
    op.execute("CREATE TABLE reservations_before AS SELECT * FROM reservations")
    op.drop_table("reservations")
    op.drop_table("orders")
    op.create_table(
        "orders",
        sa.Column("id", _id(), nullable=False),
        sa.Column("account_id", _id(), nullable=False),
        sa.Column("wallet_id", _id(), nullable=False),
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("client_id", sa.String(length=64), nullable=False),
        sa.Column("params_hash", Hash32(), nullable=False),
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("market", sa.String(length=48), nullable=False),
        sa.Column("base_asset", sa.String(length=96), nullable=False),
        sa.Column("quote_asset", sa.String(length=96), nullable=False),
        sa.Column("side", sa.String(length=4), nullable=False),
        sa.Column("type", sa.String(length=24), nullable=False),
        sa.Column("base_amount", U256(), nullable=True),
        sa.Column("quote_amount", U256(), nullable=True),
        sa.Column("slippage_bps", sa.Integer(), nullable=False),
        sa.Column("max_sold", U256(), nullable=False),
        sa.Column("min_bought", U256(), nullable=False),
        sa.Column("quote", Json(), nullable=False),
        sa.Column("plan_id", sa.String(length=64), nullable=True),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("filled_base", U256(), nullable=False),
        sa.Column("filled_quote", U256(), nullable=False),
        sa.Column("gas_wei", U256(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        *_new_order_columns(),
        sa.CheckConstraint("side IN ('buy', 'sell')", name=op.f("ck_orders_side")),
        sa.CheckConstraint(
            "state IN ('NEW', 'PARTIALLY_FILLED', 'FILLED', 'CANCELED', 'REJECTED', 'EXPIRED')",
            name=op.f("ck_orders_state"),
        ),
        sa.CheckConstraint("(base_amount IS NULL) <> (quote_amount IS NULL)", name=op.f("ck_orders_one_amount")),
        *(sa.CheckConstraint(condition, name=op.f(f"ck_orders_{name}")) for name, condition in _CHECKS.items()),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_orders_account_id")),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.id"], name=op.f("fk_orders_key_id")),
        sa.ForeignKeyConstraint(["plan_id"], ["plans.id"], name=op.f("fk_orders_plan_id")),
        sa.ForeignKeyConstraint(["wallet_id"], ["wallets.id"], name=op.f("fk_orders_wallet_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_orders")),
        sa.UniqueConstraint("account_id", "client_id", name=op.f("uq_orders_account_id_client_id")),
        sa.UniqueConstraint("plan_id", name=op.f("uq_orders_plan_id")),
    )
    op.create_index("ix_orders_account", "orders", ["account_id", "id"], unique=False)
    op.create_table(
        "reservations",
        sa.Column("id", _id(), nullable=False),
        sa.Column("account_id", _id(), nullable=False),
        sa.Column("wallet_id", _id(), nullable=False),
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("asset", sa.String(length=96), nullable=False),
        sa.Column("raw", U256(), nullable=False),
        sa.Column("plan_id", sa.String(length=64), nullable=True),
        sa.Column("order_id", _id(), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("released_ms", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(_ONE_HOLDER, name=op.f("ck_reservations_one_holder")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_reservations_account_id")),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk_reservations_order_id")),
        sa.ForeignKeyConstraint(["plan_id"], ["plans.id"], name=op.f("fk_reservations_plan_id")),
        sa.ForeignKeyConstraint(["wallet_id"], ["wallets.id"], name=op.f("fk_reservations_wallet_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reservations")),
        sa.UniqueConstraint("order_id", "asset", name=op.f("uq_reservations_order_id_asset")),
        sa.UniqueConstraint("plan_id", "asset", name=op.f("uq_reservations_plan_id_asset")),
    )
    op.create_index(
        "ix_reservations_held",
        "reservations",
        ["wallet_id", "asset"],
        unique=False,
        sqlite_where=_HELD,
        postgresql_where=_HELD,
    )
    op.execute(f"INSERT INTO orders ({_ORDERS}) SELECT {_ORDERS} FROM orders_before")
    op.execute(f"INSERT INTO reservations ({_RESERVATIONS}) SELECT {_RESERVATIONS} FROM reservations_before")
    op.drop_table("orders_before")
    op.drop_table("reservations_before")


def _new_order_columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("time_in_force", sa.String(length=8), nullable=True),
        sa.Column("price", RatioText(), nullable=True),
        sa.Column("price_text", sa.String(length=64), nullable=True),
        sa.Column("stop_price", RatioText(), nullable=True),
        sa.Column("stop_price_text", sa.String(length=64), nullable=True),
        sa.Column("count_gas", sa.Boolean(), nullable=True),
        sa.Column("max_price_impact_bps", sa.Integer(), nullable=True),
        sa.Column("venue", sa.String(length=24), nullable=True),
        sa.Column("expires_ms", sa.BigInteger(), nullable=True),
        sa.Column("triggered_ms", sa.BigInteger(), nullable=True),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("retry_after_ms", sa.BigInteger(), nullable=True),
    ]


def _id() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _orders_of_before() -> sa.TableClause:
    return sa.table(
        "orders",
        sa.column("id", _id()),
        sa.column("plan_id", sa.String()),
        sa.column("max_sold", U256()),
        sa.column("min_bought", U256()),
        sa.column("quote", Json()),
        sa.column("created_ms", sa.BigInteger()),
    )


def _order_plans() -> sa.TableClause:
    return sa.table(
        "order_plans",
        sa.column("plan_id", sa.String()),
        sa.column("order_id", _id()),
        sa.column("max_sold", U256()),
        sa.column("min_bought", U256()),
        sa.column("deadline_s", sa.BigInteger()),
        sa.column("created_ms", sa.BigInteger()),
    )
