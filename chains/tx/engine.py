"""One chain's transactions, from queued plans to final: lanes that place, a confirmer that follows.

    queued plans --(a worker a lane)--> signed and sent --(confirmer, each head)--> mined -> confirmed -> final
                                            ^________ rebroadcast, reorg ________|

Guarantees: what was taken is finished or closed, across crashes (`recover`); an endpoint or signer that fails is
retried with growing pauses, and never ends the engine; a lane's plans are placed in order by one worker, lanes do not
wait for each other. A programming error, a raising observer included, ends `run` by raising.

Several processes on one store share the work by leases (`chains.tx.leases`): one follows the chain, and each lane
belongs to one. Without `leases` an engine is the only one of its chain on the store; its owner sees to that.
"""

import asyncio
import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, Generic, TypeVar

from chains.client import EvmClient
from chains.config import ChainConfig
from chains.headstate import HeadStore, KnownHead
from chains.signing.signer import Signer
from chains.tx.altered import hold_altered
from chains.tx.confirmer import Confirmer
from chains.tx.context import TRANSIENT, Backoff, EngineParts, wait_for_any
from chains.tx.lanes import LaneMemory, LaneWorker, Placing
from chains.tx.leases import FencedUnitOfWork, LeaseName, Leases, SoleLeases, Term, chain_lease, lane_lease
from chains.tx.model import UNMINED_TX_STATES, Lane, OpenTx, TxId, TxState, Wish
from chains.tx.replacing import Replacer
from chains.tx.sending import Sender
from chains.tx.simulation import Simulator
from chains.tx.standby import Bystander
from chains.tx.store import Clock, PreSignCheck, TxObserver, TxStore, UnitOfWork
from chains.tx.turns import AfterPlacing, Turns
from chains.tx.wishes import WISH_POLL_MS, WishWatch

U = TypeVar("U")

POLL_PART: Final = 4
"""Looks at the chain a block time."""
MIN_POLL_MS: Final = 200
MAX_POLL_MS: Final = 2_000
TEND_PAUSE: Final = 9
"""Times as long as a look at all open slots took, at least, until the next one: with thousands of them it takes a
second, and would otherwise take a core."""
RESEND_PART: Final = 500
"""Slots loaded and sent before the next ones are loaded: the first bytes of ten thousand leave after the first part."""
UNFILLED: Final = frozenset({TxState.RESERVED})
UNSENT: Final = frozenset({TxState.SIGNED})
"""Slots of which no node has acknowledged any bytes."""
STOP_GRACE_MS: Final = 5_000
"""Time for lanes to finish the plan at hand when stopping; half of what a supervisor waits."""

log = logging.getLogger(__name__)


