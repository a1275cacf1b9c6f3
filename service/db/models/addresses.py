"""The address books of accounts (`service.addresses`)."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Table,
    text,
)

from service.db.models.base import NOT_IN_MAC_WHEN_NULL, Id, metadata
from service.db.types import Addr

_IN_BOOK: Final = text("removed_ms IS NULL")

book_entries: Final = Table(
    "book_entries",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", Id, ForeignKey("accounts.id"), nullable=False),
    Column("chain_id", BigInteger, nullable=False),
    Column("address", Addr, nullable=False),
    Column("name", String(64), nullable=False),
    Column("is_contract", Boolean, nullable=False),
    # Who added it; null: the operator on the host.
    Column("added_by", Id, ForeignKey("users.id"), nullable=True),
    Column("created_ms", BigInteger, nullable=False),
    # When its cooling ends. Fixed when it is added: nothing that changes later makes it earlier.
    Column("in_force_ms", BigInteger, nullable=False),
    # An entry that was removed stays as history; one that is added again is another row.
    Column("removed_ms", BigInteger, nullable=True),
    Column("mac", LargeBinary(32), nullable=False),
    CheckConstraint("in_force_ms >= created_ms", name="cooling"),
    # One entry an address, and one a name, of those that are in the book.
    Index(
        "uq_book_entries_address",
        "account_id",
        "chain_id",
        "address",
        unique=True,
        sqlite_where=_IN_BOOK,
        postgresql_where=_IN_BOOK,
    ),
    Index(
        "uq_book_entries_name",
        "account_id",
        "chain_id",
        "name",
        unique=True,
        sqlite_where=_IN_BOOK,
        postgresql_where=_IN_BOOK,
    ),
)

book_rules: Final = Table(
    "book_rules",
    metadata,
    # The cooling time of an account's book where it is not the default.
    Column("account_id", Id, ForeignKey("accounts.id"), primary_key=True, autoincrement=False),
    Column("cooling_ms", BigInteger, nullable=False),
    # A shorter one that waits, and when it comes in force.
    Column("next_cooling_ms", BigInteger, nullable=True),
    Column("next_from_ms", BigInteger, nullable=True),
    Column("changed_ms", BigInteger, nullable=False),
    # The one before it was made longer, and until when taking that back waits no longer than that one.
    Column("before_ms", BigInteger, nullable=True, info={NOT_IN_MAC_WHEN_NULL: True}),
    Column("before_until_ms", BigInteger, nullable=True, info={NOT_IN_MAC_WHEN_NULL: True}),
    Column("mac", LargeBinary(32), nullable=False),
    CheckConstraint("(next_cooling_ms IS NULL) = (next_from_ms IS NULL)", name="next"),
    CheckConstraint("next_cooling_ms IS NULL OR next_cooling_ms < cooling_ms", name="shorter"),
)
