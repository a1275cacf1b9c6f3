"""canonical blocks, and chains that are frozen

Revision 0003, after 0002.
"""

import sqlalchemy as sa
from alembic import op

from service.db.types import Hash32

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "canonical_blocks",
        sa.Column("chain_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", Hash32(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", "number", name=op.f("pk_canonical_blocks")),
    )
    op.create_table(
        "chain_freezes",
        sa.Column("chain_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("since_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", name=op.f("pk_chain_freezes")),
    )
    op.create_table(
        "finalized_blocks",
        sa.Column("chain_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("hash", Hash32(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", name=op.f("pk_finalized_blocks")),
    )
