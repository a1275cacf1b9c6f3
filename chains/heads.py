"""The canonical chain as the service knows it: blocks that came and went, in order, surviving restarts.

    poll -> HeadStep(events) -> commit (the caller's unit of work stores the consequences and the new chain together)

    events of a step:  FinalityViolated*  Removed* (newest first)  Added* (oldest first)  Finalized?

Polling is the truth; a hint (a WebSocket's newHeads) only makes the next poll come sooner, so that a silent, closed or
lying socket costs at most one poll interval.

Guarantees:
- every Added block's parent is the block before it, every Removed block had been Added, Removed comes before Added;
  gaps are filled by number with the same check;
- a step that was not committed comes again: events are delivered at least once, and exactly once to what is written in
  the unit of work that commits them;
- a node behind on our own chain removes nothing; memory is bounded by `keep` and `max_step`;
- a reorg deeper than what is kept raises `ReorgTooDeep`; one that reaches a finalized block is an event, told first.

Not guaranteed: that a block which came and went between two polls is ever seen.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar, Final, Generic, Protocol, TypeVar

from chains.errors import ChainError, Retry, RpcError
from chains.tx.store import StaleState, UnitOfWork
from chains.types import BlockHash, BlockRef, BlockTag, ChainId, Header

U = TypeVar("U")
U_contra = TypeVar("U_contra", contravariant=True)

CHUNK: Final = 100
"""Headers asked at once: the smallest batch limit of hosted nodes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """A block joined the canonical chain."""

    header: Header


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """A block that had been added left the canonical chain."""

    block: BlockRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Finalized:
    """The chain's `finalized` moved up to this block of ours."""

    block: BlockRef


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalityViolated:
    """A block that the chain had called final is another one now, or gone (`now` None). Nothing may be paid out on."""

    was: BlockRef
    now: BlockRef | None


HeadEvent = Added | Removed | Finalized | FinalityViolated


