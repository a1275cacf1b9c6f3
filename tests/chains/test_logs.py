"""Logs of blocks and ranges over a scripted node: order, what is refused, how ranges halve and grow."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.errors import RpcError, RpcProtocolError, RpcRefused, RpcThrottled, RpcUnavailable
from chains.logs import ADDRESSES_AT_MOST, LogChunk, LogQuery, logs_in, logs_of_blocks
from chains.sizing import GROWS_AFTER, LIMIT_EXCEEDED, Portion
from chains.types import BlockHash, BlockRef, Log, address_from_bytes

POOL = address_from_bytes(b"\x11" * 20)
STRANGER = address_from_bytes(b"\x22" * 20)
TOPIC = b"\xaa" * 32
QUERY = LogQuery(addresses=frozenset({POOL}), topics=frozenset({TOPIC}))


def block_hash(number: int) -> BlockHash:
    return BlockHash("0x" + number.to_bytes(32, "big").hex())


def item(number: int, index: int, **changes: Any) -> dict[str, Any]:
    """A log as nodes answer it."""
    return {
        "address": POOL.lower(),
        "topics": ["0x" + TOPIC.hex()],
        "data": "0x0102",
        "logIndex": hex(index),
        "transactionHash": "0x" + "cd" * 32,
        "blockNumber": hex(number),
        "blockHash": block_hash(number),
        "removed": False,
    } | changes


class LogNode:
    """Answers from its items; refuses a range for which `refuses` has a reason."""

    name = "node-a"

    def __init__(
        self, items: Sequence[dict[str, Any]] = (), *, refuses: Callable[[int], RpcError | None] = lambda blocks: None
    ) -> None:
        self.items = list(items)
        self.refuses = refuses
        self.asked: list[dict[str, Any]] = []

    async def request(self, method: str, params: Sequence[Any]) -> Any:
        [query] = params
        self.asked.append(query)
        if "blockHash" in query:
            return [one for one in self.items if one["blockHash"] == query["blockHash"]]
        first, last = int(query["fromBlock"], 16), int(query["toBlock"], 16)
        if (refusal := self.refuses(last - first + 1)) is not None:
            raise refusal
        return [one for one in self.items if first <= int(one["blockNumber"], 16) <= last]

    async def batch(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any | RpcError]:
        return [await self.request(*call) for call in calls]

    async def close(self) -> None: ...


class Answers(LogNode):
    """Gives this answer, whatever is asked."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    async def request(self, method: str, params: Sequence[Any]) -> Any:
        return self.answer


def refused(text: str, *, code: int = -32000) -> RpcRefused:
    return RpcRefused(text, endpoint="node-a", method="eth_getLogs", code=code)


def ref(number: int) -> BlockRef:
    return BlockRef(number=number, hash=block_hash(number))


async def all_of(node: LogNode, first: int, last: int, *, span: Portion) -> list[LogChunk]:
    return [chunk async for chunk in logs_in(node, QUERY, first=first, last=last, span=span)]


def places(logs: Sequence[Log]) -> list[tuple[int, int]]:
    return [(log.block.number, log.log_index) for log in logs]


async def test_logs_of_a_block_are_asked_by_its_hash_and_decoded() -> None:
    node = LogNode([item(7, 0), item(8, 0)])
    [[log]] = await logs_of_blocks(node, QUERY, [ref(7)])
    assert node.asked == [{"address": [POOL], "topics": [["0x" + TOPIC.hex()]], "blockHash": block_hash(7)}]
    assert log == Log(address=POOL, topics=(TOPIC,), data=b"\x01\x02", log_index=0, tx_hash=log.tx_hash, block=ref(7))


async def test_logs_told_twice_and_out_of_order_are_told_once_in_order() -> None:
    node = LogNode([item(7, 2), item(7, 0), item(7, 2), item(7, 1)])
    [logs] = await logs_of_blocks(node, QUERY, [ref(7)])
    assert places(logs) == [(7, 0), (7, 1), (7, 2)]


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {"logs": []},
        [item(8, 0)],
        [item(7, 0, blockHash=block_hash(9))],
        [item(7, 0, removed=True)],
        [item(7, 0, topics=["0x" + "aa" * 31])],
        [item(7, 0, topics=["0x" + "bb" * 32])],
        [item(7, 0, topics=[])],
        [item(7, 0, data="0x012")],
        [item(7, 0, data="1234")],
        [item(7, 0, address="0x11")],
        [item(7, 0, address=STRANGER.lower())],
        [item(7, 0, logIndex=3)],
        [item(7, 0, transactionHash="0x" + "zz" * 32)],
        [item(7, 0, transactionHash=None)],
        [{"address": POOL}],
        ["log"],
    ],
)
async def test_an_answer_that_is_not_the_blocks_logs_is_refused(answer: Any) -> None:
    with pytest.raises(RpcProtocolError):
        await logs_of_blocks(Answers(answer), QUERY, [ref(7)])


