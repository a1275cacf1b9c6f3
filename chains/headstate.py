"""What is told about a chain's blocks and what is kept of them: events, steps, the stores' Protocols.

Guarantees: plain values and pure functions; a kept chain has no gap. What the events promise is said in chains.heads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from chains.tx.store import StaleState
from chains.types import BlockRef, ChainId, Header

U_contra = TypeVar("U_contra", contravariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """A block joined the canonical chain."""

    header: Header


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """A block that had been added left the canonical chain."""

    block: BlockRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """The blocks after `after`, which is canonical, up to the next Added one are not told one by one."""

    after: BlockRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Finalized:
    """The chain's final block moved up to this one of ours."""

    block: BlockRef


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalityViolated:
    """A block that the chain had called final is another one now, or gone (`now` None). Nothing may be paid out on."""

    was: BlockRef
    now: BlockRef | None


HeadEvent = Added | Removed | Skipped | Finalized | FinalityViolated


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadStep:
    """What happened between the committed tip `base` (None at the very start) and `head`; maybe nothing."""

    base: BlockRef | None
    head: Header
    events: tuple[HeadEvent, ...]
    chain: tuple[BlockRef, ...]
    """The canonical blocks known once this is committed, oldest first, without a gap; the last one is `head`."""
    final: BlockRef | None
    """The newest final block once this is committed."""
    polled_s: float
    """Monotonic time at which the node was asked."""

    @property
    def removed(self) -> tuple[BlockRef, ...]:
        return tuple(event.block for event in self.events if isinstance(event, Removed))

    @property
    def added(self) -> tuple[BlockRef, ...]:
        return tuple(event.header.ref for event in self.events if isinstance(event, Added))

    @property
    def violation(self) -> FinalityViolated | None:
        return next((event for event in self.events if isinstance(event, FinalityViolated)), None)

    @property
    def is_skipping(self) -> bool:
        return any(isinstance(event, Skipped) for event in self.events)

    def at(self, number: int) -> BlockRef | None:
        """The canonical block at this height, None if it is not among those known."""
        return block_at(self.chain, number)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownHead:
    """The newest head that was worked off, and the monotonic time of the poll that last showed it."""

    header: Header
    polled_s: float


class BlockStore(Protocol[U_contra]):
    """Durable blocks of chains: what a follower needs. Every method runs inside the caller's unit of work."""

    def chain(self, uow: U_contra, chain_id: ChainId) -> Sequence[BlockRef]:
        """The kept blocks, oldest first, without a gap."""
        ...

    def change(
        self,
        uow: U_contra,
        chain_id: ChainId,
        *,
        removed: Sequence[BlockRef],
        added: Sequence[BlockRef],
        keep: int,
    ) -> None:
        """Take `removed` (newest first) off the end, put `added` (oldest first) there, drop all but the newest `keep`.

        Raises: StaleState: `removed` is not the end of what is stored, or `added` does not follow it.
        """
        ...

    def drop_blocks(self, uow: U_contra, chain_id: ChainId) -> None:
        """Keep no block, so that the next one added may be any. The finalized block stays."""
        ...

    def finalized(self, uow: U_contra, chain_id: ChainId) -> BlockRef | None: ...

    def set_finalized(self, uow: U_contra, chain_id: ChainId, block: BlockRef | None) -> None: ...


class HeadStore(BlockStore[U_contra], Protocol[U_contra]):
    """The same with freezes: durable state of chains as the engine has it."""

    def frozen(self, uow: U_contra, chain_id: ChainId) -> str | None:
        """Why nothing may move on this chain, as "code: text"; None when it may."""
        ...

    def freeze(self, uow: U_contra, chain_id: ChainId, reason: str, *, now_ms: int) -> None:
        """Freeze the chain until a person thaws it; all its lanes are held by that. The first reason stays."""
        ...

    def thaw(self, uow: U_contra, chain_id: ChainId) -> bool:
        """A person looked: go on with the chain as it is now. False if it is not frozen.

        Kept blocks, finalized block and the engine's cursor are forgotten, being those of the chain before.
        """
        ...


def changed(
    chain: Sequence[BlockRef], *, removed: Sequence[BlockRef], added: Sequence[BlockRef], keep: int
) -> list[BlockRef]:
    """The chain after a change, as `HeadStore.change` defines it. Raises: StaleState."""
    left = list(chain)
    for block in removed:
        if not left or left.pop() != block:
            raise StaleState("the removed blocks are not the newest ones stored")
    for block in added:
        if left and block.number != left[-1].number + 1:
            raise StaleState("the added blocks do not follow the stored ones")
        left.append(block)
    return left[-keep:]


def block_at(chain: Sequence[BlockRef], number: int) -> BlockRef | None:
    """The block at this height of a chain without a gap, oldest first."""
    index = number - chain[0].number if chain else -1
    return chain[index] if 0 <= index < len(chain) else None
