"""clearances end with their withdrawals

Revision 0019, after 0018.
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("clearances", sa.Column("ended_ms", sa.BigInteger(), nullable=True))
