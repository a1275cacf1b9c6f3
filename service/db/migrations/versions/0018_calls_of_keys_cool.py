"""Calls of keys cool; the destinations of an account's withdrawals are found by an index.

Revision 0018, after 0017.
"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("calls_from_ms", sa.BigInteger(), nullable=True))
    op.create_index("ix_withdrawals_destination", "withdrawals", ["account_id", "destination"], unique=False)
