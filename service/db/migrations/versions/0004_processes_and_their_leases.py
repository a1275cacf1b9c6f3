"""processes and their leases

Revision 0004, after 0003.
"""

import sqlalchemy as sa
from alembic import op

from service.db.types import Json

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "processes",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("wallets", Json(), nullable=False),
        sa.Column("started_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_processes")),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(length=96), nullable=False),
        sa.Column("process_id", sa.String(length=64), nullable=True),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("taken_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["process_id"], ["processes.id"], name=op.f("fk_leases_process_id")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    op.create_index("ix_leases_process_id", "leases", ["process_id"], unique=False)
    op.create_table(
        "process_beats",
        sa.Column("process_id", sa.String(length=64), nullable=False),
        sa.Column("beat", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["process_id"], ["processes.id"], name=op.f("fk_process_beats_process_id")),
        sa.PrimaryKeyConstraint("process_id", name=op.f("pk_process_beats")),
    )
    op.drop_column("lanes", "lease_owner")
    op.drop_column("lanes", "fence")
    op.drop_column("lanes", "lease_until_ms")
