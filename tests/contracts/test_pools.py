"""Factories' logs of new pools: which pool they tell of, and what of them is remembered."""

from dataclasses import replace

import pytest

from chains.types import Address, BlockHash, BlockRef, ChainId, Log, TxHash, address_bytes, address_from_bytes
from contracts.deployments import Venue, load_deployments
from contracts.pools import ABSENT_FOR_BLOCKS, PoolDirectory, PoolKey, created, created_topics

CHAIN = ChainId(1)
FACTORIES = {one.factory: one.venue for one in load_deployments().venues(CHAIN)}
V3, V2 = (load_deployments().venue(CHAIN, venue).factory for venue in (Venue.UNISWAP_V3, Venue.UNISWAP_V2))
ONE, OTHER, POOL = (address_from_bytes(bytes([each]) * 20) for each in (1, 2, 3))
POOL_CREATED, PAIR_CREATED = created_topics()


def word(value: int | Address) -> bytes:
    return value.to_bytes(32, "big") if isinstance(value, int) else bytes(12) + address_bytes(value)


def log(factory: Address, *topics: bytes, data: bytes) -> Log:
    block = BlockRef(number=5, hash=BlockHash("0x" + "00" * 32))
    return Log(address=factory, topics=topics, data=data, log_index=0, tx_hash=TxHash("0x"), block=block)


V3_MADE = log(V3, POOL_CREATED, word(ONE), word(OTHER), word(500), data=word(10) + word(POOL))
V2_MADE = log(V2, PAIR_CREATED, word(ONE), word(OTHER), data=word(POOL) + word(77))


def test_a_factorys_log_tells_key_and_address() -> None:
    tokens = (ONE, OTHER)
    assert created(V3_MADE, FACTORIES) == (PoolKey.of(Venue.UNISWAP_V3, tokens, fee_pips=500), POOL)
    assert created(V2_MADE, FACTORIES) == (PoolKey.of(Venue.UNISWAP_V2, tokens, fee_pips=3_000), POOL)


@pytest.mark.parametrize(
    "other",
    [
        replace(V3_MADE, address=POOL),
        replace(V3_MADE, address=V2),
        replace(V3_MADE, topics=V3_MADE.topics[:3]),
        replace(V3_MADE, topics=()),
        replace(V3_MADE, data=V3_MADE.data[:-1]),
        replace(V2_MADE, topics=(TxHash("0x").encode(), *V2_MADE.topics[1:])),
    ],
)
def test_a_log_of_anyone_else_or_of_another_shape_tells_nothing(other: Log) -> None:
    assert created(other, FACTORIES) is None


def test_only_a_pool_that_was_asked_for_is_remembered_until_its_block_leaves_the_chain() -> None:
    directory = PoolDirectory(CHAIN)
    found = created(V3_MADE, FACTORIES)
    assert found is not None
    key, address = found
    directory.made(key, address)
    assert directory.address(key) is None
    directory.remember(key, Address("0x" + "0" * 40), block_number=4)
    assert directory.unknown([key], block_number=4 + ABSENT_FOR_BLOCKS - 1) == []
    directory.made(key, address)
    assert directory.address(key) == address
    directory.unmade(key, block_number=9)
    assert directory.address(key) is None
    assert directory.unknown([key], block_number=9 + ABSENT_FOR_BLOCKS - 1) == []
