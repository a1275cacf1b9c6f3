"""The canonical chain as the service knows it: blocks that came and went, in order, surviving restarts.

    poll -> HeadStep(events) -> consequences -> commit (the chain's new state, and what belongs with it)

    events of a step:  FinalityViolated?  Removed* (newest first)  Skipped?  Added* (oldest first)  Finalized?

A step always reaches the node's head. One that was not committed comes again, from the same base: the chain's state is
never ahead of its consequences, as long as those are written before, or in the unit of work that commits.

Guarantees:
- every Added block's parent is the block before it (the first one's, after a start or Skipped, is not looked at), every
  Removed block had been Added, Removed comes before Added; gaps are filled by number with the same check;
- reads are bounded, however long nobody looked: a gap over `window` is skipped once its lower end was found to be
  canonical. What was read before an endpoint refused more is not read again, and less is asked at once then;
- a node behind on our own chain, or without a block it should have, removes nothing;
- a finalized block that is another one now is an event, told first; a reorg of all that is kept raises `ReorgTooDeep`.

Not guaranteed: that a block which came and went between two polls is ever seen; that what is told is true (one
endpoint's word, see chains.tx.witness).
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Generic, Protocol, TypeVar

from chains.errors import ChainError, Retry, RpcError
from chains.headstate import (
    Added,
    BlockStore,
    FinalityViolated,
    Finalized,
    HeadEvent,
    HeadStep,
    KnownHead,
    Removed,
    Skipped,
    block_at,
)
from chains.tx.store import Clock, StaleState, UnitOfWork
from chains.types import BlockHash, BlockRef, BlockTag, ChainId, Header

U = TypeVar("U")

log = logging.getLogger(__name__)

CHUNK: Final = 50
"""Headers asked at once: half the batch limit of most hosted nodes, since with full blocks one has some 10 KB."""


class ReorgTooDeep(ChainError):
    """No kept block is canonical any more. A person has to look before anything goes on."""

    retry: ClassVar[Retry] = "reconcile"

    def __init__(self, *, oldest: BlockRef, tip: BlockRef) -> None:
        super().__init__(f"none of the kept blocks {oldest.number} to {tip.number} is on the chain any more")
        self.oldest = oldest
        self.tip = tip


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadPolicy:
    """What is final: the `finalized` tag's block, or, on a chain without a use for the tag, one `final_depth` deep."""

    final_depth: int
    use_finalized_tag: bool
    window: int = 64
    """Blocks read at a start or after a long time: more than any reorg that is not for a person to look at."""
    keep: int = 512
    """Blocks remembered. Polygon's deepest historical reorg had 187; Ethereum's `finalized` lags 64 to 96."""

    def __post_init__(self) -> None:
        if not 1 <= self.window < self.keep or self.final_depth < 1:
            raise ValueError("heads: 1 <= window < keep and final_depth >= 1 must hold")


class HeadSource(Protocol):
    """Where headers come from; `EvmClient` is one."""

    async def head(self) -> Header: ...

    async def header(self, block: int | BlockTag | BlockHash) -> Header | None: ...

    async def headers(self, numbers: Sequence[int]) -> Sequence[Header | None]: ...


