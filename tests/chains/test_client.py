"""The typed client over scripted answers: what is decoded, what is refused, what is asked."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from chains.client import EvmClient, SimLog
from chains.config import load_chains
from chains.errors import ExecutionReverted, MethodUnavailable, RpcError, RpcProtocolError, RpcRefused, WrongChain
from chains.rpc import codec
from chains.rpc.provider import ReadsOnly, web3_over
from chains.types import Address, BlockHash, BlockRef, CallRequest, Fees, Header, TxHash

WALLET = Address("0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2")
TOKEN = Address("0x0d500B1d8E8eF31E21C99d1Db9A6444d3ADf1270")
HASH = "0x" + "ab" * 32
OTHER_HASH = "0x" + "cd" * 32
BLOCK = BlockRef(number=16, hash=BlockHash(HASH))
HEADER = {
    "number": "0x10",
    "hash": HASH,
    "parentHash": OTHER_HASH,
    "timestamp": "0x5",
    "baseFeePerGas": "0x7",
    "gasLimit": "0x1c9c380",
}
LOG = {
    "address": TOKEN.lower(),
    "topics": ["0x" + "11" * 32],
    "data": "0x01",
    "logIndex": "0x0",
    "transactionHash": OTHER_HASH,
    "blockNumber": "0x10",
    "blockHash": HASH,
    "removed": False,
}
RECEIPT = {
    "transactionHash": OTHER_HASH,
    "blockNumber": "0x10",
    "blockHash": HASH,
    "status": "0x1",
    "gasUsed": "0x5208",
    "effectiveGasPrice": "0x3b9aca00",
    "from": WALLET.lower(),
    "to": TOKEN.lower(),
    "logs": [LOG],
}


@dataclass
class Scripted:
    """A transport that gives the next answer to each call, single or batched."""

    answers: list[Any] = field(default_factory=list)
    asked: list[tuple[str, Sequence[Any]]] = field(default_factory=list)
    name: str = "node-a"

    async def request(self, method: str, params: Sequence[Any]) -> Any:
        self.asked.append((method, params))
        answer = self.answers.pop(0)
        if isinstance(answer, RpcError):
            raise answer
        return answer

    async def batch(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any | RpcError]:
        self.asked += calls
        return [self.answers.pop(0) for _ in calls]

    async def close(self) -> None:
        return None


def client_with(*answers: Any) -> tuple[EvmClient, Scripted]:
    transport = Scripted(list(answers))
    return EvmClient(load_chains()["ethereum"], transport), transport


def refused(message: str, code: int = -32000, data: object = None) -> RpcRefused:
    return RpcRefused(message, endpoint="node-a", method="m", code=code, data=data)


# -- which chain ------------------------------------------------------------------------------------------


async def test_the_configured_chain_is_accepted_and_another_is_not() -> None:
    client, _ = client_with("0x1", "0x89")
    await client.verify_chain()
    with pytest.raises(WrongChain, match="serves chain id 137"):
        await client.verify_chain()


async def test_the_genesis_hash_is_that_of_block_zero() -> None:
    client, _ = client_with({**HEADER, "number": "0x0"}, None)
    assert await client.genesis_hash() == HASH
    with pytest.raises(RpcProtocolError):
        await client.genesis_hash()


# -- decoding ---------------------------------------------------------------------------------------------


async def test_a_header_is_decoded() -> None:
    client, transport = client_with(HEADER)
    header = await client.header(16)
    assert header == Header(
        number=16,
        hash=BlockHash(HASH),
        parent_hash=BlockHash(OTHER_HASH),
        timestamp_s=5,
        base_fee_wei=7,
        gas_limit=30_000_000,
    )
    assert transport.asked == [("eth_getBlockByNumber", ["0x10", False])]


async def test_a_block_that_the_node_does_not_know_is_none_but_the_head_must_exist() -> None:
    client, _ = client_with(None, None)
    assert await client.header("finalized") is None
    with pytest.raises(RpcProtocolError):
        await client.head()


async def test_another_block_than_the_one_asked_is_refused() -> None:
    client, _ = client_with(HEADER, HEADER)
    with pytest.raises(RpcProtocolError, match="another block"):
        await client.header(17)
    with pytest.raises(RpcProtocolError, match="another block"):
        await client.headers([17])


async def test_a_receipt_is_decoded_with_its_logs_and_fee() -> None:
    client, _ = client_with(RECEIPT)
    receipt = await client.receipt(TxHash(OTHER_HASH))
    assert receipt is not None
    assert (receipt.succeeded, receipt.block, receipt.sender, receipt.to) == (True, BLOCK, WALLET, TOKEN)
    assert receipt.fee_wei == 21_000 * 10**9
    assert receipt.logs[0].topics == (b"\x11" * 32,)


async def test_no_receipt_and_a_receipt_without_a_block_are_both_not_mined() -> None:
    client, _ = client_with(None, {**RECEIPT, "blockHash": None})
    assert await client.receipts([TxHash(OTHER_HASH), TxHash(OTHER_HASH)]) == [None, None]


@pytest.mark.parametrize(
    "change",
    [
        {"transactionHash": HASH},
        {"status": "0x2"},
        {"status": None},
        {"gasUsed": 21_000},
        {"gasUsed": "21000"},
        {"gasUsed": "0x"},
        {"gasUsed": "0x1_0"},
        {"gasUsed": "0x-1"},
        {"gasUsed": "0x" + "f" * 65},
        {"effectiveGasPrice": None},
        {"from": "0x00"},
        {"logs": None},
        {"logs": [{**LOG, "removed": True}]},
        {"logs": [{**LOG, "transactionHash": HASH}]},
        {"logs": [{**LOG, "blockHash": OTHER_HASH}]},
        {"logs": [{**LOG, "data": "0x1"}]},
        {"logs": [{**LOG, "data": "0x 1 "}]},
        {"logs": [{**LOG, "topics": ["0x11"]}]},
    ],
    ids=str,
)
async def test_a_malformed_receipt_is_refused_and_never_half_believed(change: dict[str, Any]) -> None:
    client, _ = client_with({**RECEIPT, **change})
    with pytest.raises(RpcProtocolError):
        await client.receipt(TxHash(OTHER_HASH))


async def test_a_failed_look_up_in_a_batch_fails_the_batch() -> None:
    client, _ = client_with(RECEIPT, refused("header not found"))
    with pytest.raises(RpcRefused):
        await client.receipts([TxHash(OTHER_HASH), TxHash(OTHER_HASH)])


async def test_a_read_pinned_to_a_block_is_asked_by_hash() -> None:
    client, transport = client_with("0x5", "0x2")
    assert await client.balance(WALLET, block=BLOCK) == 5
    assert await client.nonce(WALLET, block=16) == 2
    assert transport.asked == [
        ("eth_getBalance", [WALLET, {"blockHash": HASH, "requireCanonical": True}]),
        ("eth_getTransactionCount", [WALLET, "0x10"]),
    ]


async def test_initcode_is_called_without_to_and_an_override_is_the_third_parameter() -> None:
    client, transport = client_with("0x2a", "0x")
    assert await client.call_initcode(b"\x60\x00", block=5) == b"\x2a"
    override = {TOKEN: {"code": "0x00"}}
    await client.call(CallRequest(to=TOKEN), block=5, gas_limit=7, state_override=override)
    assert transport.asked == [
        ("eth_call", [{"data": "0x6000"}, "0x5"]),
        ("eth_call", [{"to": TOKEN, "data": "0x", "gas": "0x7"}, "0x5", override]),
    ]


async def test_the_fee_history_has_no_floats() -> None:
    answer = {"baseFeePerGas": ["0x1", "0x2"], "gasUsedRatio": [0.5], "reward": [["0x3"]], "oldestBlock": "0x1"}
    client, _ = client_with(answer)
    history = await client.fee_history(1, [50])
    assert (history.base_fees_wei, history.rewards_wei, history.next_base_fee_wei) == ((1, 2), ((3,),), 2)


# -- reverts ----------------------------------------------------------------------------------------------

ERROR_STRING = "0x08c379a0" + "20".rjust(64, "0") + "03".rjust(64, "0") + b"bad".hex().ljust(64, "0")


@pytest.mark.parametrize(
    ("refusal", "reason", "data"),
    [
        (refused("execution reverted: bad", 3, ERROR_STRING), "bad", bytes.fromhex(ERROR_STRING[2:])),
        (refused("execution reverted", -32000, "0x"), None, b""),
        (refused("execution reverted", 3, "0x4e487b71" + "11".rjust(64, "0")), "panic 0x11", None),
        (refused("VM execution error", -32015, "Reverted 0xdeadbeef"), None, b"\xde\xad\xbe\xef"),
        (refused("execution reverted", 3, {"data": "0xdeadbeef"}), None, b"\xde\xad\xbe\xef"),
        (refused("invalid opcode: INVALID"), "invalid opcode: INVALID", b""),
    ],
    ids=["error string", "bare", "panic", "openethereum", "nested", "halt"],
)
async def test_a_revert_is_told_from_a_refusal(refusal: RpcRefused, reason: str | None, data: bytes | None) -> None:
    client, _ = client_with(refusal, refusal)
    asks: list[Callable[[], Awaitable[object]]] = [
        lambda: client.call(CallRequest(to=TOKEN)),
        lambda: client.estimate_gas(CallRequest(to=TOKEN), sender=WALLET),
    ]
    for ask in asks:
        with pytest.raises(ExecutionReverted) as caught:
            await ask()
        assert caught.value.reason == reason
        assert data is None or caught.value.data == data


async def test_a_refusal_that_is_no_revert_stays_a_refusal() -> None:
    client, _ = client_with(refused("header not found"))
    with pytest.raises(RpcRefused):
        await client.call(CallRequest(to=TOKEN))


async def test_an_offchain_lookup_is_a_revert_and_nothing_is_connected_to() -> None:
    client, transport = client_with(refused("execution reverted", 3, "0x556f1830" + "00" * 64))
    with pytest.raises(ExecutionReverted):
        await client.call(CallRequest(to=TOKEN))
    assert len(transport.asked) == 1


def test_a_reason_that_a_contract_chose_is_cut_and_printable() -> None:
    text = ("\x1b[2J" + "A" * 10_000).encode()
    raw = bytes.fromhex("08c379a0") + (32).to_bytes(32, "big") + len(text).to_bytes(32, "big") + text
    reason = codec.revert_reason(raw)
    assert reason is not None
    assert len(reason) <= 256
    assert reason.isprintable()


@pytest.mark.parametrize("raw", ["08c379a0", "08c379a0" + "ff" * 64, "08c379a0" + "00" * 31 + "20" + "ff" * 32])
def test_a_malformed_reason_does_not_break_the_decoder(raw: str) -> None:
    codec.revert_reason(bytes.fromhex(raw))


# -- simulation -------------------------------------------------------------------------------------------


def simulated(*calls: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"number": "0x11", "calls": list(calls)}]


async def test_a_simulation_runs_as_the_block_after_the_head_it_is_given() -> None:
    client, transport = client_with(HEADER, simulated({"status": "0x1", "gasUsed": "0x5208", "returnData": "0x"}))
    head = await client.head()
    (result,) = await client.simulate([CallRequest(to=TOKEN)], sender=WALLET, block=head)
    assert (result.succeeded, result.gas_used) == (True, 21_000)
    payload, block = transport.asked[-1][1]
    assert payload["blockStateCalls"][0]["blockOverrides"] == {"number": "0x11", "time": hex(5 + 12)}
    assert block == {"blockHash": HASH, "requireCanonical": True}


async def test_a_simulated_revert_carries_its_reason() -> None:
    failed = {
        "status": "0x0",
        "gasUsed": "0x6000",
        "returnData": "0x",
        "error": {"code": 3, "message": "execution reverted", "data": ERROR_STRING},
    }
    client, _ = client_with(simulated(failed))
    (result,) = await client.simulate([CallRequest(to=TOKEN)], sender=WALLET)
    assert (result.succeeded, result.reason) == (False, "bad")


@pytest.mark.parametrize("answer", [[], simulated(), [{"calls": None}], {}, simulated({"status": "0x5"})], ids=str)
async def test_a_simulation_with_other_results_than_calls_is_refused(answer: Any) -> None:
    client, _ = client_with(answer)
    with pytest.raises(RpcProtocolError):
        await client.simulate([CallRequest(to=TOKEN)], sender=WALLET)


async def test_a_node_without_simulation_says_so() -> None:
    absent = MethodUnavailable("Method not found", endpoint="node-a", method="eth_simulateV1", code=-32601)
    client, _ = client_with(absent)
    with pytest.raises(MethodUnavailable):
        await client.simulate([CallRequest(to=TOKEN)], sender=WALLET)


# -- sending ----------------------------------------------------------------------------------------------


async def test_the_hash_of_sent_bytes_is_computed_here() -> None:
    own = "0x" + keccak(b"\x02\x01").hex()
    client, transport = client_with(own, HASH)
    assert await client.send_raw(b"\x02\x01") == own
    assert transport.asked == [("eth_sendRawTransaction", ["0x0201"])]
    with pytest.raises(RpcProtocolError, match="another transaction hash"):
        await client.send_raw(b"\x02\x01")


async def test_each_of_several_sends_has_its_own_answer() -> None:
    own = "0x" + keccak(b"\x02\x01").hex()
    client, _ = client_with(own, refused("nonce too low"), HASH)
    first, second, third = await client.send_raw_all([b"\x02\x01", b"\x02\x02", b"\x02\x03"])
    assert first == own
    assert isinstance(second, RpcRefused)
    assert isinstance(third, RpcProtocolError)


# -- web3 over the transport ------------------------------------------------------------------------------


async def test_web3_reads_through_the_transport_with_one_request_a_read() -> None:
    transport = Scripted(["0x10", "0x5"])
    web3 = web3_over(transport, load_chains()["polygon"])
    assert await web3.eth.block_number == 16
    assert await web3.eth.get_balance(to_checksum_address(WALLET)) == 5
    assert [method for method, _ in transport.asked] == ["eth_blockNumber", "eth_getBalance"]


async def test_web3_over_the_transport_cannot_send() -> None:
    transport = Scripted()
    with pytest.raises(ReadsOnly):
        await web3_over(transport).eth.send_raw_transaction(b"\x02")
    assert transport.asked == []


async def test_long_extra_data_of_polygon_is_read() -> None:
    block = {**HEADER, "extraData": "0x" + "00" * 97, "transactions": []}
    transport = Scripted([block])
    got = await web3_over(transport, load_chains()["polygon"]).eth.get_block(16)
    assert len(got["proofOfAuthorityData"]) == 97


async def test_simulated_calls_may_each_have_a_sender_and_money_from_nowhere() -> None:
    fine = {"status": "0x1", "gasUsed": "0x5208", "returnData": "0x"}
    client, transport = client_with(simulated(fine, fine))
    calls = [CallRequest(to=TOKEN), CallRequest(to=WALLET)]
    await client.simulate(calls, sender=[WALLET, TOKEN], balances_wei={WALLET: 255})
    (block_call,) = transport.asked[-1][1][0]["blockStateCalls"]
    assert [call["from"] for call in block_call["calls"]] == [WALLET, TOKEN]
    assert block_call["stateOverrides"] == {WALLET: {"balance": "0xff"}}


async def test_logs_of_a_simulated_call_are_told_and_a_node_that_tells_none_is_not_one_without_any() -> None:
    fine = {"status": "0x1", "gasUsed": "0x5208", "returnData": "0x"}
    log = {"address": TOKEN.lower(), "topics": ["0x" + "11" * 32], "data": "0x05", "logIndex": "0x0"}
    client, _ = client_with(simulated(fine, fine | {"logs": []}, fine | {"logs": [log]}))
    silent, none, one = await client.simulate([CallRequest(to=TOKEN)] * 3, sender=WALLET)
    assert (silent.logs, none.logs) == (None, ())
    assert one.logs == (SimLog(address=TOKEN, topics=(b"\x11" * 32,), data=b"\x05"),)


async def test_a_simulation_with_fees_has_a_gas_price_and_the_head_s_base_fee() -> None:
    client, transport = client_with(HEADER, simulated({"status": "0x1", "gasUsed": "0x5208", "returnData": "0x"}))
    head = await client.head()
    fees = Fees(max_fee_wei=10, priority_fee_wei=2)
    await client.simulate([CallRequest(to=TOKEN)], sender=WALLET, block=head, fees=fees)
    (block_call,) = transport.asked[-1][1][0]["blockStateCalls"]
    assert (block_call["calls"][0]["maxFeePerGas"], block_call["calls"][0]["maxPriorityFeePerGas"]) == ("0xa", "0x2")
    assert block_call["blockOverrides"] == {
        "number": hex(head.number + 1),
        "time": hex(head.timestamp_s + 12),
        "baseFeePerGas": hex(head.base_fee_wei),
    }


async def test_a_storage_slot_is_32_bytes_however_the_node_writes_it() -> None:
    client, transport = client_with("0x" + "00" * 31 + "07", "0x07", "0x" + "00" * 33)
    assert await client.storage(TOKEN, 2**255) == await client.storage(TOKEN, 0) == (7).to_bytes(32, "big")
    assert transport.asked[0] == ("eth_getStorageAt", [TOKEN, hex(2**255), "latest"])
    with pytest.raises(RpcProtocolError):
        await client.storage(TOKEN, 0)
