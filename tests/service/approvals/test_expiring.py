"""Ending what nobody approved in time, beside withdrawals that cannot be ended."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import pytest
from sqlalchemy import select, update

from service.approvals import expiring
from service.approvals.expiring import expire_late, run_expiring
from service.approvals.model import EXPIRES_MS
from service.db import models as m
from tests.service.approvals.scene import Scene, scene


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path) as made:
        yield made


class AfterOneRound(asyncio.Event):
    """Set as soon as it is waited for."""

    async def wait(self) -> Literal[True]:
        self.set()
        return True


async def states(at: Scene) -> list[str]:
    query = select(m.withdrawals.c.state).order_by(m.withdrawals.c.id)
    return list(await at.service.services.db.read(lambda c: c.execute(query).scalars().all()))


async def edit_clearance(at: Scene, withdrawal_id: int) -> None:
    edited = update(m.clearances).where(m.clearances.c.withdrawal_id == withdrawal_id).values(usd=1)
    await at.service.services.db.run(lambda c: c.execute(edited))


async def test_a_late_clearance_that_was_edited_ends_no_worker_and_keeps_no_other_one(at: Scene) -> None:
    edited, _ = await at.withdrawal(asked_by="ann"), await at.withdrawal(asked_by="ann")
    at.service.clock.advance_ms(EXPIRES_MS)
    await edit_clearance(at, edited.id)
    await run_expiring(at.service.services, AfterOneRound())
    # Nothing that it says is believed: it is neither ended nor signed.
    assert await states(at) == ["awaiting_approval", "rejected"]


async def test_late_ones_that_cannot_be_ended_do_not_starve_the_others(
    at: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiring, "AT_ONCE", 2)
    made = [await at.withdrawal(asked_by="ann") for _ in range(6)]
    at.service.clock.advance_ms(EXPIRES_MS)
    gone = update(m.withdrawals).where(m.withdrawals.c.id.in_([one.id for one in made[:3]])).values(chain_id=424_242)
    await at.service.services.db.run(lambda c: c.execute(gone))
    await edit_clearance(at, made[3].id)
    assert await expire_late(at.service.services) == 2
    assert await states(at) == ["awaiting_approval"] * 4 + ["rejected"] * 2
    assert await expire_late(at.service.services) == 0