class HeadFollower(Generic[U]):
    """Follows one chain. One consumer: a step has to be committed before the next one is made."""

    def __init__(
        self,
        source: HeadSource,
        *,
        chain_id: ChainId,
        store: BlockStore[U],
        uow: UnitOfWork[U],
        policy: HeadPolicy,
        clock: Clock,
    ) -> None:
        self.policy = policy
        self.known: KnownHead | None = None
        """The newest committed head, None before the first of this process."""
        self._source = source
        self._chain_id = chain_id
        self._store = store
        self._uow = uow
        self._clock = clock
        self._chain: Sequence[BlockRef] | None = None
        """As stored; None: to be loaded."""
        self._final: BlockRef | None = None
        self._ahead: list[Header] = []
        """Headers read for a step that is not committed yet, each the parent of the next."""
        self._chunk = CHUNK

    @property
    def tip(self) -> BlockRef | None:
        """The newest committed block, None before the first, or while it is not loaded."""
        return self._chain[-1] if self._chain else None

    def forget(self) -> None:
        """Believe nothing but the store: another process may have changed it."""
        self._chain, self.known, self._ahead = None, None, []

    async def poll(self) -> HeadStep | None:
        """Look at the node once. None: nothing can be said now (it is behind, or moved while it was read).

        Raises:
            RpcError: the node gave no usable answer.
            ReorgTooDeep: no kept block is canonical.
        """
        polled_s = self._clock.monotonic_s()
        chain = await self._loaded()
        head = await self._source.head()
        if self.known is not None and self.known.header.hash == head.hash == chain[-1].hash:
            self.known = KnownHead(header=head, polled_s=polled_s)
            return self._step(head, [], chain, polled_s)
        if (moved := await self._moved(chain, head)) is None:
            return None
        events: list[HeadEvent] = list(moved)
        after = _after(chain, events)
        if (finality := await self._finality(moved, after, head)) is not None:
            events.insert(0 if isinstance(finality, FinalityViolated) else len(events), finality)
        return self._step(head, events, after, polled_s)

    async def commit(self, step: HeadStep, also: Callable[[U], None] = lambda uow: None) -> None:
        """Store the step and what `also` writes, in one unit of work.

        Raises: StaleState: the step does not start at the committed tip. What `also` raises; nothing is stored then.
        """
        if self._chain is None or step.base != self.tip:
            raise StaleState("the step starts at another block than the committed tip")

        def work(uow: U) -> None:
            also(uow)
            if step.is_skipping:
                self._store.change(uow, self._chain_id, removed=step.removed, added=(), keep=self.policy.keep)
                self._store.drop_blocks(uow, self._chain_id)
                self._store.change(uow, self._chain_id, removed=(), added=step.added, keep=self.policy.keep)
            elif step.removed or step.added:
                self._store.change(uow, self._chain_id, removed=step.removed, added=step.added, keep=self.policy.keep)
            if step.final != self._final:
                self._store.set_finalized(uow, self._chain_id, step.final)

        try:
            await self._uow.run(work)
        except BaseException:
            self.forget()  # someone else may have written, or the commit's outcome is not known
            raise
        self._chain, self._final, self._ahead = step.chain[-self.policy.keep :], step.final, []
        self.known = KnownHead(header=step.head, polled_s=step.polled_s)

    # -- private ------------------------------------------------------------------------------------------

    async def _loaded(self) -> Sequence[BlockRef]:
        if self._chain is None:
            chain, final = await self._uow.read(
                lambda uow: (self._store.chain(uow, self._chain_id), self._store.finalized(uow, self._chain_id))
            )
            self._chain, self._final = tuple(chain), final
        return self._chain

    def _step(self, head: Header, events: Sequence[HeadEvent], after: Sequence[BlockRef], polled_s: float) -> HeadStep:
        told = [event for event in events if isinstance(event, Finalized | FinalityViolated)]
        final = self._final
        if told:
            final = told[0].block if isinstance(told[0], Finalized) else None
        return HeadStep(
            base=self.tip, head=head, events=tuple(events), chain=tuple(after), final=final, polled_s=polled_s
        )

    async def _moved(self, chain: Sequence[BlockRef], head: Header) -> list[Added | Removed | Skipped] | None:
        """From our tip to this head. None: the node is behind, or moved under the reading."""
        first_read = max(0, head.number - self.policy.window + 1)
        if not chain:
            return _added(await self._fill(first_read, None, head))
        tip = chain[-1]
        if head.hash == tip.hash:
            return []
        if head.number < chain[0].number or block_at(chain, head.number) == head.ref:
            return None  # behind on our own chain, as far as can be told
        if self._final is not None and head.number < self._final.number:
            return None  # it has not seen what is final; on which branch it stands says nothing
        ancestor = tip if head.parent_hash == tip.hash else await self._ancestor(chain, head)
        if ancestor is None:
            return None
        events: list[Added | Removed | Skipped] = [
            Removed(block=block) for block in reversed(chain) if block.number > ancestor.number
        ]
        is_near = head.number - ancestor.number <= self.policy.window
        if is_near:
            added = _added(await self._fill(ancestor.number + 1, ancestor.hash, head))
        else:
            events.append(Skipped(after=ancestor))
            added = _added(await self._fill(first_read, None, head))
        return None if added is None else [*events, *added]

    async def _ancestor(self, chain: Sequence[BlockRef], head: Header) -> BlockRef | None:
        """The newest kept block that is still canonical; None if the node lacks a block. Raises: ReorgTooDeep.

        What is canonical is so with all before it: a few single headers find the fork, however deep it is.
        """
        kept = [block for block in chain if block.number <= head.number]
        gone, standing, stride = len(kept), len(kept) - 1, 1  # usually it is the tip, or close
        while not (is_there := await self._is_canonical(kept[standing])):
            if is_there is None:
                return None
            if standing == 0:
                raise ReorgTooDeep(oldest=chain[0], tip=chain[-1])
            gone, standing, stride = standing, max(0, standing - stride), 2 * stride
        while gone - standing > 1:
            middle = (gone + standing) >> 1
            is_there = await self._is_canonical(kept[middle])
            if is_there is None:
                return None
            gone, standing = (gone, middle) if is_there else (middle, standing)
        return kept[standing]

    async def _is_canonical(self, block: BlockRef) -> bool | None:
        there = await self._source.header(block.number)
        return None if there is None else there.ref == block

    async def _fill(self, first: int, parent: BlockHash | None, head: Header) -> list[Header] | None:
        """Headers from `first`, the child of `parent`, up to the head. None: they do not hang together."""
        ahead = [header for header in self._ahead if first <= header.number < head.number]
        if ahead and (ahead[0].number != first or parent not in (None, ahead[0].parent_hash)):
            ahead = []
        self._ahead = ahead
        while (number := first + len(ahead)) < head.number:
            try:
                found = await self._source.headers(range(number, min(number + self._chunk, head.number)))
            except RpcError:
                self._chunk = max(1, self._chunk // 2)
                raise
            self._chunk = min(CHUNK, self._chunk * 2)
            for expected, header in enumerate(found, start=number):
                if header is None:
                    # A node that makes blocks right now may not find one for a moment.
                    header = await self._source.header(expected)
                if header is None or header.number != expected or not _follows(header, ahead, parent):
                    told = "none" if header is None else f"{header.number} {header.hash} after {header.parent_hash}"
                    log.warning("block %d below the head %d does not fit: %s", expected, head.number, told)
                    self._ahead = []
                    return None
                ahead.append(header)
        if not _follows(head, ahead, parent):
            self._ahead = []
            return None
        return [*ahead, head]

    async def _finality(
        self, moved: Sequence[HeadEvent], after: Sequence[BlockRef], head: Header
    ) -> Finalized | FinalityViolated | None:
        """What is final, beside the chain as it will be."""
        known = self._final
        if known is not None and any(
            isinstance(event, Removed) and event.block.number <= known.number for event in moved
        ):
            return FinalityViolated(was=known, now=block_at(after, known.number))
        newest = await self._newest_final(after, head)
        if newest is None:
            return None
        if known is not None:
            if newest.number < known.number or newest == known:
                return None
            if newest.number == known.number:
                return FinalityViolated(was=known, now=newest)
            if known.number < after[0].number and (other := await self._replaced(known)) is not None:
                return other
        if newest.number >= after[0].number and block_at(after, newest.number) != newest:
            return None  # above the head, or answers of two moments or two nodes; the next poll sees clearer
        return Finalized(block=newest)

    async def _newest_final(self, after: Sequence[BlockRef], head: Header) -> BlockRef | None:
        if not self.policy.use_finalized_tag:
            return block_at(after, head.number - self.policy.final_depth + 1)
        tagged = await self._source.header("finalized")
        return None if tagged is None else tagged.ref

    async def _replaced(self, known: BlockRef) -> FinalityViolated | None:
        """Whether a finalized block older than what is kept is still the one at its height."""
        [there] = await self._source.headers([known.number])
        if there is None or there.ref == known:
            return None
        return FinalityViolated(was=known, now=there.ref)


def _added(headers: Sequence[Header] | None) -> list[Added | Removed | Skipped] | None:
    return None if headers is None else [Added(header=header) for header in headers]


def _after(chain: Sequence[BlockRef], events: Sequence[HeadEvent]) -> list[BlockRef]:
    after = list(chain)
    for event in events:
        match event:
            case Removed():
                after.pop()
            case Skipped():
                after.clear()
            case Added(header=header):
                after.append(header.ref)
    return after


def _follows(header: Header, ahead: Sequence[Header], parent: BlockHash | None) -> bool:
    return header.parent_hash == ahead[-1].hash if ahead else parent in (None, header.parent_hash)
