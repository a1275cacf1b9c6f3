"""Event logs of single blocks by hash and of ranges, decoded at the speed of the bytes.

    logs_of_blocks(transport, query, blocks)        one request; each block by its hash
    logs_in(transport, query, first=..., last=..)   chunks with their range, halved when refused, growing back

web3.py takes 800 us a log, an eth_abi decoder 100; here the fixed layouts are sliced and addresses remembered.

Guarantees: logs are ordered and told once, whatever the node repeats; one of another block, or of an address or topic
that was not asked for, refuses the answer; a block that the node does not know raises, it is not one without logs.
A query names any number of addresses: over `ADDRESSES_AT_MOST` the node is asked by topic, and the rest left out here.
Not guaranteed: that the node told all of them; and a range is canonical only as far as the hashes in it are.
"""

import gc
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final

from chains.errors import RpcError, RpcProtocolError
from chains.rpc import codec
from chains.rpc.transport import Transport
from chains.sizing import Portion, is_too_much
from chains.types import Address, BlockHash, BlockRef, Log, TxHash

ADDRESSES_AT_MOST: Final = 100
"""In one filter: hosted nodes refuse more than some hundreds, and each makes the node's work longer."""
SPAN_BLOCKS: Final = 2_000
"""Blocks asked for at once, at most: what public endpoints allow (QuickNode and others 10,000, Alchemy 2,000)."""
_ADDRESSES_KEPT: Final = 4_096
"""Checksummed ones; making one takes longer than the rest of a log."""
_TOPICS_KEPT: Final = 256
_INDEXES_KEPT: Final = 2_048
"""A full block has so many logs."""
_METHOD: Final = "eth_getLogs"
_place: Final = attrgetter("block.number", "log_index")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """Logs of any of these addresses with any of these first topics; of all, where nothing is named."""

    addresses: frozenset[Address] = frozenset()
    topics: frozenset[bytes] = frozenset()
    filter: Mapping[str, Any] = field(init=False, repr=False, compare=False)
    """As nodes are asked."""

    def __post_init__(self) -> None:
        asked: dict[str, Any] = {}
        if 0 < len(self.addresses) <= ADDRESSES_AT_MOST:
            asked["address"] = sorted(self.addresses)
        if self.topics:
            asked["topics"] = [sorted("0x" + topic.hex() for topic in self.topics)]
        object.__setattr__(self, "filter", asked)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogChunk:
    """The logs of the blocks `first` to `last`, both included."""

    first: int
    last: int
    logs: Sequence[Log]


async def logs_of_blocks(transport: Transport, query: LogQuery, blocks: Sequence[BlockRef]) -> list[list[Log]]:
    """The logs of each block, asked by its hash, in one batch.

    Raises: RpcError: a block is not known, or an answer is of another one.
    """
    calls = [(_METHOD, [{**query.filter, "blockHash": block.hash}]) for block in blocks]
    answers = await transport.batch(calls) if len(calls) > 1 else [await transport.request(*call) for call in calls]
    found = []
    for block, answer in zip(blocks, answers, strict=True):
        if isinstance(answer, RpcError):
            raise answer
        logs = _decoded(transport, answer)
        if any(log.block != block for log in logs):
            raise _broken(transport, f"a log of another block than {block.number}")
        found.append(_asked_for(query, _once(logs), transport=transport))
    return found


async def logs_in(
    transport: Transport, query: LogQuery, *, first: int, last: int, span: Portion
) -> AsyncIterator[LogChunk]:
    """All logs of the blocks `first` to `last`, oldest first; `span` is the caller's to keep from call to call.

    Raises: RpcError: a single block's logs were refused, or refused for a reason that a smaller range does not mend.
    """
    while first <= last:
        upto = min(last, first + span.size - 1)
        asked = upto - first + 1
        try:
            answer = await transport.request(_METHOD, [{**query.filter, "fromBlock": hex(first), "toBlock": hex(upto)}])
            logs = _decoded(transport, answer)
        except RpcError as exc:
            if is_too_much(exc) and span.refused(asked):
                continue
            raise
        if any(not first <= log.block.number <= upto for log in logs):
            raise _broken(transport, f"a log that is not of the blocks {first} to {upto}")
        span.answered(asked)
        yield LogChunk(first=first, last=upto, logs=_asked_for(query, _once(logs), transport=transport))
        first = upto + 1


