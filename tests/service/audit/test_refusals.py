"""Refusals are counted together: whoever is refused, however often, writes little, and takes nothing from others."""

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import Any, Final

import orjson
import pytest
from sqlalchemy import Connection, select

from service.audit.model import UNKNOWN, Actor, ActorKind
from service.audit.refusals import BURST, ENTRY_EVERY_S, MAX_COUNTERS, Refusal, Refusals
from service.auth.secrets import MasterKey
from service.db.engine import Database
from service.db.errors import DatabaseError
from service.db.models import audit_entries
from service.ratelimits.limits import bucket_of
from tests.clock import FakeClock

MASTER: Final = MasterKey(bytes(range(32)))
ACCOUNT: Final = 3
DENIED: Final = Refusal(
    code="permission_denied",
    reason="this key does not have the withdraw permission",
    actor=Actor(kind=ActorKind.KEY, id="ck_1"),
    account_id=ACCOUNT,
    client_ip="192.0.2.1",
    request_id="r",
    route="/v1/{chain}/withdrawals",
)
FORGED: Final = Refusal(
    code="authentication_failed", reason="wrong", actor=UNKNOWN, claimed_key="ck_nobodys", client_ip="192.0.2.9"
)


async def written(db: Database, chain: int = 0) -> Sequence[tuple[str, str, str | None, dict[str, Any]]]:
    def find(c: Connection) -> Sequence[tuple[str, str, str | None, dict[str, Any]]]:
        t = audit_entries
        rows = c.execute(select(t).where(t.c.chain == chain, t.c.act == "request.refused").order_by(t.c.seq))
        return [(row.code, row.actor, row.subject, orjson.loads(row.details)) for row in rows]

    return await db.read(find)


async def test_many_of_one_kind_are_one_entry_with_their_count_in_the_chain_of_the_keys_account(db: Database) -> None:
    clock = FakeClock()
    refusals = Refusals(clock)
    for _ in range(1_000):
        refusals.note(DENIED)
    await refusals.flush(db, MASTER)
    ((code, actor, subject, details),) = await written(db, ACCOUNT)
    assert (code, actor, subject, details["count"]) == ("permission_denied", "ck_1", None, 1_000)
    assert details["reason"] == DENIED.reason
    assert details["route"] == DENIED.route
    await refusals.flush(db, MASTER)
    assert len(await written(db, ACCOUNT)) == 1


async def test_a_key_that_is_only_claimed_is_not_the_actor_and_not_named_unless_it_is_there(db: Database) -> None:
    refusals = Refusals(FakeClock())
    refusals.note(FORGED)
    await refusals.flush(db, MASTER)
    assert [(actor, subject) for _, actor, subject, _ in await written(db)] == [("", None)]


async def test_a_flood_from_everywhere_writes_a_bounded_number_of_entries_and_loses_no_count(
    sqlite_db: Database,
) -> None:
    clock = FakeClock()
    refusals = Refusals(clock)
    sent = 0
    for second in range(0, 600, 5):
        for number in range(MAX_COUNTERS * 2):
            refusals.note(replace(FORGED, client_ip=f"2001:db8::{second:x}:{number:x}", claimed_key=f"ck_{number}"))
            sent += 1
        await refusals.flush(sqlite_db, MASTER)
        clock.advance_ms(5_000)
    clock.advance_ms(ENTRY_EVERY_S * 1_000)
    await refusals.flush(sqlite_db, MASTER)
    entries = await written(sqlite_db)
    assert len(entries) <= BURST + 600 // ENTRY_EVERY_S + 1
    assert sum(details["count"] for *_, details in entries) == sent
    # Afterwards there is nothing left of it in memory.
    clock.advance_ms(BURST * ENTRY_EVERY_S * 1_000)
    await refusals.flush(sqlite_db, MASTER)
    assert refusals._accounts == {}


async def test_a_flood_without_proof_hides_no_refusal_of_a_key_and_one_account_none_of_another(
    sqlite_db: Database,
) -> None:
    refusals = Refusals(FakeClock())
    for number in range(5_000):
        refusals.note(replace(FORGED, client_ip=f"198.51.100.{number % 256}", code=f"c{number // 256}"))
        refusals.note(replace(DENIED, client_ip=f"198.51.100.{number % 256}", code=f"c{number // 256}"))
    other = replace(DENIED, account_id=ACCOUNT + 1, actor=Actor(kind=ActorKind.KEY, id="ck_2"))
    refusals.note(other)
    await refusals.flush(sqlite_db, MASTER)
    assert [(code, actor) for code, actor, *_ in await written(sqlite_db, ACCOUNT + 1)] == [
        ("permission_denied", "ck_2")
    ]


