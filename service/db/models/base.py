"""What the tables share: names of constraints, ids, and the states of a column."""

from collections.abc import Iterable
from typing import Final

from sqlalchemy import BigInteger, Integer, MetaData

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

NOT_IN_MAC_WHEN_NULL: Final = "not_in_mac_when_null"
"""Marks a column that came after rows with a MAC: null in it is as if it were not there."""
NOT_IN_MAC: Final = "not_in_mac"
"""Marks a column that a row's MAC leaves out: it shows what became of something, and decides nothing."""

Id: Final = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite gives row ids only to a column declared INTEGER."""


def one_of(column: str, values: Iterable[str]) -> str:
    """The condition that a column has one of those values."""
    return f"{column} IN ({', '.join(repr(str(v)) for v in values)})"