def decode_logs(value: Any) -> list[Log]:
    """The items of an `eth_getLogs` answer, in its order. Raises: codec.Malformed."""
    # Thousands of objects, none in a cycle: the collector would look through all of them again and again meanwhile,
    # which takes as long as making them.
    was_collecting = gc.isenabled()
    gc.disable()
    try:
        return _logs(value)
    finally:
        if was_collecting:
            gc.enable()


# -- private ----------------------------------------------------------------------------------------------


def _logs(value: Any) -> list[Log]:
    logs: list[Log] = []
    last_block, last_number = BlockRef(number=0, hash=BlockHash("")), ""
    last_tx, last_tx_text = TxHash(""), ""
    for item in codec.sequence(value):
        if not isinstance(item, dict) or item.get("removed") is True:
            raise codec.Malformed("a log is no object, or a removed one")
        try:
            # Logs of a block, and of a transaction, come together: what they share is made once.
            number, block_hash, tx_hash = item["blockNumber"], item["blockHash"], item["transactionHash"]
            if block_hash != last_block.hash or number != last_number:
                last_number = number
                last_block = BlockRef(number=codec.quantity(number), hash=BlockHash(_hash(block_hash)))
            if tx_hash != last_tx_text:
                last_tx, last_tx_text = TxHash(_hash(tx_hash)), tx_hash
            data = item["data"]
            raw = bytes.fromhex(data[2:])
            if data[:2] != "0x" or 2 * len(raw) + 2 != len(data):
                raise codec.Malformed("a log's data is not 0x hex")
            topics = item["topics"]
            logs.append(
                Log(
                    address=_address(item["address"]),
                    topics=(_first_topic(topics[0]), *map(_word, topics[1:])) if topics else (),
                    data=raw,
                    log_index=_index(item["logIndex"]),
                    tx_hash=last_tx,
                    block=last_block,
                )
            )
        except (KeyError, TypeError, ValueError) as exc:
            raise codec.Malformed("a log without one of its fields, or one that is not hex") from exc
    return logs


def _decoded(transport: Transport, answer: Any) -> list[Log]:
    try:
        return decode_logs(answer)
    except codec.Malformed as exc:
        raise _broken(transport, str(exc)) from exc


def _once(logs: list[Log]) -> list[Log]:
    """In the chain's order, each once."""
    before: Log | None = None
    for log in logs:
        if before is not None and (
            log.log_index <= before.log_index
            if log.block is before.block or log.block.number == before.block.number
            else log.block.number < before.block.number
        ):
            return list({_place(log): log for log in sorted(logs, key=_place)}.values())
        before = log
    return logs


def _asked_for(query: LogQuery, logs: list[Log], *, transport: Transport) -> list[Log]:
    """What the query names. Raises: RpcProtocolError: the node did not filter as it was asked to."""
    addresses, topics = query.addresses, query.topics
    if topics and any(not log.topics or log.topics[0] not in topics for log in logs):
        raise _broken(transport, "a log with a topic that was not asked for")
    if not addresses:
        return logs
    wanted = [log for log in logs if log.address in addresses]
    if "address" in query.filter and len(wanted) < len(logs):
        raise _broken(transport, "a log of an address that was not asked for")
    return wanted


def _word(value: str) -> bytes:
    raw = bytes.fromhex(value[2:])
    if len(raw) != 32 or len(value) != 66 or value[:2] != "0x":
        raise codec.Malformed("a word does not have 32 bytes")
    return raw


def _hash(value: str) -> str:
    return "0x" + _word(value).hex()


_first_topic: Final = lru_cache(maxsize=_TOPICS_KEPT)(_word)
"""Which event it is: one of few."""
_index: Final = lru_cache(maxsize=_INDEXES_KEPT)(codec.quantity)


@lru_cache(maxsize=_ADDRESSES_KEPT)
def _address(value: str) -> Address:
    return codec.address(value)


def _broken(transport: Transport, message: str) -> RpcProtocolError:
    return RpcProtocolError(message, endpoint=transport.name, method=_METHOD)