async def test_over_the_bound_of_addresses_the_node_is_asked_by_topic_and_strangers_are_left_out() -> None:
    many = frozenset(address_from_bytes(number.to_bytes(20, "big")) for number in range(ADDRESSES_AT_MOST)) | {POOL}
    node = LogNode([item(7, 0), item(7, 1, address=STRANGER.lower())])
    [logs] = await logs_of_blocks(node, LogQuery(addresses=many, topics=frozenset({TOPIC})), [ref(7)])
    assert "address" not in node.asked[0]
    assert places(logs) == [(7, 0)]


@pytest.mark.parametrize(
    "refusal",
    [
        refused("query returned more than 10000 results", code=LIMIT_EXCEEDED),
        refused("Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range"),
        refused("eth_getLogs is limited to a 10,000 range"),
        refused("block range is too wide"),
        refused("query exceeds max results 20000, retry with the range 1-5"),
        refused("query timeout exceeded"),
        refused("limit exceeded", code=LIMIT_EXCEEDED),
        RpcUnavailable("no answer in time", endpoint="node-a", method="eth_getLogs"),
        RpcProtocolError("the answer is over 67108864 bytes", endpoint="node-a", method="eth_getLogs"),
    ],
    ids=str,
)
async def test_F33_a_range_that_is_refused_is_halved_until_it_is_answered(refusal: RpcError) -> None:
    node = LogNode([item(number, 0) for number in range(100)], refuses=lambda blocks: refusal if blocks > 3 else None)
    span = Portion(64)
    chunks = await all_of(node, 10, 40, span=span)
    assert [(number, 0) for number in range(10, 41)] == places([log for chunk in chunks for log in chunk.logs])
    assert [chunk.first for chunk in chunks] == [10] + [chunk.last + 1 for chunk in chunks[:-1]]
    assert chunks[-1].last == 40
    assert max(chunk.last - chunk.first + 1 for chunk in chunks) <= 3


@pytest.mark.parametrize(
    "refusal",
    [
        refused("rate limit exceeded", code=LIMIT_EXCEEDED),
        refused("daily request count exceeded", code=LIMIT_EXCEEDED),
        refused("unknown block"),
        RpcThrottled("HTTP 429", endpoint="node-a", method="eth_getLogs"),
    ],
    ids=str,
)
async def test_what_a_smaller_range_does_not_mend_is_raised_at_once(refusal: RpcError) -> None:
    node = LogNode(refuses=lambda blocks: refusal)
    with pytest.raises(type(refusal)):
        await all_of(node, 0, 100, span=Portion(64))
    assert len(node.asked) == 1


async def test_a_single_block_that_is_refused_is_raised() -> None:
    node = LogNode(refuses=lambda blocks: refused("query returned more than 10000 results"))
    with pytest.raises(RpcRefused, match="10000"):
        await all_of(node, 5, 9, span=Portion(4))
    assert [int(one["toBlock"], 16) - 4 for one in node.asked] == [4, 2, 1]


async def test_a_halved_range_grows_back() -> None:
    node = LogNode(refuses=lambda blocks: refused("block range is too wide") if blocks > 8 else None)
    span = Portion(16)
    await all_of(node, 0, 15, span=span)
    assert span.size == 8
    node.refuses = lambda blocks: None
    await all_of(node, 0, 8 * GROWS_AFTER - 1, span=span)
    assert span.size == 16


async def test_a_log_outside_of_the_range_is_refused() -> None:
    with pytest.raises(RpcProtocolError):
        await all_of(Answers([item(9, 0)]), 10, 12, span=Portion(4))


@given(
    items=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 5)), unique=True),
    first=st.integers(0, 60),
    length=st.integers(0, 60),
    limit=st.integers(1, 70),
)
async def test_chunks_cover_any_range_without_gap_or_overlap(
    items: list[tuple[int, int]], first: int, length: int, limit: int
) -> None:
    node = LogNode(
        [item(*place) for place in items],
        refuses=lambda blocks: refused("too many results") if blocks > limit else None,
    )
    last = first + length - 1
    chunks = await all_of(node, first, last, span=Portion(32))
    assert [number for chunk in chunks for number in range(chunk.first, chunk.last + 1)] == [*range(first, last + 1)]
    assert places([log for chunk in chunks for log in chunk.logs]) == sorted(p for p in items if first <= p[0] <= last)
