"""A database never runs against another chain by mistake."""

from pathlib import Path

import pytest
from sqlalchemy import Connection, update

from chains.errors import WrongChain
from chains.rpc.addresses import parse_endpoints
from chains.types import ChainId
from scripts.devnet.network import LocalChain
from service.build import ChainNotConfigured, build
from service.db import models as m
from service.db.engine import Database
from service.db.errors import WrongDatabase
from service.db.headstore import SqlHeadStore
from service.settings import Settings
from tests.e2e.harness import FUNDING_DEPTH, running

FUNDS = {"ethereum": {"ETH": 10**18}}
FINAL_DEPTH = 80
"""More than Anvil's finalized tag is behind its head."""


async def bound(directory: Path, chain: LocalChain) -> Settings:
    """Settings of an installation that has run on that chain, and was closed."""
    async with running(directory, {"ethereum": chain}, funds=FUNDS) as stack:
        await stack.mine("ethereum", FUNDING_DEPTH)
        await stack.round("ethereum")
        return stack.services.settings


async def tampered(settings: Settings, **values: object) -> None:
    services = await build(settings)

    def change(c: Connection) -> None:
        c.execute(update(m.chain_bindings).values(**values))

    await services.db.run(change)
    await services.close()


async def test_the_same_chain_is_recognized_again(ethereum: LocalChain, tmp_path: Path) -> None:
    services = await build(await bound(tmp_path, ethereum))
    await services.close()


async def frozen(settings: Settings) -> None:
    database = await Database.open(settings.database_address)
    await database.run(lambda c: SqlHeadStore().freeze(c, ChainId(1), "deep_reorg: known", now_ms=1))
    await database.close()


async def test_an_endpoint_of_another_chain_id_is_refused(
    ethereum: LocalChain, polygon: LocalChain, tmp_path: Path
) -> None:
    settings = await bound(tmp_path, ethereum)
    swapped = settings.model_copy(update={"rpc": {"ethereum": parse_endpoints(polygon.rpc_url, chain="ethereum")}})
    with pytest.raises(WrongChain):
        await build(swapped)


@pytest.mark.parametrize("column", ["genesis_hash", "checkpoint_hash"])
async def test_a_chain_with_another_genesis_or_checkpoint_is_refused(
    ethereum: LocalChain, tmp_path: Path, column: str
) -> None:
    settings = await bound(tmp_path, ethereum)
    await tampered(settings, **{column: "0x" + "ab" * 32})
    with pytest.raises(WrongDatabase):
        await build(settings)
    with pytest.raises(WrongDatabase):  # and what was opened is closed again
        await build(settings)


async def test_the_network_that_a_fork_was_made_of_is_refused_once_the_fork_was_used(
    ethereum: LocalChain, fresh_ethereum: LocalChain, tmp_path: Path
) -> None:
    settings = await bound(tmp_path / "a", fresh_ethereum)
    async with running(tmp_path / "b", {"ethereum": ethereum}, funds=FUNDS) as other:
        # Far enough that the cursor's height is final there.
        await other.mine("ethereum", FINAL_DEPTH + 4 * FUNDING_DEPTH)
    moved = settings.model_copy(update={"rpc": {"ethereum": parse_endpoints(ethereum.rpc_url, chain="ethereum")}})
    with pytest.raises(WrongDatabase, match="everything up to block"):
        await build(moved)
    await frozen(moved)  # a person knows already: nothing is done there, and other chains go on
    services = await build(moved)
    await services.close()


async def test_an_endpoint_for_a_chain_that_no_file_describes_is_refused(ethereum: LocalChain, tmp_path: Path) -> None:
    settings = await bound(tmp_path, ethereum)
    with pytest.raises(ChainNotConfigured, match="solana"):
        await build(
            settings.model_copy(update={"rpc": {"solana": parse_endpoints(ethereum.rpc_url, chain="ethereum")}})
        )
