"""Who works on what, among processes on one PostgreSQL that come, stop, return and go."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from sqlalchemy import Connection, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from chains.errors import SignerUnavailable
from chains.tx.leases import FencedUnitOfWork, LeaseLost, LeaseName, lane_lease
from chains.tx.model import Lane
from chains.types import Address, ChainId
from service.db import leases as rows
from service.db.engine import Database
from service.db.errors import CommitFailed
from service.db.models import leases, users
from service.workers.membership import MIN_LOOKS, TTL_S, Membership
from tests.clock import FakeClock

ADA = Address("0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2")
BOB = Address("0x0d500B1d8E8eF31E21C99d1Db9A6444d3ADf1270")
LANES = [LeaseName(f"lane:{chain}:{ADA}") for chain in range(1, 41)]


@dataclass
class Machine:
    """A process: its own connections, its own monotonic clock."""

    db: Database
    clock: FakeClock
    member: Membership
    keys: list[Address]

    async def lives(self, seconds: float) -> None:
        """Signs of life once a second."""
        for _ in range(int(seconds)):
            self.clock.advance_ms(1_000)
            await self.member.turn()

    def held(self, names: Sequence[LeaseName] = LANES) -> set[LeaseName]:
        return {name for name in names if self.member.holds(name)}

    async def writes(self, name: str) -> None:
        unit = FencedUnitOfWork(self.db, self.member)
        await unit.run(lambda c: c.execute(insert(users).values(name=name, created_ms=0)))


async def machine(url: str, *keys: Address) -> Machine:
    db, clock, held = await Database.open(url), FakeClock(), list(keys)

    async def wallets() -> Sequence[Address]:
        return held

    return Machine(db=db, clock=clock, member=Membership(db, clock=clock, wallets=wallets), keys=held)


@pytest.fixture
async def two(postgres_url: str) -> AsyncIterator[tuple[Machine, Machine]]:
    found = await machine(postgres_url, ADA, BOB), await machine(postgres_url, ADA, BOB)
    yield found
    for one in found:
        await one.db.close()


@asynccontextmanager
async def writing(url: str, process: rows.Process) -> AsyncIterator[AsyncConnection]:
    """A session of the process in the middle of a write: past the fence, not committed."""
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"))
    try:
        async with engine.connect() as connection:
            await connection.begin()
            await connection.run_sync(lambda c: rows.check(c, process.id))
            yield connection
    finally:
        await engine.dispose()


pytestmark = pytest.mark.postgres


async def test_living_processes_share_the_lanes_and_none_has_two_holders(two: tuple[Machine, Machine]) -> None:
    first, second = two
    for one in two:
        await one.lives(1)
    for one in two:
        await one.member.turn()
    for one in two:
        await one.member.claim(LANES)
    assert first.held() | second.held() == set(LANES)
    assert not first.held() & second.held()
    assert min(len(first.held()), len(second.held())) >= len(LANES) // 5


async def test_who_comes_later_gets_its_share_once_it_is_given_back(two: tuple[Machine, Machine]) -> None:
    first, second = two
    await first.member.claim(LANES)
    assert first.held() == set(LANES)
    await second.lives(1)
    await first.lives(1)
    wanted = first.member.unwanted()
    assert 0 < len(wanted) < len(LANES)
    await second.member.claim(LANES)
    assert not second.held(), "nothing is free before it is given back"
    await first.member.give_back(wanted)
    await second.member.claim(LANES)
    assert second.held() == wanted
    assert first.held() == set(LANES) - wanted
    await first.member.claim(LANES)
    assert second.held() == wanted, "and it stays there"


async def test_a_silent_process_keeps_its_leases_for_the_time_to_live_and_then_loses_them(
    two: tuple[Machine, Machine],
) -> None:
    dead, living = two
    await dead.member.claim(LANES)
    await living.lives(TTL_S)
    await living.member.claim(LANES)
    assert not living.held()
    await living.lives(2)
    await living.member.claim(LANES)
    assert living.held() == set(LANES)


async def test_by_the_time_another_may_have_its_leases_a_process_knows_that_it_holds_nothing(
    two: tuple[Machine, Machine],
) -> None:
    paused, other = two
    await paused.member.claim(LANES)
    assert paused.held() == set(LANES)
    paused.clock.advance_ms(int(TTL_S * 1000))
    assert not paused.held()
    await other.lives(TTL_S)
    await other.member.claim(LANES)
    assert not other.held(), "the other waits for at least as long, by its own clock"


async def test_f19_a_process_that_was_stopped_and_returns_cannot_write_and_joins_as_a_new_one(
    two: tuple[Machine, Machine],
) -> None:
    stopped, other = two
    await stopped.member.claim(LANES)
    await stopped.writes("before")
    await other.lives(TTL_S + 2)
    with pytest.raises(LeaseLost):
        await stopped.writes("after")
    names = await other.db.read(lambda c: c.execute(select(users.c.name)).scalars().all())
    assert names == ["before"]
    stopped.clock.advance_ms(60_000)
    await stopped.member.claim(LANES)
    assert not stopped.held() & other.held()
    await stopped.writes("again")


async def test_a_database_that_stood_still_kills_nobody(two: tuple[Machine, Machine]) -> None:
    first, second = two
    await first.member.claim(LANES)
    await second.lives(1)
    # An hour in which nobody could give a sign: one look alone proves nothing.
    second.clock.advance_ms(3_600_000)
    for _ in range(MIN_LOOKS - 2):
        await second.member.turn()
    await second.member.claim(LANES)
    assert not second.held()
    await first.member.turn()
    for _ in range(MIN_LOOKS):
        await second.member.turn()
    assert len(await second.db.read(rows.registered)) == 2


async def test_a_lane_is_for_a_process_that_can_sign_for_it(postgres_url: str) -> None:
    with_key, without = await machine(postgres_url, ADA), await machine(postgres_url, BOB)
    await with_key.lives(1)
    await without.lives(1)
    await with_key.member.turn()
    for one in (without, with_key):
        await one.member.claim(LANES)
    assert with_key.held() == set(LANES)
    # The key is unlocked elsewhere too, and no longer here.
    without.keys.append(ADA)
    with_key.keys.clear()
    await without.lives(1)
    await with_key.lives(1)
    assert with_key.member.unwanted() == set(LANES)
    for one in (with_key, without):
        await one.db.close()


async def test_a_remote_signer_that_does_not_answer_takes_no_lane_away(postgres_url: str) -> None:
    db, clock, answers = await Database.open(postgres_url), FakeClock(), [True]

    async def wallets() -> Sequence[Address]:
        if not answers:
            raise SignerUnavailable("no answer")
        return [ADA]

    member = Membership(db, clock=clock, wallets=wallets)
    await member.claim(LANES)
    answers.clear()
    await member.turn()
    [process] = await db.read(rows.registered)
    assert process.wallets == {ADA}
    await db.close()


async def test_leaving_frees_everything_at_once(two: tuple[Machine, Machine]) -> None:
    first, second = two
    await first.member.claim(LANES)
    await first.member.leave()
    assert not first.held()
    await second.member.claim(LANES)
    assert second.held() == set(LANES)
    with pytest.raises(LeaseLost):
        await first.writes("late")


async def test_a_write_under_way_ends_before_its_process_can_be_removed(
    two: tuple[Machine, Machine], postgres_url: str
) -> None:
    writer, other = two
    await writer.member.claim(LANES)
    [process] = await other.db.read(rows.registered)
    async with writing(postgres_url, process) as connection:
        # Signs of life go on beside it.
        await writer.member.turn()
        removal = asyncio.create_task(other.db.run(lambda c: rows.remove(c, process.id)))
        await asyncio.sleep(0.3)
        assert not removal.done()
        await connection.rollback()
    assert await removal


async def test_f19_what_was_begun_before_a_process_was_taken_for_dead_is_not_written_after_it_joined_again(
    two: tuple[Machine, Machine],
) -> None:
    stopped, other = two
    await stopped.member.claim(LANES)
    begun = FencedUnitOfWork(stopped.db, stopped.member).of_this_term()
    await begun.run(lambda c: c.execute(insert(users).values(name="before", created_ms=0)))
    await other.lives(TTL_S + 2)
    await other.member.claim(LANES)
    stopped.clock.advance_ms(60_000)
    # Of all that wakes up with the process, its signs of life may be first.
    await stopped.member.turn()
    with pytest.raises(LeaseLost):
        await begun.run(lambda c: c.execute(insert(users).values(name="stale", created_ms=0)))
    await stopped.writes("new")
    assert await other.db.read(lambda c: c.execute(select(users.c.name)).scalars().all()) == ["before", "new"]


async def test_a_lease_that_could_not_be_given_back_is_given_back_later(
    two: tuple[Machine, Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two
    await first.member.claim(LANES)
    await second.lives(1)
    await first.lives(1)
    wanted = first.member.unwanted()
    with monkeypatch.context() as broken:

        async def fails(work: object) -> None:
            raise CommitFailed("no")

        broken.setattr(first.db, "run", fails)
        with pytest.raises(CommitFailed):
            await first.member.give_back(wanted)
    assert not first.held() & wanted
    assert first.member.unwanted() == wanted
    await first.member.claim(LANES)
    assert not first.held() & wanted
    await first.member.give_back(first.member.unwanted())
    await second.member.claim(LANES)
    assert second.held() == wanted


async def test_a_lease_on_its_way_out_is_not_counted_as_taken(
    two: tuple[Machine, Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two
    await first.member.claim(LANES)
    await second.lives(1)
    await first.lives(1)
    run = first.db.run
    with monkeypatch.context() as slow:

        async def slowly(work: Callable[[Connection], object]) -> object:
            await asyncio.sleep(0.3)
            return await run(work)

        slow.setattr(first.db, "run", slowly)
        giving = asyncio.create_task(first.member.give_back(first.member.unwanted()))
        await asyncio.sleep(0)
    # The other leaves meanwhile, so that they are wanted here again.
    await second.member.leave()
    await first.member.turn()
    await first.member.claim(LANES)
    await giving
    nobodys = select(leases.c.name).where(leases.c.process_id.is_(None))
    free = await first.db.read(lambda c: set(c.execute(nobodys).scalars()))
    assert not first.held() & free
    await first.member.claim(LANES)
    assert first.held() == set(LANES)


async def test_many_loops_that_waited_for_a_database_that_stood_still_look_at_others_as_one(
    two: tuple[Machine, Machine],
) -> None:
    first, second = two
    await first.member.claim(LANES)
    await second.lives(1)
    second.clock.advance_ms(60_000)
    await asyncio.gather(*(second.member.claim([name]) for name in LANES))
    assert len(await second.db.read(rows.registered)) == 2


async def test_f19_one_that_stopped_in_the_middle_of_a_write_stops_nobody_else(
    two: tuple[Machine, Machine], postgres_url: str
) -> None:
    stopped, other = two
    await stopped.member.claim(LANES)
    [process] = await other.db.read(rows.registered)
    async with writing(postgres_url, process) as connection:
        async with asyncio.timeout(60):
            await other.lives(TTL_S + 2)
        assert not await _is_gone(other, process)
        # The server ends such a session after a while (service.db.postgres).
        await connection.rollback()
    await other.lives(1)
    assert await _is_gone(other, process)


async def _is_gone(machine: Machine, process: rows.Process) -> bool:
    return process.id not in {one.id for one in await machine.db.read(rows.registered)}


async def test_the_last_holder_is_counted(two: tuple[Machine, Machine]) -> None:
    first, second = two
    name = lane_lease(Lane(chain_id=ChainId(1), wallet=ADA))
    await first.member.claim([name])
    await first.member.leave()
    await second.member.claim([name])
    assert await second.db.read(lambda c: c.execute(select(leases.c.fence)).scalar_one()) == 2
