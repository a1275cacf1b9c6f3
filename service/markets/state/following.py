"""From the node's head to pool states at that head: one look at a time.

    look() -> poll the head -> logs of the new blocks, by hash -> blocks taken back and applied, all or none

Guarantees: after a look, `held` is of `header`'s block, and that was the node's head at `confirmed_s`; one that failed
or was cancelled changed nothing, and the next one begins where it did; what cannot be followed (a gap of more than
`WINDOW` blocks, a reorg deeper than what is held) gives all states up and goes on at the head.
Not guaranteed: that the node tells all logs of a block.
"""

from collections.abc import Mapping
from typing import Final

import structlog

from chains.client import EvmClient
from chains.errors import RpcError
from chains.heads import HeadFollower, HeadPolicy, ReorgTooDeep
from chains.headstate import Added, HeadStep
from chains.logs import LogQuery, logs_of_blocks
from chains.recent import RecentHead
from chains.sizing import Portion, is_too_much
from chains.tx.memory import MemoryState, MemoryUnitOfWork
from chains.tx.memory_heads import MemoryHeadStore
from chains.tx.store import Clock
from chains.types import Address, BlockHash, BlockRef, Header, Log
from contracts.deployments import Venue
from contracts.pools import PoolDirectory, PoolKey, created, created_topics
from contracts.uniswap_v2 import pool as v2
from contracts.uniswap_v3 import logs as v3_logs
from service.markets.state.held import KEPT_BLOCKS, HeldPools, NotTheTip

WINDOW: Final = 16
"""Blocks that are caught up with by their logs. Loading everything anew takes some four calls, a block's logs take one.
"""
_NEVER_FINAL: Final = 2**40
"""Blocks. Nothing here depends on finality, so that the node is not asked for it."""

_log: Final = structlog.get_logger("cambist.markets")


class Follower:
    """One chain's held pools and the head they are at. One look at a time is the caller's business."""

    def __init__(
        self,
        client: EvmClient,
        *,
        directory: PoolDirectory,
        factories: Mapping[Address, Venue],
        recent: RecentHead,
        clock: Clock,
    ) -> None:
        self.held: Final = HeldPools()
        self.header: Header | None = None
        """Of the block that all states are of; None before the first look."""
        self.confirmed_s: float | None = None
        """Monotonic time of the question that the node last answered with this head."""
        self.confirmed_ms = 0
        """The same on the wall clock."""
        self.applied = 0
        self.removed = 0
        self.restarts = 0
        self.inconsistent = 0
        self._client: Final = client
        self._directory: Final = directory
        self._factories: Final = factories
        self._recent: Final = recent
        self._clock: Final = clock
        self._made: Final[dict[BlockHash, list[PoolKey]]] = {}
        """Pools by the block that made them, the newest such blocks."""
        self._portion: Final = Portion(WINDOW)
        self._heads = self._new_heads()

    async def look(self) -> bool:
        """Ask for the head and follow it. False: the node is behind, or moved while it was read.

        Raises: RpcError: it gave no usable answer, such as to the logs of a block that it does not know yet.
        """
        asked_s, asked_ms = self._clock.monotonic_s(), self._clock.now_ms()
        try:
            step = await self._heads.poll()
        except ReorgTooDeep:
            self._heads = self._new_heads()
            step = await self._heads.poll()
        if step is None:
            return False
        if step.base != step.head.ref or self.held.tip != step.head.ref:
            await self._follow(step)
        self.header, self.confirmed_s, self.confirmed_ms = step.head, asked_s, asked_ms
        return True

    def notice(self) -> bool:
        """Others in this process ask for the head too. Whether one did since, and it was this head, so that it is
        confirmed without asking again."""
        noted = self._recent.latest
        if noted is None or self.header is None or self.confirmed_s is None or noted.header.hash != self.header.hash:
            return False
        if noted.asked_s <= self.confirmed_s:
            return False
        self.confirmed_ms += int((noted.asked_s - self.confirmed_s) * 1000)
        self.confirmed_s = noted.asked_s
        return True

    def give_up(self) -> None:
        """Hold nothing, at the same head."""
        if self.held.tip is not None:
            self.restarts += bool(self.held)
            self.held.reset(self.held.tip)

    # -- private ------------------------------------------------------------------------------------------

    def _new_heads(self) -> HeadFollower[MemoryState]:
        return HeadFollower(
            self._client,
            chain_id=self._client.config.chain_id,
            store=MemoryHeadStore(),
            uow=MemoryUnitOfWork(),
            policy=HeadPolicy(final_depth=_NEVER_FINAL, use_finalized_tag=False, window=WINDOW, keep=KEPT_BLOCKS),
            clock=self._clock,
        )

    async def _follow(self, step: HeadStep) -> None:
        added = [event.header for event in step.events if isinstance(event, Added)]
        begins_anew = (
            step.is_skipping or not self.held or step.base != self.held.tip or len(step.removed) > self.held.depth
        )
        logs = [] if begins_anew else await self._logs([header.ref for header in added])

        def apply(uow: MemoryState) -> None:
            if begins_anew:
                self.restarts += bool(self.held)
                self.held.reset(step.head.ref)
            else:
                self._apply(step, added, logs=logs)

        try:
            await self._heads.commit(step, apply)
        except NotTheTip as exc:
            # Lost track of the blocks: a mistake here, that must not become a wrong price.
            _log.error("pool states begin anew", chain=self._client.config.key, reason=str(exc))
            self._heads = self._new_heads()
            self.restarts += 1
            self.held.reset(step.head.ref)

    def _apply(self, step: HeadStep, added: list[Header], *, logs: list[list[Log]]) -> None:
        for block in step.removed:
            self.held.removed(block)
            for key in self._made.pop(block.hash, ()):
                self._directory.unmade(key, block_number=block.number)
        for header, of_block in zip(added, logs, strict=True):
            parent = BlockRef(number=header.number - 1, hash=header.parent_hash)
            for address, why in self.held.added(header.ref, parent, of_block).items():
                self.inconsistent += 1
                _log.error(
                    "pool's logs do not fit", chain=self._client.config.key, pool=address, block=header.number, why=why
                )
            made = [pool for log in of_block if (pool := created(log, self._factories)) is not None]
            for key, address in made:
                self._directory.made(key, address)
            if made:
                self._made[header.hash] = [key for key, _ in made]
        while len(self._made) > KEPT_BLOCKS:
            del self._made[next(iter(self._made))]
        self.removed += len(step.removed)
        self.applied += len(added)

    async def _logs(self, blocks: list[BlockRef]) -> list[list[Log]]:
        query = LogQuery(
            addresses=frozenset((*self.held, *self._factories)),
            topics=frozenset((*v2.topics(), *v3_logs.topics(), *created_topics())),
        )
        found: list[list[Log]] = []
        while len(found) < len(blocks):
            asked = blocks[len(found) : len(found) + self._portion.size]
            try:
                found += await logs_of_blocks(self._client.transport, query, asked)
            except RpcError as exc:
                if is_too_much(exc) and self._portion.refused(len(asked)):
                    continue
                raise
            self._portion.answered(len(asked))
        return found
