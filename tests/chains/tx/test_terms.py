"""An engine that was taken for dead while it worked, and joined again after another one had served its lane."""

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass

import pytest

from chains.tx.leases import LeaseLost, LeaseName, Term
from chains.tx.memory import MemoryState
from chains.tx.model import TxState
from chains.types import CallRequest
from scripts.devnet.network import LocalChain
from tests.chains.tx.harness import SINK, Bench, bench_on, config_for, make_engine

pytestmark = pytest.mark.chain

PAY = CallRequest(to=SINK, value_wei=1_000)


FIRST, SECOND = Term("first"), Term("second")


@dataclass
class Terms:
    """`Leases` of a process that a test takes for dead."""

    current: Term = FIRST
    held: bool = True

    def holds(self, name: LeaseName) -> bool:
        return self.held

    async def claim(self, names: Collection[LeaseName]) -> None:
        """It has what it has."""

    def unwanted(self) -> frozenset[LeaseName]:
        return frozenset()

    async def give_back(self, names: Collection[LeaseName]) -> None:
        """Nothing is unwanted."""

    def term(self) -> Term | None:
        return self.current

    def guard(self, uow: MemoryState, term: Term | None) -> None:
        if term != self.current:
            raise LeaseLost("an earlier term")

    def rejoin(self) -> None:
        self.current, self.held = SECOND, False


@pytest.fixture
async def bench(ethereum: LocalChain) -> AsyncIterator[Bench]:
    async with bench_on(ethereum.rpc_url, config_for("ethereum")) as made:
        yield made


async def test_f19_a_look_at_a_lane_from_an_earlier_term_neither_holds_it_nor_places(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases, other = Terms(), make_engine(bench)
    stopped = make_engine(bench, leases=leases)
    await bench.queue("first", PAY)
    await stopped.step()
    await bench.queue("p", PAY)
    account = bench.client.account

    async def stops(wallet: object) -> object:
        monkeypatch.setattr(bench.client, "account", account)
        # The lane was read; for as long as this takes the process stands still.
        await other.step()
        leases.rejoin()
        return await account(wallet)  # type: ignore[arg-type]

    monkeypatch.setattr(bench.client, "account", stops)
    await stopped.step()
    assert await bench.state_of("p") == [TxState.BROADCAST]
    assert (await bench.lane_state()).hold_reason is None
    assert len(set(bench.tap.raws)) == 2


async def test_slots_of_a_lane_are_looked_at_once_it_is_taken_over_not_before(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases, other = Terms(held=False), make_engine(bench)
    engine = make_engine(bench, leases=leases)
    await bench.queue("p", PAY)
    await other.step()
    [tx] = await bench.txs("p")
    payload = list(bench.tap.raws)

    async def claim(names: Collection[LeaseName]) -> None:
        if any(name.startswith("lane:") for name in names) and not leases.held:
            # Its holder closes the slot, and gives the lane back.
            await other.request_cancel(tx.id, "by a person")
            await other.step()
            leases.held = True
            bench.tap.raws.clear()

    monkeypatch.setattr(leases, "claim", claim)
    bench.clock.advance_ms(60_000)
    await engine.step()
    assert leases.held
    assert not set(bench.tap.raws) & set(payload)


async def test_a_lease_that_is_lost_in_the_middle_of_a_send_ends_no_engine(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases = Terms()
    engine = make_engine(bench, leases=leases)
    await bench.queue("p", PAY)
    bench.tap.lose_sends = True
    await engine.step()
    assert await bench.state_of("p") == [TxState.SIGNED]
    bench.tap.lose_sends = False
    guard = leases.guard

    def refuses(uow: MemoryState, term: Term | None) -> None:
        if len(bench.tap.raws) > 1:
            raise LeaseLost("taken for dead while it sent")
        guard(uow, term)

    monkeypatch.setattr(leases, "guard", refuses)
    bench.clock.advance_ms(60_000)
    await engine.step()
    assert len(bench.tap.raws) == 2
    assert await bench.state_of("p") == [TxState.SIGNED]
