"""pauses, and what is asked of and noted about a slot

Revision 0002, after 0001.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pauses",
        sa.Column("scope", sa.String(length=8), nullable=False),
        sa.Column("subject", sa.String(length=80), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("since_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("(scope = 'all') = (subject = '')", name=op.f("ck_pauses_subject")),
        sa.CheckConstraint("scope IN ('all', 'chain', 'wallet', 'key')", name=op.f("ck_pauses_scope")),
        sa.PrimaryKeyConstraint("scope", "subject", name=op.f("pk_pauses")),
    )
    op.create_table(
        "tx_notes",
        sa.Column("tx_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["tx_id"], ["txs.id"], name=op.f("fk_tx_notes_tx_id")),
        sa.PrimaryKeyConstraint("tx_id", name=op.f("pk_tx_notes")),
    )
    op.create_table(
        "tx_wishes",
        sa.Column("tx_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("wish", sa.String(length=8), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("asked_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("wish IN ('bump', 'cancel')", name=op.f("ck_tx_wishes_wish")),
        sa.ForeignKeyConstraint(["tx_id"], ["txs.id"], name=op.f("fk_tx_wishes_tx_id")),
        sa.PrimaryKeyConstraint("tx_id", name=op.f("pk_tx_wishes")),
    )
