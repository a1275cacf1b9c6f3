"""The rules: what may happen to an engine, in any order. After each of them everything in `invariants` must hold.

`EngineMachine` has no profile of its own; `test_machine.py` gives it one.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final

from hypothesis import event, note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from chains.crashpoints import POINTS
from chains.tx.model import Lane
from tests.chains.tx.model import invariants
from tests.chains.tx.model.calm import calm
from tests.chains.tx.model.chain import GWEI
from tests.chains.tx.model.node import LIES, RECEIPT, SEND, SIMULATE, Fault, Setting
from tests.chains.tx.model.parts import ETHER, Setup
from tests.chains.tx.model.world import World

ENGINE_POINTS: Final = tuple(point for point in POINTS if point not in ("K1", "K2", "K15", "K16"))
"""Those that an engine reaches; the others are the service's."""
BASE_FEES_GWEI: Final = (1, 10, 30, 90, 240, 460, 600)
"""Up to where a transaction is too dear at all: the cap is 500."""
FUNDS: Final = (-10 * ETHER, -9 * ETHER, -ETHER, ETHER, 10 * ETHER)
PAUSES_MS: Final = st.sampled_from([0, 3_000, 12_000, 60_000, 300_000])
WAIT_MS: Final = st.integers(1, 15_000)
WALLET: Final = st.integers(0, 1)
READS: Final = (
    RECEIPT,
    SIMULATE,
    "eth_getBlockByNumber",
    "eth_getTransactionCount",
    "eth_getBalance",
    "eth_feeHistory",
)
SEND_FAULTS: Final = (
    Fault.LOST_BEFORE,
    Fault.LOST_AFTER,
    Fault.THROTTLED,
    Fault.SWALLOWED,
    Fault.LIE_BEFORE,
    Fault.LIE_AFTER,
    Fault.WRONG_HASH,
)
READ_FAULTS: Final = (Fault.LOST_BEFORE, Fault.THROTTLED, Fault.MISSING, Fault.LIE_BEFORE)
FAULTS: Final = st.one_of(
    st.builds(
        Setting,
        fault=st.sampled_from(SEND_FAULTS),
        method=st.just(SEND),
        times=st.integers(1, 4),
        text=st.sampled_from(LIES),
    ),
    st.builds(
        Setting,
        fault=st.sampled_from(READ_FAULTS),
        method=st.sampled_from(READS),
        times=st.integers(1, 4),
        text=st.sampled_from(("header not found", "missing trie node", "transaction indexing is in progress")),
    ),
)
SETUPS: Final = st.builds(
    lambda confirmed, deeper, **rest: Setup(confirmed_depth=confirmed, final_depth=confirmed + deeper, **rest),
    confirmed=st.sampled_from((1, 2, 2, 3)),
    deeper=st.integers(0, 3),
    seed=st.integers(0, 2**16),
    wallets=st.sampled_from((1, 1, 2)),
    endpoints=st.sampled_from((1, 1, 1, 3)),
    use_finalized_tag=st.booleans(),
    others_sign=st.sampled_from((False, False, False, True)),
    deep_reorgs=st.sampled_from((False, False, False, True)),
    has_simulation=st.sampled_from((True, True, True, False)),
)


@dataclass(slots=True)
class Tally:
    """What a run went through."""

    examples: int = 0
    lives: int = 0
    steps: int = 0
    plans: int = 0
    sends: int = 0
    ends: Counter[str] = field(default_factory=Counter)

    def add(self, world: World) -> None:
        self.examples += 1
        self.lives += world.lives
        self.steps += world.steps
        self.plans += world.plans
        self.sends += len(world.seen)
        self.ends.update(f"{tx.state} {tx.outcome}" for tx in world.books.state.txs.values())


