"""orders and tries have MACs

Revision 0017, after 0016.
"""

import sqlalchemy as sa
from alembic import op

from service.db.types import Hash32

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("order_plans", sa.Column("number", sa.Integer(), nullable=True))
    op.add_column("order_plans", sa.Column("calls_hash", Hash32(), nullable=True))
    op.add_column("order_plans", sa.Column("mac", sa.LargeBinary(length=32), nullable=True))
    op.create_index("uq_order_plans_order_id_number", "order_plans", ["order_id", "number"], unique=True)
    op.add_column("orders", sa.Column("mac", sa.LargeBinary(length=32), nullable=True))
    op.add_column("transactions", sa.Column("calls_hash", Hash32(), nullable=True))
