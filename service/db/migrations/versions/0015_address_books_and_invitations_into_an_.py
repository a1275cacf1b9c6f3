"""address books and invitations into an account

Revision 0015, after 0014. Invitations of before are into no account.
"""

import sqlalchemy as sa
from alembic import op

from service.db.types import Addr

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "book_entries",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("address", Addr(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("is_contract", sa.Boolean(), nullable=False),
        sa.Column("added_by", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("in_force_ms", sa.BigInteger(), nullable=False),
        sa.Column("removed_ms", sa.BigInteger(), nullable=True),
        sa.Column("mac", sa.LargeBinary(length=32), nullable=False),
        sa.CheckConstraint("in_force_ms >= created_ms", name=op.f("ck_book_entries_cooling")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_book_entries_account_id")),
        sa.ForeignKeyConstraint(["added_by"], ["users.id"], name=op.f("fk_book_entries_added_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_book_entries")),
    )
    op.create_index(
        "uq_book_entries_address",
        "book_entries",
        ["account_id", "chain_id", "address"],
        unique=True,
        sqlite_where=sa.text("removed_ms IS NULL"),
        postgresql_where=sa.text("removed_ms IS NULL"),
    )
    op.create_index(
        "uq_book_entries_name",
        "book_entries",
        ["account_id", "chain_id", "name"],
        unique=True,
        sqlite_where=sa.text("removed_ms IS NULL"),
        postgresql_where=sa.text("removed_ms IS NULL"),
    )
    op.create_table(
        "book_rules",
        sa.Column(
            "account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("cooling_ms", sa.BigInteger(), nullable=False),
        sa.Column("next_cooling_ms", sa.BigInteger(), nullable=True),
        sa.Column("next_from_ms", sa.BigInteger(), nullable=True),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
        sa.Column("mac", sa.LargeBinary(length=32), nullable=False),
        sa.CheckConstraint("(next_cooling_ms IS NULL) = (next_from_ms IS NULL)", name=op.f("ck_book_rules_next")),
        sa.CheckConstraint(
            "next_cooling_ms IS NULL OR next_cooling_ms < cooling_ms", name=op.f("ck_book_rules_shorter")
        ),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_book_rules_account_id")),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_book_rules")),
    )
    op.add_column(
        "invitations", sa.Column("account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True)
    )
    op.add_column("invitations", sa.Column("role", sa.String(length=16), nullable=True))
    op.add_column(
        "invitations", sa.Column("invited_by", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True)
    )
