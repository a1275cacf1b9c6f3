"""transactions besides orders and withdrawals

Revision 0014, after 0013.
"""

import sqlalchemy as sa
from alembic import op

from service.db.types import U256, Addr, Hash32, Json

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "transactions",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("wallet_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("client_id", sa.String(length=64), nullable=False),
        sa.Column("params_hash", Hash32(), nullable=False),
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("contract", Addr(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("value_wei", U256(), nullable=False),
        sa.Column("asset", sa.String(length=96), nullable=True),
        sa.Column("amount", U256(), nullable=True),
        sa.Column("spender", Addr(), nullable=True),
        sa.Column("function", sa.Text(), nullable=True),
        sa.Column("approvals", Json(), nullable=True),
        sa.Column("max_out", Json(), nullable=True),
        sa.Column("plan_id", sa.String(length=64), nullable=False),
        sa.Column("asked_mac", sa.LargeBinary(length=32), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("tx_hash", Hash32(), nullable=True),
        sa.Column("moved", Json(), nullable=True),
        sa.Column("gas_wei", U256(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("(kind = 'contract') = (function IS NOT NULL)", name=op.f("ck_transactions_contract")),
        sa.CheckConstraint("(kind = 'revoke') = (spender IS NOT NULL)", name=op.f("ck_transactions_revoke")),
        sa.CheckConstraint("(kind IN ('wrap', 'unwrap')) = (amount IS NOT NULL)", name=op.f("ck_transactions_amount")),
        sa.CheckConstraint("kind IN ('wrap', 'unwrap', 'revoke', 'contract')", name=op.f("ck_transactions_kind")),
        sa.CheckConstraint(
            "state IN ('processing', 'sent', 'confirmed', 'final', 'rejected', 'cancelled', 'failed', 'unknown')",
            name=op.f("ck_transactions_state"),
        ),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_transactions_account_id")),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.id"], name=op.f("fk_transactions_key_id")),
        sa.ForeignKeyConstraint(["plan_id"], ["plans.id"], name=op.f("fk_transactions_plan_id")),
        sa.ForeignKeyConstraint(["wallet_id"], ["wallets.id"], name=op.f("fk_transactions_wallet_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transactions")),
        sa.UniqueConstraint("account_id", "kind", "client_id", name=op.f("uq_transactions_account_id_kind_client_id")),
        sa.UniqueConstraint("plan_id", name=op.f("uq_transactions_plan_id")),
    )
    op.create_index("ix_transactions_wallet", "transactions", ["wallet_id", "id"], unique=False)
