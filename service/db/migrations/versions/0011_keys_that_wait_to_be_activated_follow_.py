"""keys that wait to be activated, follow one another, and end unused

Revision 0011, after 0010. Keys of before are in use, made by nobody who signs in, and not known to be unused.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "api_keys", sa.Column("made_by_user_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True)
    )
    op.add_column("api_keys", sa.Column("lapses_ms", sa.BigInteger(), nullable=True))
    op.add_column("api_keys", sa.Column("rotates_key_id", sa.String(length=64), nullable=True))
    op.add_column("api_keys", sa.Column("rotation_overlap_ms", sa.BigInteger(), nullable=True))
    op.add_column("api_keys", sa.Column("last_used_ms", sa.BigInteger(), nullable=True))
