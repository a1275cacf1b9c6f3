"""The followers' stores over SQL: the newest blocks of each chain, its finalized block, and freezes.

Guarantees: a change that does not fit what is stored raises `StaleState`, and so the unit of work around it leaves
nothing; the kept blocks of a chain have no gap; a change of one block is a few statements, however many are kept.
Not guaranteed: durability and isolation, which are the unit of work's.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, Table, delete, insert, select

from chains.headstate import changed
from chains.types import BlockHash, BlockRef, ChainId
from service.db import models as m

_FINAL = m.finalized_blocks
_FREEZES = m.chain_freezes


class SqlBlocks:
    """The kept blocks of a `BlockStore[Connection]`, in a table of chain_id, number and hash."""

    def __init__(self, table: Table) -> None:
        self._table: Final = table

    def chain(self, uow: Connection, chain_id: ChainId) -> Sequence[BlockRef]:
        return self._from(uow, chain_id, 0)

    def change(
        self,
        uow: Connection,
        chain_id: ChainId,
        *,
        removed: Sequence[BlockRef],
        added: Sequence[BlockRef],
        keep: int,
    ) -> None:
        newest = self._newest(uow, chain_id)
        # Only the end that changes is looked at, and one block below it.
        first = newest - len(removed)
        end = changed(self._from(uow, chain_id, first), removed=removed, added=added, keep=keep + 1)
        if removed:
            uow.execute(delete(self._table).where(self._table.c.chain_id == chain_id, self._table.c.number > first))
        if added:
            rows = [{"chain_id": chain_id, "number": block.number, "hash": block.hash} for block in added[-keep:]]
            uow.execute(insert(self._table), rows)
        if end:
            too_old = self._table.c.number <= end[-1].number - keep
            uow.execute(delete(self._table).where(self._table.c.chain_id == chain_id, too_old))

    def drop_blocks(self, uow: Connection, chain_id: ChainId) -> None:
        uow.execute(delete(self._table).where(self._table.c.chain_id == chain_id))

    def _from(self, uow: Connection, chain_id: ChainId, first: int) -> list[BlockRef]:
        rows = uow.execute(
            select(self._table.c.number, self._table.c.hash)
            .where(self._table.c.chain_id == chain_id, self._table.c.number >= first)
            .order_by(self._table.c.number)
        )
        return [BlockRef(number=row.number, hash=BlockHash(row.hash)) for row in rows]

    def _newest(self, uow: Connection, chain_id: ChainId) -> int:
        """Height of the newest block kept; 0 where there is none."""
        found = uow.execute(
            select(self._table.c.number)
            .where(self._table.c.chain_id == chain_id)
            .order_by(self._table.c.number.desc())
            .limit(1)
        ).scalar_one_or_none()
        return 0 if found is None else int(found)


class SqlHeadStore(SqlBlocks):
    """`HeadStore[Connection]`; what each method promises is said there. Holds no state of its own."""

    def __init__(self) -> None:
        super().__init__(m.canonical_blocks)

    def finalized(self, uow: Connection, chain_id: ChainId) -> BlockRef | None:
        columns = (_FINAL.c.number, _FINAL.c.hash)
        row = uow.execute(select(*columns).where(_FINAL.c.chain_id == chain_id)).one_or_none()
        return None if row is None else BlockRef(number=row.number, hash=BlockHash(row.hash))

    def set_finalized(self, uow: Connection, chain_id: ChainId, block: BlockRef | None) -> None:
        uow.execute(delete(_FINAL).where(_FINAL.c.chain_id == chain_id))
        if block is not None:
            uow.execute(insert(_FINAL).values(chain_id=chain_id, number=block.number, hash=block.hash))

    def frozen(self, uow: Connection, chain_id: ChainId) -> str | None:
        found = uow.execute(select(_FREEZES.c.reason).where(_FREEZES.c.chain_id == chain_id)).scalar_one_or_none()
        return None if found is None else str(found)

    def freeze(self, uow: Connection, chain_id: ChainId, reason: str, *, now_ms: int) -> None:
        if self.frozen(uow, chain_id) is None:
            uow.execute(insert(_FREEZES).values(chain_id=chain_id, reason=reason, since_ms=now_ms))

    def thaw(self, uow: Connection, chain_id: ChainId) -> bool:
        if uow.execute(delete(_FREEZES).where(_FREEZES.c.chain_id == chain_id)).rowcount == 0:
            return False
        for table in (self._table, _FINAL, m.chain_cursors):
            uow.execute(delete(table).where(table.c.chain_id == chain_id))
        return True