WRONG: Final = Refusal(code="credentials_wrong", reason="name, password or code is wrong", actor=UNKNOWN)


async def test_a_flood_of_wrong_signatures_from_one_network_hides_no_sign_in_that_was_refused(
    sqlite_db: Database,
) -> None:
    """Nor the other way: each kind has counters and entries of its own, and so has each user who was tried."""
    clock = FakeClock()
    refusals = Refusals(clock)
    for number in range(5_000):
        address = ip_address((0x2001_0DB8 << 96) + number)
        flood = replace(FORGED, client_ip=str(address), source=bucket_of(address))
        refusals.note(flood)
        # And from everywhere, so that what there is of entries is used up.
        refusals.note(replace(FORGED, client_ip=f"198.51.{number % 200}.{number // 200}", source=None))
        refusals.note(replace(WRONG, client_ip=f"198.51.{number % 200}.{number // 200}"))
        if number % 100 == 0:
            await refusals.flush(sqlite_db, MASTER)
    told = replace(WRONG, user="ada:1", reason="the password was wrong", client_ip="192.0.2.77")
    refusals.note(told)
    refusals.note(replace(told, reason="the password was right, what was to come with it was not"))
    refusals.note(replace(told, user="bob:2"))
    await refusals.flush(sqlite_db, MASTER)
    entries = await written(sqlite_db)
    tried = [(subject, details["reason"]) for _, _, subject, details in entries if subject is not None]
    assert sorted(tried) == [
        ("ada:1", "the password was right, what was to come with it was not"),
        ("ada:1", "the password was wrong"),
        ("bob:2", "the password was wrong"),
    ]


async def test_a_flood_of_wrong_signatures_from_everywhere_hides_no_sign_in_of_a_name_that_nobody_has(
    sqlite_db: Database,
) -> None:
    refusals = Refusals(FakeClock())
    for number in range(5_000):
        refusals.note(replace(FORGED, client_ip=f"198.51.{number % 200}.{number // 200}"))
        if number % 100 == 0:
            await refusals.flush(sqlite_db, MASTER)
    refusals.note(replace(WRONG, client_ip="192.0.2.77"))
    await refusals.flush(sqlite_db, MASTER)
    assert [code for code, *_ in await written(sqlite_db) if code not in ("several", FORGED.code)] == [WRONG.code]


async def test_one_networks_addresses_are_one_counter_which_names_the_first(sqlite_db: Database) -> None:
    refusals = Refusals(FakeClock())
    for number in range(1, 500):
        address = ip_address((0x2001_0DB8 << 96) + number)
        refusals.note(replace(FORGED, client_ip=str(address), source=bucket_of(address)))
    await refusals.flush(sqlite_db, MASTER)
    ((code, _, _, details),) = await written(sqlite_db)
    assert (code, details["count"]) == ("authentication_failed", 499)


async def test_a_flood_on_one_user_hides_neither_another_ones_nor_what_they_are_refused_themselves(
    sqlite_db: Database,
) -> None:
    refusals = Refusals(FakeClock())
    for number in range(5_000):
        source = f"198.51.{number % 200}.{number // 200}"
        refusals.note(replace(WRONG, user="ada:1", reason="the password was wrong", client_ip=source))
    own = Refusal(code="role_denied", reason="not yours", actor=Actor(kind=ActorKind.USER, id="ada:1"))
    refusals.note(own)
    await refusals.flush(sqlite_db, MASTER)
    entries = await written(sqlite_db)
    assert [code for code, actor, *_ in entries if actor == "ada:1"] == ["role_denied"]
    assert len(entries) <= BURST + 1
    [common] = [subject for code, _, subject, _ in entries if code == "several"]
    assert common == "ada:1"


async def test_what_could_not_be_written_is_counted_on(sqlite_db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = Refusals(FakeClock())
    refusals.note(DENIED)

    async def fails(*_: object) -> None:
        raise DatabaseError("no disk")

    with monkeypatch.context() as broken:
        broken.setattr(Database, "run", fails)
        with pytest.raises(DatabaseError):
            await refusals.flush(sqlite_db, MASTER)
    refusals.note(DENIED)
    await refusals.flush(sqlite_db, MASTER)
    assert [details["count"] for *_, details in await written(sqlite_db, ACCOUNT)] == [2]
