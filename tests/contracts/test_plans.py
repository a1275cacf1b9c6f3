"""Reads in rounds: plans run together, each with its own answers, at one block."""

import pytest
from eth_abi.abi import decode, encode

from chains.types import Address, BlockHash, BlockRef, BlockTag, CallRequest
from contracts.call import Call
from contracts.multicall import Ok, Reverted, encode_aggregate3
from contracts.plans import Plan, run_plans

MULTICALL = Address("0xcA11bde05977b3631167028862bE2a173976CA11")
TARGET = Address("0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2")
BLOCK = BlockRef(number=7, hash=BlockHash("0x" + "7" * 64))


class _Echo:
    """Multicall3 of a chain where every contract answers with its calldata; calls of one byte fail."""

    def __init__(self) -> None:
        self.rounds: list[int] = []

    async def call(self, request: CallRequest, *, block: BlockRef | BlockTag | int = "latest") -> bytes:
        assert (request.to, block) == (MULTICALL, BLOCK)
        ((*calls,),) = decode(["(address,bool,bytes)[]"], request.data[4:])
        assert encode_aggregate3([(TARGET, data) for _, _, data in calls]) == request.data
        self.rounds.append(len(calls))
        return encode(["(bool,bytes)[]"], [[(len(data) != 1, data) for _, _, data in calls]])


def _asking(*rounds: list[bytes]) -> Plan[list[object]]:
    heard: list[object] = []
    for wanted in rounds:
        heard += yield [Call(to=TARGET, data=data, decode=bytes) for data in wanted]
    return heard


async def test_plans_of_different_lengths_share_rounds_and_get_their_own_answers() -> None:
    echo = _Echo()
    first, second, third = await run_plans(
        echo, [_asking([b"aa", b"bb"], [b"cc"], [b"dd"]), _asking([b"ee"]), _asking()], multicall=MULTICALL, block=BLOCK
    )
    assert first == [Ok(b"aa"), Ok(b"bb"), Ok(b"cc"), Ok(b"dd")]
    assert second == [Ok(b"ee")]
    assert third == []
    assert echo.rounds == [3, 1, 1]


async def test_a_round_that_asks_nothing_needs_no_node_call() -> None:
    echo = _Echo()
    assert await run_plans(echo, [_asking([], [b"aa"])], multicall=MULTICALL, block=BLOCK) == [[Ok(b"aa")]]
    assert echo.rounds == [1]
    assert await run_plans(echo, [], multicall=MULTICALL, block=BLOCK) == []


async def test_a_call_that_fails_fails_alone() -> None:
    answers = await run_plans(_Echo(), [_asking([b"aa", b"b"]), _asking([b"cc"])], multicall=MULTICALL, block=BLOCK)
    assert answers == [[Ok(b"aa"), Reverted(b"b")], [Ok(b"cc")]]


async def test_a_plan_that_raises_ends_the_run_with_its_error() -> None:
    def failing() -> Plan[None]:
        yield [Call(to=TARGET, data=b"aa", decode=bytes)]
        raise LookupError("not what was expected")

    with pytest.raises(LookupError):
        await run_plans(_Echo(), [failing()], multicall=MULTICALL, block=BLOCK)
