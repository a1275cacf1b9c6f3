"""what of rate limits is leased

Revision 0013, after 0012.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "rate_leases",
        sa.Column("window_ms", sa.BigInteger(), nullable=False),
        sa.Column("limit", sa.String(length=16), nullable=False),
        sa.Column("client", sa.String(length=80), nullable=False),
        sa.Column("leased", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("window_ms", "limit", "client", name=op.f("pk_rate_leases")),
    )
