"""what calls were worth

Revision 0016, after 0015.
"""

import sqlalchemy as sa
from alembic import op

from service.db.types import U256

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("transactions", sa.Column("usd", U256(), nullable=True))
