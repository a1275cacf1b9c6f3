"""Refusals are counted within bounds, whoever sends however many."""

from service.audit import reading
from service.audit.reading import Wanted
from service.audit.refusals import BURST, MAX_COUNTERS, Refusal, Refusals
from service.auth.secrets import MasterKey
from service.db.engine import Database
from tests.clock import FakeClock

MASTER = MasterKey(bytes(32))


def refusal(number: int, *, ip: str = "192.0.2.1") -> Refusal:
    return Refusal(
        code="authentication_failed",
        key_id=f"ck_{number}",
        is_proven=False,
        client_ip=ip,
        request_id="r",
        route="/v1/orders",
    )


async def test_a_flood_leaves_few_entries_and_every_refusal_is_in_a_count(
    sqlite_db: Database, clock: FakeClock
) -> None:
    refusals, sent = Refusals(clock), 3 * MAX_COUNTERS
    for number in range(sent):
        refusals.note(refusal(number, ip=f"10.0.{number // 250}.{number % 250}"))
    await refusals.flush(sqlite_db, MASTER)
    found = await sqlite_db.read(lambda c: reading.newest(c, Wanted(), limit=10_000))
    assert len(found) == BURST
    assert sum(int(entry.details.partition('"count":')[2].partition(",")[0].rstrip("}")) for entry in found) == sent


async def test_a_claimed_key_that_does_not_exist_is_not_named(sqlite_db: Database, clock: FakeClock) -> None:
    refusals = Refusals(clock)
    refusals.note(refusal(1))
    await refusals.flush(sqlite_db, MASTER)
    (entry,) = await sqlite_db.read(lambda c: reading.newest(c, Wanted(), limit=10))
    assert (entry.actor_kind, entry.actor, entry.subject, entry.client_ip) == ("unknown", "", None, "192.0.2.1")
