"""Swap logs of V2 and V3 as trades: direction, net amounts, and what is none."""

import pytest

from chains.types import Address, BlockHash, BlockRef, Log, TxHash
from contracts import trades
from contracts.errors import AbiError
from contracts.uniswap_v2 import trades as v2
from contracts.uniswap_v3 import trades as v3

POOL = Address("0x88e6A0c2dDD26FEEb64F039a2c41296FcB3f5640")
BLOCK = BlockRef(number=7, hash=BlockHash("0x" + "07" * 32))


def log(topic: bytes, *words: int, missing: int = 0) -> Log:
    data = b"".join(word.to_bytes(32, "big", signed=word < 0) for word in words)
    return Log(
        address=POOL,
        topics=(topic, b"\x00" * 32, b"\x01" * 32),
        data=data[: len(data) - missing],
        log_index=3,
        tx_hash=TxHash("0x" + "aa" * 32),
        block=BLOCK,
    )


def test_the_topics_are_those_of_the_deployed_contracts() -> None:
    assert {topic.hex() for topic in trades.topics()} == {
        "d78ad95fa46c994b6551d0da85fc275fe613ce37657fb8d5e3d130840159d822",
        "c42079f94a6350d7e6235f29174924f928cc2ac818eb64fed8004e115fbcca67",
    }


@pytest.mark.parametrize(
    ("words", "zero_for_one", "amounts"),
    [
        ((1_000, 0, 0, 997), True, (1_000, 997)),
        ((0, 500, 20, 0), False, (20, 500)),
        # Paid in both, or paid and partly handed back: what counts is the difference.
        ((1_000, 7, 0, 1_000), True, (1_000, 993)),
        ((900, 500, 1_000, 0), False, (100, 500)),
    ],
)
def test_a_pairs_swap_is_what_went_in_less_what_came_out(
    words: tuple[int, ...], zero_for_one: bool, amounts: tuple[int, int]
) -> None:
    trade = trades.decode(log(v2.topic(), *words))
    assert trade is not None
    assert (trade.zero_for_one, (trade.amount0, trade.amount1)) == (zero_for_one, amounts)
    assert (trade.pool, trade.block, trade.log_index) == (POOL, BLOCK, 3)


@pytest.mark.parametrize("words", [(5, 5, 0, 0), (5, 0, 0, 0), (5, 5, 5, 5), (0, 0, 9, 9), (5, 0, 5, 5)])
def test_what_went_one_way_only_is_no_trade(words: tuple[int, ...]) -> None:
    assert trades.decode(log(v2.topic(), *words)) is None


@pytest.mark.parametrize(
    ("gained", "zero_for_one", "amounts"),
    [((10**18, -3 * 10**9), True, (10**18, 3 * 10**9)), ((-(2**127), 2**128), False, (2**127, 2**128))],
)
def test_a_v3_swap_has_signed_amounts(gained: tuple[int, int], zero_for_one: bool, amounts: tuple[int, int]) -> None:
    trade = trades.decode(log(v3.topic(), *gained, 2**96, 10**20, -5))
    assert trade is not None
    assert (trade.zero_for_one, (trade.amount0, trade.amount1)) == (zero_for_one, amounts)


@pytest.mark.parametrize("gained", [(0, 0), (1, 0), (0, 1), (-1, 0)])
def test_a_v3_swap_that_gave_nothing_for_something_is_no_trade(gained: tuple[int, int]) -> None:
    assert trades.decode(log(v3.topic(), *gained, 2**96, 10**20, -5)) is None


def test_other_logs_are_no_trades() -> None:
    assert trades.decode(log(b"\x11" * 32, 1, 2, 3, 4)) is None


@pytest.mark.parametrize(("topic", "words"), [(v2.topic(), 4), (v3.topic(), 5)])
def test_a_log_that_is_too_short_is_refused(topic: bytes, words: int) -> None:
    with pytest.raises(AbiError):
        trades.decode(log(topic, *range(1, words + 1), missing=1))
