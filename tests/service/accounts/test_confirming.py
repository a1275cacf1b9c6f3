"""Confirming with an authenticator's code: each refusal, once only, guesses counted whatever becomes of the work."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, select

from service.accounts import lockout, sessions, users
from service.accounts.confirming import confirm, offer
from service.auth.session_caller import Presented, SessionAuthenticator, SessionCaller
from service.db.models import sign_in_counters
from service.errors import ApiError
from tests.service.api import Api, api
from tests.service.auth.seed import DAY_MS


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Api]:
    async with api(tmp_path) as found:
        yield found


async def caller_of(service: Api) -> SessionCaller:
    parts = service.services
    by_session = SessionAuthenticator(db=parts.db, master=parts.master, clock=parts.clock, idle_ms=DAY_MS)
    presented = Presented(token=await service.session(), carrier=sessions.Carrier.BEARER)
    return await by_session.authenticate(presented, [], method="POST", client_ip=None)


async def refusal(service: Api, caller: SessionCaller, code: str | None) -> str | None:
    try:
        await confirmed(service, caller, code)
    except ApiError as exc:
        return exc.code
    return None


async def confirmed(service: Api, caller: SessionCaller, code: str | None) -> None:
    offered = await offer(service.services, caller, code)
    now_ms, master = service.clock.now_ms(), service.services.master
    await service.services.db.run(lambda c: confirm(c, caller, offered, master=master, now_ms=now_ms))


async def test_a_right_code_confirms_once(service: Api) -> None:
    await service.authenticator()
    caller = await caller_of(service)
    code = service.totp_code()
    assert await refusal(service, caller, code) is None
    assert await refusal(service, caller, code) == "totp_code_wrong"
    assert await refusal(service, caller, None) == "totp_required"


async def test_without_an_authenticator_nothing_is_confirmed(service: Api) -> None:
    assert await refusal(service, await caller_of(service), "123456") == "totp_required"


async def test_during_the_hold_a_right_code_confirms_nothing_and_stays_unused(service: Api) -> None:
    await service.authenticator()
    service.clock.advance_ms(-users.HOLD_MS)
    caller = await caller_of(service)
    code = service.totp_code()
    assert await refusal(service, caller, code) == "held"
    service.clock.advance_ms(users.HOLD_MS)
    assert await refusal(service, caller, service.totp_code()) is None


async def test_codes_that_nobody_looks_at_lock_nobody_out(service: Api) -> None:
    """During the hold, and without an authenticator, the answer is the same whatever the code is."""
    caller = await caller_of(service)
    tries = 2 * lockout.RULES[lockout.Scope.PAIR].free
    assert [await refusal(service, caller, "123456") for _ in range(tries)] == ["totp_required"] * tries
    await service.authenticator()
    service.clock.advance_ms(-users.HOLD_MS)
    caller = await caller_of(service)
    assert [await refusal(service, caller, service.totp_code()) for _ in range(tries)] == ["held"] * tries
    assert await caller_of(service)


async def test_a_session_that_ended_meanwhile_confirms_nothing(service: Api) -> None:
    await service.authenticator()
    caller = await caller_of(service)
    await service.services.db.run(lambda c: sessions.end_all(c, caller.user_id, but=None))
    assert await refusal(service, caller, service.totp_code()) == "session_ended"


async def test_wrong_codes_are_counted_although_their_unit_of_work_is_undone(service: Api) -> None:
    await service.authenticator()
    caller = await caller_of(service)
    free = lockout.RULES[lockout.Scope.PAIR].free
    wrong = "000000" if service.totp_code() != "000000" else "000001"
    for _ in range(free):
        assert await refusal(service, caller, wrong) == "totp_code_wrong"
    assert await refusal(service, caller, service.totp_code()) is None
    for _ in range(free):
        assert await refusal(service, caller, wrong) == "totp_code_wrong"
    assert await refusal(service, caller, wrong) == "sign_in_locked"


async def test_what_is_refused_after_its_confirmation_leaves_the_code_to_be_used(service: Api) -> None:
    await service.authenticator()
    caller = await caller_of(service)
    code = service.totp_code()
    offered = await offer(service.services, caller, code)
    now_ms, master = service.clock.now_ms(), service.services.master

    def write(c: Connection) -> None:
        confirm(c, caller, offered, master=master, now_ms=now_ms)
        raise ApiError("invalid_parameters", "something else was wrong")

    with pytest.raises(ApiError, match="something else"):
        await service.services.db.run(write)
    counted = await service.services.db.read(lambda c: c.execute(select(sign_in_counters.c.failures)).scalars().all())
    assert set(counted) == {1}
    assert await refusal(service, caller, code) is None
