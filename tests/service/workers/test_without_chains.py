"""A service that has no chain yet goes on: people sign in and make keys before the first endpoint is configured."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from service.build import Services
from service.workers.markets import run_markets
from service.workers.runner import run_endpoints
from tests.service.api import api


@pytest.mark.parametrize("run", [run_markets, run_endpoints])
async def test_a_part_without_chains_ends_only_when_it_is_asked_to(
    tmp_path: Path, run: Callable[[Services, asyncio.Event], Awaitable[None]]
) -> None:
    async with api(tmp_path) as service:
        assert not service.services.chains
        stop = asyncio.Event()
        part = asyncio.ensure_future(run(service.services, stop))
        done, _ = await asyncio.wait([part], timeout=0.05)
        assert not done
        stop.set()
        await asyncio.wait_for(part, timeout=60)
