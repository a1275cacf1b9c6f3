"""/readyz: a part that does not work makes it 503, and the answer says which."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.workers.heartbeats import LATE_S
from tests.service.api import Api, api


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Api]:
    async with api(tmp_path) as found:
        yield found


async def test_a_service_without_chains_or_workers_is_ready(service: Api) -> None:
    answer = await service.ask("GET", "/readyz")
    assert (answer.status_code, answer.json()) == (
        200,
        {"status": "ok", "database": "ok", "chains": {}, "workers": {}},
    )


async def test_a_loop_that_gives_no_sign_of_life_makes_it_not_ready(service: Api) -> None:
    service.services.heartbeats.expect("engine-ethereum")
    assert (await service.ask("GET", "/readyz")).status_code == 200
    service.clock.advance_ms(int(LATE_S * 1000) + 1)
    answer = await service.ask("GET", "/readyz")
    assert answer.status_code == 503
    assert answer.json()["workers"] == {"engine-ethereum": "silent"}
    assert (await service.ask("GET", "/livez")).status_code == 200


async def test_a_database_that_does_not_answer_makes_it_not_ready(service: Api) -> None:
    await service.services.db.close()
    answer = await service.ask("GET", "/readyz")
    assert (answer.status_code, answer.json()["database"]) == (503, "unreachable")
