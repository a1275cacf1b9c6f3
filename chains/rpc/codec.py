"""JSON-RPC values to ours and back: strict, pure, in one place.

Guarantees: a malformed field raises `Malformed`, never becomes zero or an empty value; amounts are exact ints.
Not guaranteed: that what the node says is true.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from chains.fees import FeeHistory
from chains.types import (
    Address,
    BlockHash,
    BlockRef,
    BlockTag,
    CallRequest,
    Header,
    Log,
    Receipt,
    TxHash,
    address_from_bytes,
)

ERROR_STRING_SELECTOR: Final = bytes.fromhex("08c379a0")
"""`Error(string)`: what `require(condition, "text")` reverts with."""
PANIC_SELECTOR: Final = bytes.fromhex("4e487b71")
"""`Panic(uint256)`: a failed assert, overflow, division by zero and the like."""

_QUANTITY: Final = re.compile(r"0x[0-9a-fA-F]{1,64}", re.ASCII)
_REASON_LIMIT: Final = 256


class Malformed(ValueError):
    """A field does not have the shape that the JSON-RPC specification gives it."""


# -- to the node ------------------------------------------------------------------------------------------


def block_param(block: BlockRef | BlockTag | int) -> Any:
    """A block as parameter. A `BlockRef` is asked by hash and must be canonical (EIP-1898)."""
    if isinstance(block, BlockRef):
        return {"blockHash": block.hash, "requireCanonical": True}
    if isinstance(block, int):
        return hex(block)
    return block


def call_param(request: CallRequest, sender: Address | None) -> dict[str, str]:
    """A call object. `data`, not `input`: every client understands it."""
    call = {"to": request.to, "data": "0x" + request.data.hex()}
    if sender is not None:
        call["from"] = sender
    if request.value_wei:
        call["value"] = hex(request.value_wei)
    return call


# -- from the node ----------------------------------------------------------------------------------------


def quantity(value: Any) -> int:
    if type(value) is not str or not _QUANTITY.fullmatch(value):
        raise Malformed("a quantity is not 0x hex")
    return int(value, 16)


def data(value: Any) -> bytes:
    if type(value) is not str or value[:2] != "0x":
        raise Malformed("bytes are not 0x hex")
    try:
        raw = bytes.fromhex(value[2:])
    except ValueError:
        raise Malformed("bytes are not 0x hex") from None
    if 2 * len(raw) != len(value) - 2:  # fromhex skips blanks
        raise Malformed("bytes are not 0x hex")
    return raw


def word(value: Any) -> str:
    raw = data(value)
    if len(raw) != 32:
        raise Malformed("a hash does not have 32 bytes")
    return "0x" + raw.hex()


def address(value: Any) -> Address:
    raw = data(value)
    if len(raw) != 20:
        raise Malformed("an address does not have 20 bytes")
    return address_from_bytes(raw)


def fields(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Malformed("an object was expected")
    return value


def sequence(value: Any) -> Sequence[Any]:
    if not isinstance(value, list):
        raise Malformed("a list was expected")
    return value


def header(value: Any) -> Header:
    got = fields(value)
    base_fee = got.get("baseFeePerGas")
    return Header(
        number=quantity(got.get("number")),
        hash=BlockHash(word(got.get("hash"))),
        parent_hash=BlockHash(word(got.get("parentHash"))),
        timestamp_s=quantity(got.get("timestamp")),
        base_fee_wei=0 if base_fee is None else quantity(base_fee),
        gas_limit=quantity(got.get("gasLimit")),
    )


def tx_hashes(value: Any) -> list[TxHash]:
    """Of a block that was asked for without its transactions' fields."""
    return [TxHash(word(tx_hash)) for tx_hash in sequence(fields(value).get("transactions"))]


def log(value: Any) -> Log:
    got = fields(value)
    if got.get("removed") is True:
        raise Malformed("a removed log was answered to a query")
    return Log(
        address=address(got.get("address")),
        topics=tuple(topic(one) for one in sequence(got.get("topics"))),
        data=data(got.get("data")),
        log_index=quantity(got.get("logIndex")),
        tx_hash=TxHash(word(got.get("transactionHash"))),
        block=BlockRef(number=quantity(got.get("blockNumber")), hash=BlockHash(word(got.get("blockHash")))),
    )


def receipt(value: Any, *, asked: TxHash) -> Receipt | None:
    """None for "not mined": no receipt, or one without a block (some nodes answer that for pending ones)."""
    if value is None:
        return None
    got = fields(value)
    if got.get("blockHash") is None:
        return None
    tx_hash = TxHash(word(got.get("transactionHash")))
    if tx_hash != asked:
        raise Malformed("the receipt is of another transaction")
    status = quantity(got.get("status"))
    if status not in (0, 1):
        raise Malformed("the receipt's status is neither 0 nor 1")
    block = BlockRef(number=quantity(got.get("blockNumber")), hash=BlockHash(word(got.get("blockHash"))))
    logs = tuple(log(item) for item in sequence(got.get("logs")))
    if any(item.tx_hash != tx_hash or item.block != block for item in logs):
        raise Malformed("the receipt holds a log of another transaction or block")
    to = got.get("to")
    return Receipt(
        tx_hash=tx_hash,
        block=block,
        succeeded=status == 1,
        gas_used=quantity(got.get("gasUsed")),
        effective_gas_price_wei=quantity(got.get("effectiveGasPrice")),
        sender=address(got.get("from")),
        to=None if to is None else address(to),
        logs=logs,
    )


def fee_history(value: Any) -> FeeHistory:
    got = fields(value)
    return FeeHistory(
        base_fees_wei=tuple(quantity(fee) for fee in sequence(got.get("baseFeePerGas"))),
        rewards_wei=tuple(tuple(quantity(tip) for tip in sequence(row)) for row in sequence(got.get("reward") or [])),
    )


def revert_data(value: Any) -> bytes:
    """The revert data out of an error's `data`, in the shapes that nodes use; empty when there is none."""
    if isinstance(value, dict):  # {"data": "0x.."} (Hardhat), {"result": "0x.."} (Ganache)
        value = value.get("data", value.get("result"))
    if isinstance(value, str):
        try:
            return data(value.removeprefix("Reverted "))  # OpenEthereum
        except Malformed:
            return b""
    return b""


def revert_reason(raw: bytes) -> str | None:
    """The text of `Error(string)` or the code of `Panic(uint256)`; None for anything else.

    A contract chooses this text, so it is cut to printable characters and a bounded length.
    """
    if raw[:4] == PANIC_SELECTOR and len(raw) == 36:
        return f"panic 0x{int.from_bytes(raw[4:], 'big'):02x}"
    if raw[:4] != ERROR_STRING_SELECTOR or len(raw) < 68:
        return None
    offset = int.from_bytes(raw[4:36], "big")
    body = raw[4:]
    if offset + 32 > len(body):
        return None
    length = int.from_bytes(body[offset : offset + 32], "big")
    text = body[offset + 32 : offset + 32 + min(length, _REASON_LIMIT)].decode("utf-8", "replace")
    return "".join(char if char.isprintable() else "?" for char in text)


def topic(value: Any) -> bytes:
    raw = data(value)
    if len(raw) != 32:
        raise Malformed("a topic does not have 32 bytes")
    return raw