class EngineMachine(RuleBasedStateMachine):
    """An engine and its world."""

    world: World
    tally: ClassVar = Tally()

    @initialize(setup=SETUPS, first=st.lists(st.booleans(), min_size=1, max_size=3))
    def start(self, setup: Setup, first: list[bool]) -> None:
        self.world = World(setup)
        self.world.restart()
        self.queue(wallet=0, gates=first, valid_for_ms=None, gas_limit=None)

    # -- work ---------------------------------------------------------------------------------------------

    @rule(
        wallet=WALLET,
        gates=st.lists(st.booleans(), min_size=1, max_size=3),
        valid_for_ms=st.sampled_from((None, None, None, 30_000, 120_000)),
        gas_limit=st.sampled_from((None, None, None, None, 90_000, 50_000)),
    )
    def queue(self, wallet: int, gates: list[bool], valid_for_ms: int | None, gas_limit: int | None) -> None:
        self.world.queue(self._lane(wallet), gates=gates, valid_for_ms=valid_for_ms, gas_limit=gas_limit)

    @rule(after_ms=PAUSES_MS)
    def step(self, after_ms: int) -> None:
        self.world.step(after_ms=after_ms)

    @rule(after_ms=PAUSES_MS, is_shut=st.sampled_from((False, False, True)))
    def block_and_step(self, after_ms: int, is_shut: bool) -> None:
        """A block, in which calls of the gate revert if it is shut: what was simulated was another state."""
        chain = self.world.chain
        before, chain.gate_is_shut = chain.gate_is_shut, is_shut
        chain.mine()
        chain.gate_is_shut = before
        self.world.step(after_ms=after_ms)

    @rule(rounds=st.integers(2, 6))
    def blocks_and_steps(self, rounds: int) -> None:
        for _ in range(rounds):
            self.block_and_step(after_ms=12_000, is_shut=False)

    @rule(
        acts=st.lists(st.tuples(st.integers(1, 15_000), st.integers(0, 5)), max_size=6), for_ms=st.integers(1, 15_000)
    )
    def live(self, acts: list[tuple[int, int]], for_ms: int) -> None:
        """Both loops of the engine at once, with things happening between their steps."""
        world = self.world
        known: list[Callable[[], None]] = [
            lambda: self._mine(None),
            lambda: self._mine(None),
            lambda: self._mine(1),
            lambda: self._queue_one(),
            lambda: self._reorg_one(),
            lambda: world.nodes[0].settings.append(Setting(fault=Fault.LOST_AFTER, method=SEND, times=1)),
        ]
        world.live(acts=[(after_ms, known[which]) for after_ms, which in acts], for_ms=for_ms)

    # -- the chain ----------------------------------------------------------------------------------------

    @rule(blocks=st.integers(1, 3), most=st.sampled_from((None, None, None, 0, 1)))
    def mine(self, blocks: int, most: int | None) -> None:
        for _ in range(blocks):
            self._mine(most)

    @precondition(lambda self: self.world.setup.confirmed_depth > 1)
    @rule(depth=st.integers(1, 2), orphans_return=st.booleans(), remined=st.booleans(), extra=st.integers(0, 1))
    def reorg(self, depth: int, orphans_return: bool, remined: bool, extra: int) -> None:
        depth = min(depth, self.world.setup.confirmed_depth - 1)
        self.world.reorg(depth, orphans_return=orphans_return, remined=remined, extra=extra)

    @precondition(lambda self: self.world.setup.deep_reorgs)
    @rule(depth=st.integers(2, 6), orphans_return=st.booleans(), remined=st.booleans())
    def deep_reorg(self, depth: int, orphans_return: bool, remined: bool) -> None:
        self.world.reorg(depth, orphans_return=orphans_return, remined=remined, extra=1)

    @precondition(lambda self: self.world.setup.deep_reorgs and self.world.booked())
    @rule(orphans_return=st.booleans(), remined=st.booleans())
    def reorg_of_what_is_booked(self, orphans_return: bool, remined: bool) -> None:
        depth = self.world.chain.head.header.number - self.world.booked()[-1].number + 1
        self.world.reorg(depth, orphans_return=orphans_return, remined=remined, extra=1)

    @rule(gwei=st.sampled_from(BASE_FEES_GWEI))
    def base_fee(self, gwei: int) -> None:
        self.world.chain.base_fee_wei = gwei * GWEI

    @rule(gwei=st.sampled_from((0, 3, 25)))
    def tip_floor(self, gwei: int) -> None:
        self.world.chain.tip_floor_wei = gwei * GWEI

    @rule()
    def gate(self) -> None:
        self.world.chain.gate_is_shut = not self.world.chain.gate_is_shut

    @rule(wallet=WALLET, wei=st.sampled_from(FUNDS))
    def funds(self, wallet: int, wei: int) -> None:
        self.world.chain.move(self._lane(wallet).wallet, wei)

    @precondition(lambda self: self.world.chain.pool)
    @rule(data=st.data())
    def evict(self, data: st.DataObject) -> None:
        pool = self.world.chain.pool
        self.world.chain.evict(pool[data.draw(st.sampled_from(sorted(pool)))])

    @precondition(lambda self: self.world.setup.others_sign)
    @rule(wallet=WALLET, ahead=st.sampled_from((0, 0, -1, -2, 1)), forced=st.booleans())
    def foreign(self, wallet: int, ahead: int, forced: bool) -> None:
        event("a foreign transaction")
        self.world.foreign_tx(self._lane(wallet), ahead=ahead, forced=forced)

    # -- nodes and signers --------------------------------------------------------------------------------

    @rule(node=st.integers(0, 2), setting=FAULTS)
    def fault(self, node: int, setting: Setting) -> None:
        nodes = self.world.nodes
        nodes[node % len(nodes)].settings.append(setting)

    @rule(node=st.integers(0, 2), flaps=st.booleans())
    def stand_still(self, node: int, flaps: bool) -> None:
        nodes = self.world.nodes
        nodes[node % len(nodes)].stand_still(flaps=flaps)

    @precondition(lambda self: self.world.setup.confirmed_depth > 1)
    @rule(node=st.integers(0, 2), flaps=st.booleans(), orphans_return=st.booleans(), remined=st.booleans())
    def node_stays_on_the_branch_that_goes(self, node: int, flaps: bool, orphans_return: bool, remined: bool) -> None:
        self.stand_still(node=node, flaps=flaps)
        self.world.reorg(1, orphans_return=orphans_return, remined=remined, extra=1)

    @rule()
    def heal(self) -> None:
        for node in self.world.nodes:
            node.heal()

    @rule(times=st.integers(1, 3))
    def silent_signer(self, times: int) -> None:
        self.world.silent_signatures = times

    @rule(refusals=st.integers(0, 2), is_paused=st.booleans())
    def check(self, refusals: int, is_paused: bool) -> None:
        self.world.check.refusals, self.world.check.is_paused = refusals, is_paused

    @rule(ms=st.sampled_from((-7_200_000, -60_000, 60_000, 7_200_000)))
    def clock_jumps(self, ms: int) -> None:
        self.world.clock.step_wall_ms(ms)

    # -- crashes ------------------------------------------------------------------------------------------

    @rule(point=st.sampled_from(ENGINE_POINTS), count=st.integers(1, 2))
    def crash_at(self, point: str, count: int) -> None:
        """The life at hand ends there, should it come there."""
        self.world.arm(f"{point}:{count}")

    @rule(touches=st.integers(0, 25))
    def crash_after(self, touches: int) -> None:
        """The life at hand ends at one of its next touches with the world."""
        self.world.life.touches_left = touches

    @rule(touches=st.one_of(st.none(), st.integers(0, 25)), point=st.sampled_from((None, *ENGINE_POINTS)))
    def restart(self, touches: int | None, point: str | None) -> None:
        """Killed now; the next life may end in the middle of taking up."""
        self.world.restart(touches=touches, point=point)

    # -- people -------------------------------------------------------------------------------------------

    @precondition(lambda self: self.world.unmined())
    @rule(data=st.data(), cancels=st.booleans())
    def wish(self, data: st.DataObject, cancels: bool) -> None:
        tx_id = data.draw(st.sampled_from(self.world.unmined()))
        if cancels:
            self.world.ask(lambda engine: engine.request_cancel(tx_id, "a test"))
        else:
            self.world.ask(lambda engine: engine.request_bump(tx_id, "a test"))

    @rule()
    def person(self) -> None:
        self.world.person_looks()

    # -- what holds ---------------------------------------------------------------------------------------

    @invariant()
    def all_holds(self) -> None:
        if hasattr(self, "world"):
            _none(self.world.complaints())

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        try:
            # Not when something was already found: it would be found again, somewhere else.
            if world.complaints() == []:
                calm(world)
                note(f"{world.lives} lives, {world.steps} steps, {world.plans} plans, {len(world.seen)} sends")
                _none(world.complaints(invariants.AT_THE_END))
        finally:
            self.tally.add(world)
            world.close()

    # -- private ------------------------------------------------------------------------------------------

    def _lane(self, wallet: int) -> Lane:
        lanes = self.world.lanes
        return lanes[wallet % len(lanes)]

    def _mine(self, most: int | None) -> None:
        self.world.chain.mine(most=most)

    def _reorg_one(self) -> None:
        depth = min(1, self.world.setup.confirmed_depth - 1)
        self.world.reorg(depth, orphans_return=True, remined=False, extra=1)

    def _queue_one(self) -> None:
        self.world.queue(self._lane(0), gates=[False], valid_for_ms=None, gas_limit=None)


def _none(complaints: Sequence[str]) -> None:
    assert not complaints, "\n".join(complaints)
