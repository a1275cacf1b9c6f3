"""The follower's store in memory, in the same state as the engine's, so that one unit of work covers both.

Guarantees and limits: those of chains.tx.memory.
"""

from collections.abc import Sequence

from chains.headstate import changed
from chains.tx.memory import MemoryState
from chains.types import BlockRef, ChainId


class MemoryHeadStore:
    """`HeadStore[MemoryState]`; what each method promises is said there."""

    def chain(self, uow: MemoryState, chain_id: ChainId) -> Sequence[BlockRef]:
        return uow.blocks.get(chain_id, ())

    def change(
        self,
        uow: MemoryState,
        chain_id: ChainId,
        *,
        removed: Sequence[BlockRef],
        added: Sequence[BlockRef],
        keep: int,
    ) -> None:
        kept = self.chain(uow, chain_id)
        uow.blocks[chain_id] = tuple(changed(kept, removed=removed, added=added, keep=keep))

    def drop_blocks(self, uow: MemoryState, chain_id: ChainId) -> None:
        uow.blocks.pop(chain_id, None)

    def finalized(self, uow: MemoryState, chain_id: ChainId) -> BlockRef | None:
        return uow.finalized.get(chain_id)

    def set_finalized(self, uow: MemoryState, chain_id: ChainId, block: BlockRef | None) -> None:
        uow.finalized.pop(chain_id, None)
        if block is not None:
            uow.finalized[chain_id] = block

    def frozen(self, uow: MemoryState, chain_id: ChainId) -> str | None:
        return uow.freezes.get(chain_id)

    def freeze(self, uow: MemoryState, chain_id: ChainId, reason: str, *, now_ms: int) -> None:
        uow.freezes.setdefault(chain_id, reason)

    def thaw(self, uow: MemoryState, chain_id: ChainId) -> bool:
        if uow.freezes.pop(chain_id, None) is None:
            return False
        for table in (uow.blocks, uow.finalized, uow.cursors):
            table.pop(chain_id, None)
        return True