class TxEngine(Generic[U]):
    """Places, sends and follows the transactions of one chain."""

    def __init__(
        self,
        *,
        client: EvmClient,
        config: ChainConfig,
        signer: Signer,
        store: TxStore[U],
        heads: HeadStore[U],
        uow: UnitOfWork[U],
        check: PreSignCheck,
        observer: TxObserver[U],
        clock: Clock,
        witness: EvmClient | None = None,
        leases: Leases[U] | None = None,
    ) -> None:
        self._leases: Leases[U] = SoleLeases() if leases is None else leases
        self._unfenced = uow
        self._fenced = FencedUnitOfWork(uow, self._leases)
        self._parts = EngineParts(
            client=client,
            config=config,
            signer=signer,
            store=store,
            heads=heads,
            uow=self._fenced,
            leases=self._leases,
            check=check,
            observer=observer,
            clock=clock,
            witness=witness,
        )
        self._turns = Turns()
        self._sender = Sender(self._parts)
        self._simulator = Simulator(client)
        self._chain: Confirmer[U] | Bystander[U] = Bystander(self._parts)
        self._followed_in: Term | None = None
        self._replacer = Replacer(self._parts, self._sender)
        self._watch = WishWatch(self._parts)
        self._wished = asyncio.Event()
        self._asked = asyncio.Event()
        self._busy: dict[Lane, asyncio.Task[None]] = {}
        self._memories: dict[Lane, LaneMemory] = {}
        self._woken = asyncio.Event()
        self._known: dict[LeaseName, Lane] = {}
        """Lanes that had something to do since this process started."""
        self._poll_ms = min(max(config.block_time_ms // POLL_PART, MIN_POLL_MS), MAX_POLL_MS)

    @property
    def known_head(self) -> KnownHead | None:
        """The newest head known here, and when a node last showed it; asks no node."""
        return self._chain.known

    def hint(self) -> None:
        """The chain may have moved: look now instead of at the next poll. To be called in the engine's event loop."""
        self._wished.set()

    def wake(self) -> None:
        """New work was queued, or something asked for a slot. To be called in the engine's event loop."""
        self._woken.set()
        self._wished.set()
        self._asked.set()

    async def request_cancel(self, tx_id: TxId, reason: str) -> bool:
        """Close a slot by a self-send, now or after a crash; False if that was asked before. What is mined decides.

        Raises: StaleState: the slot does not exist, or is mined or closed.
        """
        return await self._wish(tx_id, Wish.CANCEL, reason)

    async def request_bump(self, tx_id: TxId, reason: str) -> bool:
        """Make a slot's payload dearer without waiting; False if that, or a cancel, was asked before.

        Raises: StaleState: the slot does not exist, or is mined or closed.
        """
        return await self._wish(tx_id, Wish.BUMP, reason)

    async def _wish(self, tx_id: TxId, wish: Wish, reason: str) -> bool:
        parts, now_ms = self._parts, self._parts.clock.now_ms()
        # Whoever asks need not be the one who does it.
        done = await self._unfenced.run(lambda u: parts.store.wish(u, tx_id, wish, reason=reason, now_ms=now_ms))
        self.wake()
        return done

    async def recover(self) -> None:
        """Finish what an earlier process left: send stored bytes again, and fill nonces that were taken but not signed,
        once the books' block was found on the chain.

        An endpoint that fails now is tried again by `run`.

        Raises: WrongChain: the endpoint serves another chain; nothing was sent to it.
        """
        await self.resend()
        try:
            # Only a look: what it would book is `run`'s to do.
            there = Bystander(self._parts)
            await there.round()
            if there.frozen:
                return
            for lane in sorted({slot.tx.lane for slot in await self._open_here(states=UNFILLED)}):
                await self._place_in(lane, most=1)
        except TRANSIENT as exc:
            log.warning("%s: recovery goes on later: %s", self._parts.config.key, exc)

    async def resend(self) -> None:
        """Send the stored bytes of every unmined slot that were not sent a moment ago, `RESEND_PART` slots at a time.

        Needs no key, so that it can begin before any is unlocked; may be cancelled, and called again to go on. An
        endpoint that fails now is tried again by `run`.

        Raises: WrongChain: the endpoint serves another chain; nothing was sent to it.
        """
        store, chain_id = self._parts.store, self._parts.config.chain_id
        try:
            await self._parts.client.verify_chain()
            ids = await self._parts.uow.read(lambda u: store.tx_ids(u, chain_id, UNMINED_TX_STATES - UNFILLED))
            for start in range(0, len(ids), RESEND_PART):
                await self._send_due(await self._open_here(only=ids[start : start + RESEND_PART]))
        except TRANSIENT as exc:
            log.warning("%s: recovery goes on later: %s", self._parts.config.key, exc)

    async def step(self) -> None:
        """One round of everything, in order: look at the chain, place what is queued, send again what is due.

        What is transient is logged and left to the next step.
        """
        await self._look()
        if self._may_place():
            for lane in await self._lanes_with_work():
                try:
                    await self._place_in(lane)
                except TRANSIENT as exc:
                    log.warning("lane %s goes on later: %s", lane.wallet, exc)
        try:
            await self._tend()
        except TRANSIENT as exc:
            log.warning("%s: open slots are looked at later: %s", self._parts.config.key, exc)
        await self._give_back()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set. Call `recover` first.

        Raises: ExceptionGroup: a bug, never a failing endpoint.
        """
        async with asyncio.TaskGroup() as group:
            loops = (
                group.create_task(self._follow_chain(stop), name=f"{self._parts.config.key}-confirmer"),
                group.create_task(self._tend_slots(stop), name=f"{self._parts.config.key}-slots"),
                group.create_task(self._place_queued(stop, group), name=f"{self._parts.config.key}-lanes"),
            )
            await stop.wait()
            # What is cut off after the grace is taken up from its rows at the next start.
            _, late = await asyncio.wait((*loops, *self._busy.values()), timeout=STOP_GRACE_MS / 1000)
            for task in late:
                task.cancel()

    # -- the three loops ----------------------------------------------------------------------------------

    async def _follow_chain(self, stop: asyncio.Event) -> None:
        backoff = Backoff()
        while not stop.is_set():
            self._wished.clear()
            if await self._look():
                backoff.succeeded()
                wait_ms = self._poll_ms
            else:
                wait_ms = backoff.failed()
            await self._give_back()
            await wait_for_any(stop, self._wished, timeout_ms=wait_ms)

    async def _tend_slots(self, stop: asyncio.Event) -> None:
        """Beside `_follow_chain`, not after it: booking a full block takes seconds, and neither a cancel nor a send
        that was lost must wait for it."""
        clock, next_s = self._parts.clock, 0.0
        while not stop.is_set():
            began_s = clock.monotonic_s()
            try:
                if self._asked.is_set() or began_s >= next_s:
                    self._asked.clear()
                    await self._tend()
                    now_s = clock.monotonic_s()
                    next_s = now_s + TEND_PAUSE * (now_s - began_s)
                else:
                    await self._send_due(await self._open_here(states=UNSENT))
            except TRANSIENT as exc:
                log.warning("%s: open slots are looked at later: %s", self._parts.config.key, exc)
            await self._until_asked(stop)

    async def _until_asked(self, stop: asyncio.Event) -> None:
        """Until the next poll, or something asks for a slot: here, or by a row that another process left."""
        left_ms = self._poll_ms
        while left_ms > 0 and not (stop.is_set() or self._asked.is_set()):
            part_ms = min(left_ms, WISH_POLL_MS)
            left_ms -= part_ms
            await wait_for_any(stop, self._asked, timeout_ms=part_ms)
            try:
                if await self._watch.anything_new():
                    self._asked.set()
            except TRANSIENT as exc:
                log.warning("%s: what was asked is looked for later: %s", self._parts.config.key, exc)

    async def _place_queued(self, stop: asyncio.Event, group: asyncio.TaskGroup) -> None:
        while not stop.is_set():
            self._woken.clear()
            try:
                lanes = await self._lanes_with_work() if self._may_place() else []
            except TRANSIENT as exc:
                lanes = []
                log.warning("%s: queued plans are looked for later: %s", self._parts.config.key, exc)
            for lane in lanes:
                if lane not in self._busy:
                    self._busy[lane] = group.create_task(self._work(lane, stop), name=f"lane-{lane.wallet}")
                    self._busy[lane].add_done_callback(partial(self._release, lane))
            await wait_for_any(stop, self._woken, timeout_ms=self._poll_ms)

    async def _work(self, lane: Lane, stop: asyncio.Event) -> None:
        """Place the lane's plans until none can be placed now."""
        backoff, lease = Backoff(), lane_lease(lane)
        while not stop.is_set() and self._leases.holds(lease) and lease not in self._leases.unwanted():
            try:
                with self._turns.placing():
                    done = await self._worker(lane).place_next()
                if done not in (Placing.PLACED, Placing.REJECTED):
                    return
                backoff.succeeded()
            except TRANSIENT as exc:
                log.warning("lane %s goes on later: %s", lane.wallet, exc)
                await wait_for_any(stop, timeout_ms=backoff.failed())
            if not self._may_place():
                return

    def _release(self, lane: Lane, _: asyncio.Task[None]) -> None:
        self._busy.pop(lane, None)

    # -- parts --------------------------------------------------------------------------------------------

    def _may_place(self) -> bool:
        """Not before the cursor was once found on the chain, and not while it is not."""
        return self._chain.checked and not self._chain.frozen

    async def _look(self) -> bool:
        """Follow the chain if that is this process's part, else only look; False if it has to be tried again soon."""
        try:
            await self._choose_part()
            return await self._chain.round()
        except TRANSIENT as exc:
            log.warning("%s cannot be followed now: %s", self._parts.config.key, exc)
            return False

    async def _tend(self) -> None:
        """Bump and close what needs it (not while the chain is in doubt), and send again what is due."""
        head, slots = self._chain.head, await self._open_here()
        await hold_altered(self._parts, slots)
        if head is not None and self._may_place():
            try:
                moved = await self._replacer.round(head, slots)
            except TRANSIENT as exc:
                log.warning("%s: replacing goes on later: %s", self._parts.config.key, exc)
                moved = True
            if moved:
                # As they are now: a payload that was to be closed is not to be sent again.
                slots = await self._open_here()
        await self._send_due(slots)

    async def _send_due(self, slots: Sequence[OpenTx]) -> None:
        """Send again what is due of these; slots that it does not come to soon are read anew before."""
        while left := await self._sender.rebroadcast(slots, only_due=True):
            slots = await self._open_here(only=left)

    async def _place_in(self, lane: Lane, *, most: int | None = None) -> None:
        placed = 0
        while (most is None or placed < most) and self._leases.holds(lane_lease(lane)):
            if await self._worker(lane).place_next() not in (Placing.PLACED, Placing.REJECTED):
                return
            placed += 1

    async def _choose_part(self) -> None:
        """Follow the chain while its lease is here. Who gets it starts from what is stored."""
        lease = chain_lease(self._parts.config.chain_id)
        await self._leases.claim([lease])
        if not self._leases.holds(lease):
            if isinstance(self._chain, Confirmer):
                self._chain = Bystander(self._parts)
        elif isinstance(self._chain, Bystander) or self._followed_in != self._leases.term():
            self._followed_in = self._leases.term()
            booking = AfterPlacing(self._fenced.of_this_term(), self._turns)
            self._chain = Confirmer(replace(self._parts, uow=booking), self._sender)

    async def _here(self, lanes: Iterable[Lane]) -> set[Lane]:
        """Those of the lanes that are this process's to work on."""
        names = {lane_lease(lane): lane for lane in lanes}
        self._known |= names
        await self._leases.claim(names)
        return {lane for name, lane in names.items() if self._leases.holds(name)}

    async def _give_back(self) -> None:
        """What another process should have, as far as nothing is under way there."""
        unwanted = self._leases.unwanted()
        idle = {name for name, lane in self._known.items() if name in unwanted and lane not in self._busy}
        idle |= unwanted & {chain_lease(self._parts.config.chain_id)}
        if not idle:
            return
        try:
            await self._leases.give_back(idle)
        except TRANSIENT as exc:
            log.warning("%s: leases are given back later: %s", self._parts.config.key, exc)

    async def _open_here(
        self, *, states: Collection[TxState] = UNMINED_TX_STATES, only: Collection[TxId] | None = None
    ) -> list[OpenTx]:
        store, chain_id = self._parts.store, self._parts.config.chain_id

        def read(u: U) -> Sequence[OpenTx]:
            return store.open_txs(u, chain_id, states=states, only=only)

        slots = await self._parts.uow.read(read)
        others = {slot.tx.lane for slot in slots if not self._leases.holds(lane_lease(slot.tx.lane))}
        lanes = await self._here({slot.tx.lane for slot in slots})
        if lanes & others:
            # As who had them until now left them: a payload may be closed since.
            slots = await self._parts.uow.read(read)
        return [slot for slot in slots if slot.tx.lane in lanes]

    async def _lanes_with_work(self) -> list[Lane]:
        """Lanes of this process with queued intents or with nonces that were taken and not filled."""
        chain_id = self._parts.config.chain_id

        def read(u: U) -> set[Lane]:
            store = self._parts.store
            return {*store.unfilled_lanes(u, chain_id), *store.queued_lanes(u, chain_id)}

        return sorted(await self._here(await self._parts.uow.read(read)))

    def _worker(self, lane: Lane) -> LaneWorker[U]:
        """For one look at the lane: what it reads now must not be written upon once another process had the lane."""
        parts = replace(self._parts, uow=self._fenced.of_this_term())
        memory = self._memories.setdefault(lane, LaneMemory())
        return LaneWorker(parts, lane, sender=self._sender, simulator=self._simulator, memory=memory)
