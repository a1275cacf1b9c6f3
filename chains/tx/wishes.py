"""Noticing what another process asks for a slot: it leaves a row, and cannot wake this process's loops.

Guarantees: each wish is told once, at the first look after its commit. A look is one query whose answer has a row for
each unmined slot with a wish. Not guaranteed: that the wish is then granted; who tends the slots goes on trying.
"""

from collections.abc import Collection
from typing import Final, Generic, TypeVar

from chains.tx.context import EngineParts
from chains.tx.model import TxId, Wish

U = TypeVar("U")

WISH_POLL_MS: Final = 500
"""Between looks: a revoked key's self-sends are to leave within two seconds, signing and sending included."""


class WishWatch(Generic[U]):
    """Remembers which wishes of a chain were told."""

    def __init__(self, parts: EngineParts[U]) -> None:
        self._parts = parts
        self._told: Collection[tuple[TxId, Wish]] = frozenset()

    async def anything_new(self) -> bool:
        """A wish that was not there, or was a weaker one, at the last look."""
        store, chain_id = self._parts.store, self._parts.config.chain_id
        known, self._told = self._told, await self._parts.uow.read(lambda u: store.wishes(u, chain_id))
        return not set(self._told) <= set(known)
