"""bans hold in all processes and over restarts

Revision 0022, after 0021.
"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "rate_bans",
        sa.Column("client", sa.String(length=80), nullable=False),
        sa.Column("until_ms", sa.BigInteger(), nullable=False),
        sa.Column("length_s", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("client", name=op.f("pk_rate_bans")),
    )
    op.create_index(op.f("ix_rate_bans_until_ms"), "rate_bans", ["until_ms"], unique=False)
