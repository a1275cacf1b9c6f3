"""Balances of many pairs at one block, by the fastest way that the endpoint serves.

    reader = BalanceReader(client, multicall=address)
    balances = await reader.read(pairs, block=head.ref)          # one value a pair, None where it is unknown

The ways, fastest first: the packed reader placed by a state override; the same as initcode of a call without `to`; and
Multicall3. Whether an endpoint serves a way is found by asking once, for what is known beforehand (precompiles answer
to `balanceOf` with its own bytes and with their hash, an address without code with nothing), and remembered. A refusal
later on has the way asked for that again: if it still serves, the chunk was too large and is halved; else the next way
down takes over.

Guarantees:
- all ways give the same: the first word of a balanceOf that succeeds within `STIPEND_GAS` with at least a word, else
  None; one bad token fails alone, also one that burns all gas or returns megabytes. Never zero for unknown;
- all values are of `block`, which is asked for by its hash; values are in the order of the pairs;
- memory and node calls are bounded: a chunk has at most `MOST_PAIRS`, and `AT_ONCE` of them are under way.
Not guaranteed: that a balanceOf which needs more gas than its stipend is known by one way is known by the others; that
the endpoint tells the truth.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import cache
from hashlib import sha256
from typing import Any, Final, Protocol, assert_never

from chains.errors import ExecutionReverted, RpcProtocolError, RpcRefused
from chains.sizing import Portion
from chains.types import Address, BlockRef, BlockTag, CallRequest
from contracts import erc20
from contracts.balances import multicall3, packed
from contracts.balances.packed import STIPEND_GAS, WORD_BYTES, Balance, Pair
from contracts.errors import UndecodableReturn

MOST_PAIRS: Final = 4_000
"""In one call: 160 kB of calldata (as hex 320 kB, and 260 kB back), and about 40 million gas of the 50 million that
geth allows; the placed reader says how far it came where a node allows less."""
MOST_MULTICALL_PAIRS: Final = 2_000
"""Through aggregate3: 260 kB of calldata and about 20 million gas. To run out of it costs more here."""
AT_ONCE: Final = 4
"""Chunks that are on their way at the same time: a node works on each with a core of its own."""
CHUNKS: Final = 8
"""Into which a read is split, so that some are decoded here while others are read there."""
WORTH_SHARING_PAIRS: Final = 1_000
"""A chunk is not made smaller than this for it: it takes a node some milliseconds."""
_ALONE_AT_ONCE: Final = 8
"""Calls of single pairs at the same time."""
_ALONE_GAS: Final = 21_000 + 36 * 16 + STIPEND_GAS
"""A call of 36 bytes of calldata (Yellow Paper, intrinsic gas) and the stipend."""
_OUT_OF_GAS: Final = ("out of gas", "outofgas", "gas exhausted")
_REFUSED: Final = (RpcRefused, ExecutionReverted, RpcProtocolError, UndecodableReturn)
"""What may be due to the way or to the size. An endpoint that does not answer at all is neither."""

# Precompiles, alike on every chain: sha256 and identity (Yellow Paper, appendix E). Nothing is at the third.
_SHA256: Final = Address("0x0000000000000000000000000000000000000002")
_IDENTITY: Final = Address("0x0000000000000000000000000000000000000004")
_PROBE: Final[tuple[Pair, ...]] = (
    (_IDENTITY, packed.READER),
    (packed.READER, _IDENTITY),
    (_SHA256, packed.READER),
    (_SHA256, _IDENTITY),
)
"""Nothing is at the second token's address, not even when the reader is placed there: it knows no balanceOf."""


class Way(StrEnum):
    """How balances are read, fastest first."""

    PLACED = "placed by a state override"
    INITCODE = "initcode"
    MULTICALL3 = "Multicall3"


