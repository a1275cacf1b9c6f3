"""Which way the ladder takes: on a node that is scripted, with EVM answers made by hand."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import pytest
from eth_abi.abi import decode, encode

from chains.errors import ExecutionReverted, RpcRefused, RpcUnavailable
from chains.types import Address, BlockHash, BlockRef, BlockTag, CallRequest, address_bytes, address_from_bytes
from contracts.balances import packed
from contracts.balances.ladder import BalanceReader, Way
from contracts.balances.packed import Balance
from contracts.errors import UndecodableReturn
from tests.contracts.balances.test_packed import answer_of

MULTICALL = Address("0xcA11bde05977b3631167028862bE2a173976CA11")
BLOCK = BlockRef(number=7, hash=BlockHash("0x" + "7" * 64))
TOKEN = address_from_bytes(b"\x11" * 20)
BURNER = address_from_bytes(b"\xbb" * 20)


def refused(text: str) -> RpcRefused:
    return RpcRefused(text, endpoint="node", method="eth_call", code=-32000)


class Node:
    """A node on which TOKEN's balance is the wallet's number, BURNER burns all gas, and other addresses have no code.

    `most` pairs a call are served, by the ways in `serves`. aggregate3 has gas for nothing after a burner.
    """

    def __init__(self, *, serves: Sequence[Way] = tuple(Way), most: int = 10**9, reaches: int = 10**9) -> None:
        self.serves = serves
        self.most = most
        self.reaches = reaches
        self.asked: list[tuple[Way | None, int]] = []

    async def call(
        self,
        request: CallRequest,
        *,
        block: BlockRef | BlockTag | int = "latest",
        gas_limit: int | None = None,
        state_override: Mapping[Address, Mapping[str, Any]] | None = None,
    ) -> bytes:
        assert block == BLOCK
        if request.to == packed.READER:
            if Way.PLACED not in self.serves:
                self.asked.append((Way.PLACED, 0))
                return b""  # as a node that ignores overrides
            assert state_override == {packed.READER: {"code": "0x" + packed.placed().code.hex()}}
            return self._packed(Way.PLACED, request.data, lead=0)
        if request.to == MULTICALL:
            return self._multicall(request.data)
        assert gas_limit == 21_000 + 36 * 16 + packed.STIPEND_GAS
        self.asked.append((None, 1))
        if request.to == BURNER:
            raise refused("EVM error: OutOfGas")
        return self._word(address_bytes(request.to), request.data[16:])

    async def call_initcode(self, code: bytes, *, block: BlockRef | BlockTag | int = "latest") -> bytes:
        assert block == BLOCK
        if Way.INITCODE not in self.serves:
            self.asked.append((Way.INITCODE, 0))
            raise refused("to is needed")
        assert code.startswith(packed.initcode().code)
        return self._packed(Way.INITCODE, code[len(packed.initcode().code) :], lead=1)

    def _packed(self, way: Way, data: bytes, *, lead: int) -> bytes:
        pairs = [(data[at : at + 20], data[at + 20 : at + 40]) for at in range(0, len(data), 40)]
        self._take(way, len(pairs))
        values = [self._balance(token, wallet) for token, wallet in pairs[: self.reaches]]
        return answer_of(values, count=len(pairs), lead=lead)

    def _multicall(self, data: bytes) -> bytes:
        ((*calls, _),) = decode(["(address,bool,bytes)[]"], data[4:])
        self._take(Way.MULTICALL3, len(calls))
        if Way.MULTICALL3 not in self.serves:
            return b""
        results: list[tuple[bool, bytes]] = []
        burned = False
        for target, _, argument in calls:
            burned = burned or target == BURNER.lower()
            word = b"" if burned else self._word(bytes.fromhex(target[2:]), argument[16:])
            results.append((not burned, word))
        return encode(["(bool,bytes)[]"], [[*results, (not burned, b"" if burned else bytes(32))]])

    def _take(self, way: Way, count: int) -> None:
        self.asked.append((way, count))
        if count > self.most:
            raise refused("request entity too large")

    def _word(self, token: bytes, wallet: bytes) -> bytes:
        balance = self._balance(token, wallet)
        return b"" if balance is None else balance.to_bytes(32, "big")

    def _balance(self, token: bytes, wallet: bytes) -> Balance:
        argument = bytes.fromhex("70a08231") + bytes(12) + wallet
        if token == address_bytes(TOKEN):
            return int.from_bytes(wallet, "big")
        if token == (2).to_bytes(20, "big"):
            return int.from_bytes(sha256(argument).digest(), "big")
        if token == (4).to_bytes(20, "big"):
            return int.from_bytes(argument[:32], "big")
        return None


def wallets(count: int) -> list[Address]:
    return [address_from_bytes((10**6 + number).to_bytes(20, "big")) for number in range(count)]


def pairs_of(count: int) -> list[packed.Pair]:
    return [(TOKEN, wallet) for wallet in wallets(count)]


def values_of(count: int) -> list[Balance]:
    return [10**6 + number for number in range(count)]


PROBE = 4


async def test_the_placed_reader_is_asked_for_once_and_then_used() -> None:
    node = Node()
    reader = BalanceReader(node, multicall=MULTICALL)
    for _ in range(2):
        assert await reader.read(pairs_of(900), block=BLOCK) == values_of(900)
    assert node.asked == [(Way.PLACED, PROBE), *[(Way.PLACED, 900)] * 2]


async def test_many_pairs_are_asked_in_a_few_chunks_at_once() -> None:
    node = Node()
    reader = BalanceReader(node, multicall=MULTICALL, ways=[Way.PLACED])
    pairs = pairs_of(40_000)
    for count in (5_000, 20_000, 40_000):
        assert await reader.read(pairs[:count], block=BLOCK) == values_of(count)
    assert [count for _, count in node.asked] == [*[1_000] * 5, *[2_500] * 8, *[4_000] * 10]


async def test_a_node_without_overrides_gets_initcode_and_one_without_both_gets_multicall() -> None:
    node = Node(serves=[Way.INITCODE, Way.MULTICALL3])
    reader = BalanceReader(node, multicall=MULTICALL)
    assert await reader.read(pairs_of(10), block=BLOCK) == values_of(10)
    assert node.asked == [(Way.PLACED, 0), (Way.INITCODE, PROBE), (Way.INITCODE, 10)]
    node = Node(serves=[Way.MULTICALL3])
    reader = BalanceReader(node, multicall=MULTICALL)
    assert await reader.read(pairs_of(10), block=BLOCK) == values_of(10)
    assert node.asked == [(Way.PLACED, 0), (Way.INITCODE, 0), (Way.MULTICALL3, 10)]
    assert reader.way is Way.MULTICALL3


async def test_a_way_that_is_served_no_longer_makes_room_for_the_next() -> None:
    node = Node()
    reader = BalanceReader(node, multicall=MULTICALL)
    await reader.read(pairs_of(10), block=BLOCK)
    node.serves = [Way.MULTICALL3]
    assert await reader.read(pairs_of(10), block=BLOCK) == values_of(10)
    assert reader.way is Way.MULTICALL3


@pytest.mark.parametrize("way", Way)
async def test_a_chunk_that_is_refused_is_halved_and_the_size_remembered(way: Way) -> None:
    node = Node(most=300)
    reader = BalanceReader(node, multicall=MULTICALL, ways=[way])
    assert await reader.read(pairs_of(1_000), block=BLOCK) == values_of(1_000)
    node.asked.clear()
    assert await reader.read(pairs_of(150), block=BLOCK) == values_of(150)
    assert node.asked == [(way, 150)]


async def test_pairs_that_the_gas_did_not_do_for_are_asked_again() -> None:
    node = Node(reaches=7)
    reader = BalanceReader(node, multicall=MULTICALL)
    assert await reader.read(pairs_of(20), block=BLOCK) == values_of(20)
    assert node.asked == [(Way.PLACED, PROBE), (Way.PLACED, 20), (Way.PLACED, 7), (Way.PLACED, 6)]


async def test_the_size_grows_again_after_a_row_of_full_answers() -> None:
    node = Node(reaches=7)
    reader = BalanceReader(node, multicall=MULTICALL)
    await reader.read(pairs_of(20), block=BLOCK)
    node.reaches = 10**9
    node.asked.clear()
    await reader.read(pairs_of(200), block=BLOCK)
    assert max(count for _, count in node.asked) > 7


async def test_a_burner_does_not_starve_the_others_in_multicall3() -> None:
    node = Node(serves=[Way.MULTICALL3])
    reader = BalanceReader(node, multicall=MULTICALL, ways=[Way.MULTICALL3])
    asked = [
        *pairs_of(5),
        *[(BURNER, wallet) for wallet in wallets(3)],
        *pairs_of(4),
        (BURNER, TOKEN),
        (MULTICALL, TOKEN),
    ]
    found = await reader.read(asked, block=BLOCK)
    assert found == [*values_of(5), None, None, None, *values_of(4), None, None]
    # Everything; what had failed; the burner's four pairs, each without the others; what was left.
    assert node.asked == [(Way.MULTICALL3, 14), (Way.MULTICALL3, 9), *[(None, 1)] * 4, (Way.MULTICALL3, 5)]


async def test_nothing_to_read_asks_no_node() -> None:
    node = Node()
    assert await BalanceReader(node, multicall=MULTICALL).read([], block=BLOCK) == []
    assert node.asked == []


async def test_a_block_that_is_gone_is_said_by_the_last_way_and_nothing_is_remembered() -> None:
    class Gone(Node):
        is_gone = True

        def _take(self, way: Way, count: int) -> None:
            super()._take(way, count)
            if self.is_gone:
                raise refused("header not found")

    node = Gone()
    reader = BalanceReader(node, multicall=MULTICALL)
    with pytest.raises(RpcRefused, match="header not found"):
        await reader.read(pairs_of(100), block=BLOCK)
    assert len(node.asked) <= 5
    node.is_gone = False
    assert await reader.read(pairs_of(1), block=BLOCK) == values_of(1)
    assert reader.way is Way.PLACED


async def test_a_silent_endpoint_is_no_reason_to_go_down() -> None:
    class Silent(Node):
        def _take(self, way: Way, count: int) -> None:
            super()._take(way, count)
            if count > PROBE:
                raise RpcUnavailable("no answer in time", endpoint="node", method="eth_call")

    reader = BalanceReader(Silent(), multicall=MULTICALL)
    with pytest.raises(RpcUnavailable):
        await reader.read(pairs_of(10), block=BLOCK)
    assert reader.way is Way.PLACED


async def test_a_chain_without_multicall3_is_said_when_nothing_else_is_served() -> None:
    reader = BalanceReader(Node(serves=[]), multicall=MULTICALL)
    with pytest.raises(UndecodableReturn):
        await reader.read(pairs_of(3), block=BLOCK)


async def test_a_revert_of_the_whole_call_halves_it() -> None:
    class Reverting(Node):
        def _take(self, way: Way, count: int) -> None:
            super()._take(way, count)
            if count > 50:
                raise ExecutionReverted(None, data=b"")

    reader = BalanceReader(Reverting(), multicall=MULTICALL)
    assert await reader.read(pairs_of(120), block=BLOCK) == values_of(120)


def test_a_reader_needs_a_way() -> None:
    with pytest.raises(ValueError, match="one way"):
        BalanceReader(Node(), multicall=MULTICALL, ways=[])
