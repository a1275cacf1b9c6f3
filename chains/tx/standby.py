"""A chain as seen by a process that does not confirm there: enough to place and replace, nothing is written.

Another process holds the chain's lease and moves the cursor; this one looks for itself whether the cursor's block is
still canonical, since what it is about to sign rests on that as well; and whether the chain is frozen.

Guarantees: as `Confirmer` for `head`, `known`, `checked` and `frozen`.
Not guaranteed: that anything is confirmed meanwhile.
"""

from typing import Generic, TypeVar

from chains.headstate import KnownHead
from chains.tx.context import EngineParts
from chains.types import Header

U = TypeVar("U")


class Bystander(Generic[U]):
    """`round` is to be called by one task only."""

    def __init__(self, parts: EngineParts[U]) -> None:
        self._parts = parts
        self.frozen = False
        self.checked = False
        self.head: Header | None = None
        self.known: KnownHead | None = None

    async def round(self) -> bool:
        """Look at the head and at the cursor's block. Always True. Raises: RpcError: call again."""
        parts, chain_id = self._parts, self._parts.config.chain_id
        polled_s = parts.clock.monotonic_s()
        self.head = await parts.client.head()
        self.known = KnownHead(header=self.head, polled_s=polled_s)
        cursor, reason = await parts.uow.read(
            lambda u: (parts.store.cursor(u, chain_id), parts.heads.frozen(u, chain_id))
        )
        self.frozen = reason is not None
        if not self.frozen and cursor is not None and cursor.number <= self.head.number:
            [there] = await parts.client.headers([cursor.number])
            self.frozen = there is None or there.ref != cursor
        self.checked = True
        return True
