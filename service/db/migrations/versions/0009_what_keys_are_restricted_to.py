"""what keys are restricted to

Revision 0009, after 0008. What they took of their limits came with 0007 already.
"""

import sqlalchemy as sa
from alembic import op

from service.db.types import Json

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("restrictions", Json(), nullable=True))
