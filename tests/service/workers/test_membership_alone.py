"""The only process on an SQLite file: its lock has said already that nobody else is there."""

from collections.abc import Sequence

from sqlalchemy import select

from chains.tx.leases import LeaseName
from chains.types import Address
from service.db.engine import Database
from service.db.leases import NO_BEAT, registered
from service.db.models import processes
from service.workers.membership import Membership
from tests.clock import FakeClock
from tests.service.orders.tampering import write

ADA = Address("0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2")
LANES = [LeaseName(f"lane:{chain}:{ADA}") for chain in range(1, 41)]


async def wallets() -> Sequence[Address]:
    return [ADA]


async def test_rows_of_a_killed_process_are_cleared_at_once(sqlite_db: Database, clock: FakeClock) -> None:
    killed = Membership(sqlite_db, clock=clock, wallets=wallets)
    await killed.claim(LANES)
    started = Membership(sqlite_db, clock=clock, wallets=wallets)
    await started.claim(LANES)
    assert all(started.holds(name) for name in LANES)
    assert len(await sqlite_db.read(lambda c: c.execute(select(processes.c.id)).all())) == 1


async def test_it_holds_without_signs_of_life(sqlite_db: Database, clock: FakeClock) -> None:
    member = Membership(sqlite_db, clock=clock, wallets=wallets)
    await member.claim(LANES)
    clock.advance_ms(3_600_000)
    assert all(member.holds(name) for name in LANES)
    assert not member.unwanted()


async def test_a_row_that_makes_no_sense_of_a_process_before_keeps_nobody_from_starting(
    sqlite_db: Database, sqlite_url: str, clock: FakeClock
) -> None:
    killed = Membership(sqlite_db, clock=clock, wallets=wallets)
    await killed.claim(LANES)
    write(sqlite_url, "UPDATE processes SET wallets = 'x'")
    write(sqlite_url, "UPDATE process_beats SET beat = 'x'")
    assert [(one.wallets, one.beat) for one in await sqlite_db.read(registered)] == [(frozenset(), NO_BEAT)]
    started = Membership(sqlite_db, clock=clock, wallets=wallets)
    await started.claim(LANES)
    assert all(started.holds(name) for name in LANES)