class BalanceClient(Protocol):
    """What the ladder needs of a chain client; `chains.client.EvmClient` is one."""

    async def call(
        self,
        request: CallRequest,
        *,
        block: BlockRef | BlockTag | int = "latest",
        gas_limit: int | None = None,
        state_override: Mapping[Address, Mapping[str, Any]] | None = None,
    ) -> bytes: ...

    async def call_initcode(self, code: bytes, *, block: BlockRef | BlockTag | int = "latest") -> bytes: ...


class BalanceReader:
    """Reads through one client, and remembers by which way. Used by one event loop."""

    def __init__(self, client: BalanceClient, *, multicall: Address, ways: Sequence[Way] = tuple(Way)) -> None:
        """`ways` narrows what may be used, for what is known of an endpoint. Raises: ValueError: none."""
        if not ways:
            raise ValueError("balances are read by one way at least")
        self._client = client
        self._multicall = multicall
        self._ways = tuple(way for way in Way if way in ways)
        self._way: Way | None = None
        self._portions = {
            Way.PLACED: Portion(MOST_PAIRS),
            Way.INITCODE: Portion(packed.INITCODE_PAIRS),
            Way.MULTICALL3: Portion(MOST_MULTICALL_PAIRS),
        }

    @property
    def way(self) -> Way | None:
        """The way that served last; None before the first read."""
        return self._way

    async def read(self, pairs: Sequence[Pair], *, block: BlockRef) -> list[Balance]:
        """The balance of each pair.

        Raises:
            chains.errors.RpcUnavailable: the endpoint does not answer.
            chains.errors.RpcRefused, ExecutionReverted, RpcProtocolError, UndecodableReturn: no way is served, or
            the block is not known (any more).
        """
        reading = _Reading(pairs)
        while reading.left:
            way = self._way = self._way or await self._first_served(self._ways, block)
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(AT_ONCE):
                        group.create_task(self._read_on(reading, way, block))
            except ExceptionGroup as failed:
                raise failed.exceptions[0] from None
            if reading.refused:
                await self._step_back(way, reading.refused, block=block)
                reading.refused.clear()
        return reading.values

    async def _read_on(self, reading: "_Reading", way: Way, block: BlockRef) -> None:
        """Chunk after chunk, until all is read or somebody's was refused."""
        while reading.left and not reading.refused:
            chunk = reading.take(self._portions[way].size)
            try:
                found = await self._ask(way, reading.pairs[chunk.start : chunk.stop], block)
            except _REFUSED as refusal:
                reading.refused.append((len(chunk), refusal))
                reading.left.append(chunk)
                return
            reading.answered(chunk, found)
            if len(found) < len(chunk):
                self._portions[way].refused(2 * len(found))
            else:
                self._portions[way].answered(len(chunk))

    # -- which way, and how much at once ------------------------------------------------------------------

    async def _first_served(self, ways: Sequence[Way], block: BlockRef) -> Way:
        """The last is not asked: its own refusal says why nothing can be read."""
        for way in ways[:-1]:
            if await self._serves(way, block):
                return way
        return ways[-1]

    async def _serves(self, way: Way, block: BlockRef) -> bool:
        try:
            return await self._ask(way, _PROBE, block) == _probe_balances()
        except _REFUSED:
            return False

    async def _step_back(self, way: Way, refused: Sequence[tuple[int, Exception]], *, block: BlockRef) -> None:
        """After refusals of chunks of some sizes: half as much at once, or the next way, or a refusal is raised."""
        size, refusal = max(refused, key=lambda each: each[0])
        if size > 1 and await self._serves(way, block):
            self._portions[way].refused(size)
            return
        below = self._ways[self._ways.index(way) + 1 :]
        self._way = await self._first_served(below, block) if below else None
        if not below:
            raise refusal

    # -- the ways -----------------------------------------------------------------------------------------

    async def _ask(self, way: Way, pairs: Sequence[Pair], block: BlockRef) -> list[Balance]:
        """The balances of the first of the pairs, at least of one."""
        match way:
            case Way.PLACED:
                program = packed.placed()
                request = CallRequest(to=packed.READER, data=packed.encode_pairs(pairs))
                override = {packed.READER: {"code": "0x" + program.code.hex()}}
                answer = await self._client.call(request, block=block, state_override=override)
                return packed.decode_answer(answer, count=len(pairs), lead=program.lead)
            case Way.INITCODE:
                program = packed.initcode()
                answer = await self._client.call_initcode(program.code + packed.encode_pairs(pairs), block=block)
                return packed.decode_answer(answer, count=len(pairs), lead=program.lead)
            case Way.MULTICALL3:
                return await self._through_multicall(pairs, block)
            case _:
                assert_never(way)

    async def _through_multicall(self, pairs: Sequence[Pair], block: BlockRef) -> list[Balance]:
        values: list[Balance] = [None] * len(pairs)
        left = list(range(len(pairs)))
        while left:
            chunk = [pairs[index] for index in left]
            answer = await self._client.call(
                CallRequest(to=self._multicall, data=multicall3.encode(chunk, multicall=self._multicall)), block=block
            )
            batch = multicall3.decode(answer, count=len(chunk))
            for index, value in zip(left, batch.balances, strict=True):
                values[index] = value
            if batch.had_gas:
                break
            self._portions[Way.MULTICALL3].refused(len(chunk))
            failed = [index for index in left if values[index] is None]
            if failed and failed[0] == left[0]:
                # It had all the gas there was and may be who burned it: this token is asked without the others.
                token = pairs[failed[0]][0]
                alone = [index for index in failed if pairs[index][0] == token]
                for index, value in zip(alone, await self._alone([pairs[i] for i in alone], block), strict=True):
                    values[index] = value
                failed = [index for index in failed if pairs[index][0] != token]
            left = failed
        return values

    async def _alone(self, pairs: Sequence[Pair], block: BlockRef) -> list[Balance]:
        values: list[Balance] = []
        for start in range(0, len(pairs), _ALONE_AT_ONCE):
            asked = (self._one(pair, block) for pair in pairs[start : start + _ALONE_AT_ONCE])
            for value in await asyncio.gather(*asked, return_exceptions=True):
                if isinstance(value, BaseException):
                    raise value
                values.append(value)
        return values

    async def _one(self, pair: Pair, block: BlockRef) -> Balance:
        request = multicall3.request(pair, multicall=self._multicall)
        try:
            answer = await self._client.call(request, block=block, gas_limit=_ALONE_GAS)
        except ExecutionReverted:
            return None
        except RpcRefused as refused:
            if any(text in refused.node_message.lower() for text in _OUT_OF_GAS):
                return None
            raise
        return int.from_bytes(answer[:WORD_BYTES], "big") if len(answer) >= WORD_BYTES else None


