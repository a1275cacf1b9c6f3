"""What was read, for as long as it is what would be read now.

Guarantees: a value is answered again only under the token that it was put in with, so that whatever could have changed
it belongs into the token: a block's hash, the second, the stamp of this process's commits (`service.db.changes`).
Without a token nothing is remembered. Bounded: those used longest ago go first.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

V = TypeVar("V")


class Memory(Generic[V]):
    """Used by one event loop."""

    def __init__(self, capacity: int) -> None:
        self._capacity: Final = capacity
        self._held: Final[OrderedDict[Hashable, tuple[Hashable, V]]] = OrderedDict()

    def get(self, key: Hashable, token: Hashable) -> V | None:
        found = self._held.get(key)
        if token is None or found is None or found[0] != token:
            return None
        self._held.move_to_end(key)
        return found[1]

    def put(self, key: Hashable, token: Hashable, value: V) -> None:
        if token is None:
            return
        self._held[key] = (token, value)
        self._held.move_to_end(key)
        if len(self._held) > self._capacity:
            self._held.popitem(last=False)
