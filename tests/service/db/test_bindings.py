"""Which chain a database belongs to, when several processes start on it at once, and when its row makes no sense."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import Connection

from chains.types import BlockHash, BlockRef
from service.db.bindings import Binding, bind, binding
from service.db.engine import Database
from service.db.errors import WrongDatabase
from tests.service.books_seed import ETHEREUM, NOW_MS
from tests.service.orders.tampering import write

FIRST = Binding(
    chain_id=ETHEREUM,
    genesis_hash=BlockHash("0x" + "11" * 32),
    checkpoint=BlockRef(number=7, hash=BlockHash("0x" + "22" * 32)),
)
LATER = replace(FIRST, checkpoint=BlockRef(number=8, hash=BlockHash("0x" + "33" * 32)))


async def test_of_processes_that_start_together_the_first_binds_and_all_are_told_the_same(db: Database) -> None:
    asked = [FIRST, LATER] * 4

    def binds(one: Binding) -> Callable[[Connection], Binding]:
        return lambda c: bind(c, one, now_ms=NOW_MS)

    told = await asyncio.gather(*(db.run(binds(one)) for one in asked))
    stored = await db.read(lambda c: binding(c, ETHEREUM))
    assert stored in (FIRST, LATER)
    assert set(told) == {stored}


async def test_a_binding_that_makes_no_sense_is_a_clear_refusal(sqlite_db: Database, sqlite_url: str) -> None:
    await sqlite_db.run(lambda c: bind(c, FIRST, now_ms=NOW_MS))
    write(sqlite_url, "UPDATE chain_bindings SET genesis_hash = 4611686018427387904")
    with pytest.raises(WrongDatabase, match="makes no sense"):
        await sqlite_db.read(lambda c: binding(c, ETHEREUM))
