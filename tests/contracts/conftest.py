"""Desks on both forks."""

from collections.abc import AsyncIterator

import pytest

from scripts.devnet.network import LocalChain
from tests.contracts.desk import Desk, open_desk


@pytest.fixture
async def ethereum_desk(ethereum: LocalChain) -> AsyncIterator[Desk]:
    async with open_desk(ethereum) as desk:
        yield desk


@pytest.fixture
async def polygon_desk(polygon: LocalChain) -> AsyncIterator[Desk]:
    async with open_desk(polygon) as desk:
        yield desk


@pytest.fixture(params=["ethereum", "polygon"])
async def desk(request: pytest.FixtureRequest) -> AsyncIterator[Desk]:
    """Both chains in turn."""
    chain: LocalChain = request.getfixturevalue(request.param)
    async with open_desk(chain) as found:
        yield found
