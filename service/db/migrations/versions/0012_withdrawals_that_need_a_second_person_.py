"""Withdrawals that need a second person, amounts gross, and fee bounds

Revision 0012, after 0011.
"""

import sqlalchemy as sa
from alembic import op

from service.db.types import U256, Hash32, Json

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "approval_policies",
        sa.Column(
            "account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("rules", Json(), nullable=False),
        sa.Column("next_rules", Json(), nullable=True),
        sa.Column("next_from_ms", sa.BigInteger(), nullable=True),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
        sa.Column("changed_by", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("mac", sa.LargeBinary(length=32), nullable=False),
        sa.CheckConstraint("(next_rules IS NULL) = (next_from_ms IS NULL)", name=op.f("ck_approval_policies_next")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_approval_policies_account_id")),
        sa.ForeignKeyConstraint(["changed_by"], ["users.id"], name=op.f("fk_approval_policies_changed_by")),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_approval_policies")),
    )
    op.create_table(
        "clearances",
        sa.Column(
            "withdrawal_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("binding", Hash32(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("why", sa.String(length=16), nullable=True),
        sa.Column("usd", U256(), nullable=True),
        sa.Column("requester_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=True),
        sa.Column("decided_ms", sa.BigInteger(), nullable=True),
        sa.Column("decider_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("decided_with", sa.String(length=80), nullable=True),
        sa.Column("mac", sa.LargeBinary(length=32), nullable=False),
        sa.CheckConstraint("(state = 'clear') = (why IS NULL)", name=op.f("ck_clearances_why")),
        sa.CheckConstraint(
            "(state IN ('approved', 'rejected')) = (decider_id IS NOT NULL)", name=op.f("ck_clearances_decider")
        ),
        sa.CheckConstraint("state IN ('clear', 'pending', 'approved', 'rejected')", name=op.f("ck_clearances_state")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_clearances_account_id")),
        sa.ForeignKeyConstraint(["decider_id"], ["users.id"], name=op.f("fk_clearances_decider_id")),
        sa.ForeignKeyConstraint(["requester_id"], ["users.id"], name=op.f("fk_clearances_requester_id")),
        sa.ForeignKeyConstraint(["withdrawal_id"], ["withdrawals.id"], name=op.f("fk_clearances_withdrawal_id")),
        sa.PrimaryKeyConstraint("withdrawal_id", name=op.f("pk_clearances")),
    )
    op.create_index("ix_clearances_account", "clearances", ["account_id", "created_ms"], unique=False)
    op.create_index(
        "ix_clearances_pending",
        "clearances",
        ["expires_ms"],
        unique=False,
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.add_column("intents", sa.Column("max_gas_cost_wei", U256(), nullable=True))
    op.add_column("withdrawals", sa.Column("amount_is", sa.String(length=8), server_default="net", nullable=False))
    op.add_column("withdrawals", sa.Column("gas_limit", sa.BigInteger(), nullable=True))
    op.add_column("withdrawals", sa.Column("max_fee_wei", U256(), nullable=True))