class _Reading:
    """One read on its way: values so far, and the pairs that have none yet."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pairs = pairs
        self.values: list[Balance] = [None] * len(pairs)
        self.left = deque([range(len(pairs))] if pairs else [])
        self.refused: list[tuple[int, Exception]] = []
        """How many pairs were refused together, and with what."""
        self._share = max(WORTH_SHARING_PAIRS, -(-len(pairs) // CHUNKS))

    def take(self, most: int) -> range:
        """Some of what is open, which it then is no longer."""
        first, size = self.left.popleft(), min(most, self._share)
        if len(first) > size:
            self.left.appendleft(first[size:])
        return first[:size]

    def answered(self, chunk: range, found: Sequence[Balance]) -> None:
        """The values of the chunk, or of its first pairs; the others are open again."""
        self.values[chunk.start : chunk.start + len(found)] = found
        if len(found) < len(chunk):
            self.left.appendleft(chunk[len(found) :])


@cache
def _probe_balances() -> list[Balance]:
    def argument(wallet: Address) -> bytes:
        return erc20.balance_of(_SHA256, wallet).data

    return [
        int.from_bytes(argument(packed.READER)[:WORD_BYTES], "big"),
        None,
        *(int.from_bytes(sha256(argument(wallet)).digest(), "big") for wallet in (packed.READER, _IDENTITY)),
    ]
