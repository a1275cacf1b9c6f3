"""A cooling time that was made longer is taken back.

Revision 0020, after 0019.
"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("book_rules", sa.Column("before_ms", sa.BigInteger(), nullable=True))
    op.add_column("book_rules", sa.Column("before_until_ms", sa.BigInteger(), nullable=True))
