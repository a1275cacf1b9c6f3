"""MACs over rows."""

from typing import Any

import pytest
from sqlalchemy import Column, Integer, LargeBinary, MetaData, String, Table

from service.auth import authority
from service.auth.authority import Tampered
from service.auth.secrets import MasterKey
from service.db.models import NOT_IN_MAC_WHEN_NULL

MASTER = MasterKey(bytes(32))


def table(name: str = "keys", *more: str) -> Table:
    columns = [Column(column, Integer) for column in ("a", "b", *more)]
    return Table(name, MetaData(), Column("id", String), *columns, Column("mac", LargeBinary))


ROW: dict[str, Any] = {"id": "k", "a": 1, "b": None}


def verify(row: dict[str, Any], name: str = "keys", *, seen_as: dict[str, Any] | None = None) -> None:
    authority.verify(MASTER, table(name), (seen_as or row) | {"mac": authority.mac(MASTER, table(), row)})


def test_a_row_verifies_as_it_was_written() -> None:
    verify(ROW)


@pytest.mark.parametrize(
    "change",
    [
        {"id": "l"},
        {"a": 2},
        {"a": True},
        {"a": "1"},
        {"a": None},
        {"a": b"1"},
        {"b": 0},
        {"b": ""},
        {"a": None, "b": 1},
    ],
)
def test_any_changed_column_is_refused(change: dict[str, Any]) -> None:
    """F79"""
    with pytest.raises(Tampered, match="keys"):
        verify(ROW, seen_as=ROW | change)


def test_a_row_of_another_table_is_refused() -> None:
    """F79"""
    with pytest.raises(Tampered):
        verify(ROW, "wallets")


def test_another_master_key_refuses_it() -> None:
    with pytest.raises(Tampered):
        authority.verify(MasterKey(), table(), ROW | {"mac": authority.mac(MASTER, table(), ROW)})


def test_the_order_of_columns_and_of_names_in_json_does_not_matter() -> None:
    other = Table(
        "keys", MetaData(), Column("b", Integer), Column("mac", LargeBinary), Column("a", Integer), Column("id")
    )
    row = ROW | {"a": {"x": 1, "y": 2}}
    assert authority.mac(MASTER, table(), row) == authority.mac(MASTER, other, ROW | {"a": {"y": 2, "x": 1}})


def test_a_row_without_a_column_has_no_mac() -> None:
    with pytest.raises(KeyError):
        authority.mac(MASTER, table("keys", "c"), ROW)


def test_the_mac_stays_what_it_is() -> None:
    # Golden: another encoding would refuse every stored row.
    assert (
        authority.mac(MASTER, table(), ROW).hex() == "196eb4f4ccf95901461d9a37ea9c8271164ef4fe49b5cf61f2ca42acbba12e83"
    )


def test_a_column_that_came_later_is_not_in_the_mac_of_rows_from_before_and_cannot_be_set_or_cleared() -> None:
    later = table("keys", "c")
    later.columns["c"].info[NOT_IN_MAC_WHEN_NULL] = True
    before, limited = authority.mac(MASTER, table(), ROW), authority.mac(MASTER, later, ROW | {"c": 1})
    assert authority.mac(MASTER, later, ROW | {"c": None}) == before
    for row in (ROW | {"c": 1, "mac": before}, ROW | {"c": None, "mac": limited}, ROW | {"c": 2, "mac": limited}):
        with pytest.raises(Tampered):
            authority.verify(MASTER, later, row)