class ReorgTooDeep(ChainError):
    """No kept block is canonical any more. A person has to look before anything goes on."""

    retry: ClassVar[Retry] = "reconcile"

    def __init__(self, *, oldest: BlockRef, tip: BlockRef) -> None:
        super().__init__(f"none of the kept blocks {oldest.number} to {tip.number} is on the chain any more")
        self.oldest = oldest
        self.tip = tip


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadPolicy:
    """`keep` blocks are remembered: more than the deepest reorg to survive, and than `finalized` usually lags."""

    keep: int = 512
    """Polygon's deepest historical reorg had 187 blocks; Ethereum's `finalized` lags 64 to 96."""
    max_step: int = 500
    """Blocks added in one step: what a unit of work after a long downtime should hold."""
    use_finalized_tag: bool = True
    poll_s: float = 1.0

    def __post_init__(self) -> None:
        if self.keep < 2 or self.max_step < 1:
            raise ValueError("heads: keep must be at least 2 and max_step at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadStep:
    """What happened since the block `base` (None at the very start). `is_last`: the step reaches the node's head."""

    base: BlockRef | None
    events: tuple[HeadEvent, ...]
    is_last: bool = True

    @property
    def removed(self) -> tuple[BlockRef, ...]:
        return tuple(event.block for event in self.events if isinstance(event, Removed))

    @property
    def added(self) -> tuple[BlockRef, ...]:
        return tuple(event.header.ref for event in self.events if isinstance(event, Added))

    @property
    def finalized(self) -> BlockRef | None:
        return next((event.block for event in self.events if isinstance(event, Finalized)), None)


class HeadSource(Protocol):
    """Where headers come from; `EvmClient` is one."""

    async def header(self, block: int | BlockTag | BlockHash) -> Header | None: ...

    async def headers(self, numbers: Sequence[int]) -> Sequence[Header | None]: ...


class HeadStore(Protocol[U_contra]):
    """Durable chain of block references. Every method runs inside the caller's unit of work."""

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

    def finalized(self, uow: U_contra, chain_id: ChainId) -> BlockRef | None: ...

    def set_finalized(self, uow: U_contra, chain_id: ChainId, block: BlockRef | None) -> None: ...


class MemoryHeadStore:
    """`HeadStore` in memory, for any unit of work. What it holds is not rolled back with one."""

    def __init__(self) -> None:
        self._chains: dict[ChainId, list[BlockRef]] = {}
        self._finalized: dict[ChainId, BlockRef | None] = {}

    def chain(self, uow: object, chain_id: ChainId) -> Sequence[BlockRef]:
        return tuple(self._chains.get(chain_id, ()))

    def change(
        self, uow: object, chain_id: ChainId, *, removed: Sequence[BlockRef], added: Sequence[BlockRef], keep: int
    ) -> None:
        self._chains[chain_id] = changed(self._chains.get(chain_id, ()), removed=removed, added=added, keep=keep)

    def finalized(self, uow: object, chain_id: ChainId) -> BlockRef | None:
        return self._finalized.get(chain_id)

    def set_finalized(self, uow: object, chain_id: ChainId, block: BlockRef | None) -> None:
        self._finalized[chain_id] = block


class HeadFollower(Generic[U]):
    """Follows one chain. One consumer: a step has to be committed before the next one is made."""

    def __init__(
        self,
        source: HeadSource,
        *,
        chain_id: ChainId,
        store: HeadStore[U],
        uow: UnitOfWork[U],
        policy: HeadPolicy | None = None,
    ) -> None:
        self.policy = policy or HeadPolicy()
        self.last_error: RpcError | None = None
        """Of the newest poll; None when it succeeded."""
        self._source = source
        self._chain_id = chain_id
        self._store = store
        self._uow = uow
        self._chain: list[BlockRef] | None = None
        self._finalized: BlockRef | None = None
        self._woken = asyncio.Event()

    @property
    def tip(self) -> BlockRef | None:
        """The newest committed block, None before the first."""
        return self._chain[-1] if self._chain else None

    def wake(self) -> None:
        """Poll now."""
        self._woken.set()

    # -- by hand ------------------------------------------------------------------------------------------

    async def poll(self) -> HeadStep | None:
        """Look at the node once: what to commit, or None when there is nothing new.

        Raises:
            RpcError: the node gave no usable answer.
            ReorgTooDeep: no kept block is canonical.
        """
        chain = await self._loaded()
        head = await self._source.header("latest")
        if head is None:
            return None
        if not chain:
            events: list[HeadEvent] = [Added(header=head)]
            return HeadStep(base=None, events=(*events, *await self._finality(chain, [], [head])))
        if (moved := await self._moved(chain, head)) is None:
            return None
        removed, added = moved
        finality = await self._finality(chain, removed, added)
        violations = [event for event in finality if isinstance(event, FinalityViolated)]
        events = [
            *violations,
            *(Removed(block=block) for block in removed),
            *(Added(header=header) for header in added),
            *(event for event in finality if isinstance(event, Finalized)),
        ]
        if not events:
            return None
        reached = added[-1].number if added else chain[-1].number
        return HeadStep(base=chain[-1], events=tuple(events), is_last=reached >= head.number)

    async def commit(self, step: HeadStep, also: Callable[[U], None] = lambda uow: None) -> None:
        """Store the step and what `also` writes, in one unit of work.

        Raises: StaleState: the step does not start at the committed tip. What `also` raises; nothing is stored then.
        """
        if step.base != self.tip:
            raise StaleState("the step starts at another block than the committed tip")
        violated = any(isinstance(event, FinalityViolated) for event in step.events)
        finalized = step.finalized or (None if violated else self._finalized)

        def work(uow: U) -> None:
            also(uow)
            self._store.change(uow, self._chain_id, removed=step.removed, added=step.added, keep=self.policy.keep)
            if finalized != self._finalized:
                self._store.set_finalized(uow, self._chain_id, finalized)

        await self._uow.run(work)
        self._chain = changed(self._chain or (), removed=step.removed, added=step.added, keep=self.policy.keep)
        self._finalized = finalized

    # -- as a loop ----------------------------------------------------------------------------------------

    async def steps(
        self, stop: asyncio.Event, *, hints: AsyncIterator[object] | None = None
    ) -> AsyncIterator[HeadStep]:
        """Steps until stopped, one at each poll that finds something. Each must be committed, or it comes again.

        A poll that the node does not answer is noted in `last_error` and made again; a hint iterator that ends or
        fails with OSError or RpcError is forgotten.

        Raises: ReorgTooDeep.
        """
        listening = asyncio.create_task(self._listen(hints)) if hints is not None else None
        stopping = asyncio.create_task(self._wake_at(stop))
        try:
            while not stop.is_set():
                self._woken.clear()
                step = None
                try:
                    step = await self.poll()
                    self.last_error = None
                except RpcError as exc:
                    self.last_error = exc
                if step is not None:
                    yield step
                if step is None or step.is_last:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(self.policy.poll_s):
                            await self._woken.wait()
        finally:
            tasks = [task for task in (listening, stopping) if task is not None]
            for task in tasks:
                task.cancel()
            for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(outcome, Exception):
                    raise outcome

    async def _listen(self, hints: AsyncIterator[object]) -> None:
        with suppress(OSError, RpcError):
            async for _ in hints:
                self._woken.set()

    async def _wake_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._woken.set()

    # -- private ------------------------------------------------------------------------------------------

    async def _loaded(self) -> list[BlockRef]:
        if self._chain is None:
            chain, finalized = await self._uow.read(
                lambda uow: (self._store.chain(uow, self._chain_id), self._store.finalized(uow, self._chain_id))
            )
            self._chain, self._finalized = list(chain), finalized
        return self._chain

    async def _moved(self, chain: Sequence[BlockRef], head: Header) -> tuple[list[BlockRef], list[Header]] | None:
        """Blocks to remove and to add; None when the chain moved under the reading, or the node is behind."""
        tip = chain[-1]
        if head.hash == tip.hash:
            return [], []
        if head.number < chain[0].number or _at(chain, head.number) == head.ref:
            return [], []  # behind on our own chain, as far as can be told
        if head.number == tip.number + 1 and head.parent_hash == tip.hash:
            return [], [head]
        ancestor = await self._ancestor(chain, head)
        added = await self._fill(ancestor, head)
        if added is None:
            return None
        return [block for block in reversed(chain) if block.number > ancestor.number], added

    async def _ancestor(self, chain: Sequence[BlockRef], head: Header) -> BlockRef:
        """The newest kept block that is still canonical. Raises: ReorgTooDeep."""
        rest = [block for block in chain if block.number <= head.number]
        size = 1  # usually it is the tip, or close
        while rest:
            asked, rest = rest[-size:], rest[:-size]
            found = await self._source.headers([block.number for block in asked])
            for block, header in zip(reversed(asked), reversed(found), strict=True):
                if header is not None and header.ref == block:
                    return block
            size = min(size * 4, CHUNK)
        raise ReorgTooDeep(oldest=chain[0], tip=chain[-1])

    async def _fill(self, ancestor: BlockRef, head: Header) -> list[Header] | None:
        """Headers above the ancestor up to the head, at most `max_step`; None when they do not hang together."""
        last = min(head.number, ancestor.number + self.policy.max_step)
        added: list[Header] = []
        parent = ancestor.hash
        for first in range(ancestor.number + 1, last + 1, CHUNK):
            numbers = range(first, min(first + CHUNK, last + 1))
            for number, header in zip(numbers, await self._source.headers(numbers), strict=True):
                if header is None or header.number != number or header.parent_hash != parent:
                    return None
                added.append(header)
                parent = header.hash
        return None if last == head.number and parent != head.hash else added

    async def _finality(
        self, chain: Sequence[BlockRef], removed: Sequence[BlockRef], added: Sequence[Header]
    ) -> list[Finalized | FinalityViolated]:
        """What `finalized` says, beside the chain as it will be."""
        known = self._finalized
        after = changed(
            chain, removed=removed, added=[header.ref for header in added], keep=len(chain) + len(added) + 1
        )
        if known is not None and any(block.number <= known.number for block in removed):
            return [FinalityViolated(was=known, now=_at(after, known.number))]
        if not self.policy.use_finalized_tag:
            return []
        newest = await self._source.header("finalized")
        if newest is None or newest.number > after[-1].number:
            return []
        if known is not None:
            if newest.number < known.number or newest.ref == known:
                return []
            if newest.number == known.number:
                return [FinalityViolated(was=known, now=newest.ref)]
            if known.number < after[0].number and (other := await self._replaced(known)) is not None:
                return [other]
        if newest.number >= after[0].number and _at(after, newest.number) != newest.ref:
            return []  # answers of two moments or two nodes; the next poll sees clearer
        return [Finalized(block=newest.ref)]

    async def _replaced(self, known: BlockRef) -> FinalityViolated | None:
        """Whether a finalized block older than what is kept is still the one at its height."""
        [there] = await self._source.headers([known.number])
        if there is None or there.ref == known:
            return None
        return FinalityViolated(was=known, now=there.ref)


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


def _at(chain: Sequence[BlockRef], number: int) -> BlockRef | None:
    index = number - chain[0].number if chain else -1
    return chain[index] if 0 <= index < len(chain) else None
