"""Freeze and Lie, as functions over calls and answers.

An answer is the part of a JSON-RPC response that says something: `{"result": ...}` or `{"error": {...}}`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from tests.faults.rules import About, Freeze, Lie

Answer = dict[str, Any]
Ask = Callable[[str, Sequence[Any]], Awaitable[Answer]]
"""Asks the node itself, past all rules."""

# Where the block is among the params of a method that reads at a block.
BLOCK_PARAM: Final[Mapping[str, int]] = {
    "eth_getBalance": 1,
    "eth_getCode": 1,
    "eth_getTransactionCount": 1,
    "eth_getStorageAt": 2,
    "eth_call": 1,
    "eth_estimateGas": 1,
    "eth_simulateV1": 1,
    "eth_feeHistory": 1,
}
UNKNOWN_BLOCK: Final[Answer] = {"error": {"code": -32000, "message": "header not found"}}


async def frozen_call(freeze: Freeze, method: str, params: Sequence[Any], *, ask: Ask) -> list[Any] | Answer:
    """The params to forward instead, or the answer that needs no forwarding."""
    own = list(params)
    if method == "eth_blockNumber":
        return {"result": hex(freeze.block)}
    if method in ("eth_getBlockByNumber", "eth_getBlockReceipts"):
        if own[0] in ("latest", "pending"):
            own[0] = hex(freeze.block)
        elif own[0] in ("finalized", "safe"):
            own[0] = hex(await _finalized(freeze, ask))
        elif _number(own[0]) > freeze.block:
            return {"result": None}
    elif method in BLOCK_PARAM:
        index = BLOCK_PARAM[method]
        own += ["latest"] * (index + 1 - len(own))
        if isinstance(own[index], dict):
            return UNKNOWN_BLOCK if await _is_later(freeze, own[index].get("blockHash"), ask) else own
        if own[index] in ("latest", "pending"):
            own[index] = hex(freeze.block)
        elif _number(own[index]) > freeze.block:
            return UNKNOWN_BLOCK
    elif method == "eth_getLogs":
        query = dict(own[0])
        if "blockHash" in query:
            return UNKNOWN_BLOCK if await _is_later(freeze, query["blockHash"], ask) else own
        first, last = (_height(freeze, query.get(key, "latest")) for key in ("fromBlock", "toBlock"))
        if first > freeze.block:
            return {"result": []}
        return [query | {"fromBlock": hex(first), "toBlock": hex(min(last, freeze.block))}]
    return own


def frozen_answer(freeze: Freeze, method: str, answer: Answer) -> Answer:
    """The node's answer as the frozen node would give it."""
    result = answer.get("result")
    if not isinstance(result, dict):
        return answer
    if method == "eth_getBlockByHash" and _number(result.get("number")) > freeze.block:
        return {"result": None}
    if method == "eth_getTransactionReceipt" and _number(result.get("blockNumber")) > freeze.block:
        return {"result": None}
    if method == "eth_getTransactionByHash" and _number(result.get("blockNumber")) > freeze.block:
        return {"result": result | {"blockNumber": None, "blockHash": None, "transactionIndex": None}}
    return answer


def lied(lie: Lie, method: str, params: Sequence[Any], *, answer: Answer) -> Answer:
    """The answer with the lie in it, where it has a place."""
    result = answer.get("result")
    if result is None:
        return answer
    value = hex(lie.value) if isinstance(lie.value, int) else lie.value
    told = _told(lie.about, method, params, result=result, value=value)
    return answer if told is None else {"result": told}


def _told(about: About, method: str, params: Sequence[Any], *, result: Any, value: str) -> Any:
    """None: this answer says nothing about it."""
    is_block = method in ("eth_getBlockByNumber", "eth_getBlockByHash")
    match about:
        case About.BALANCE if method == "eth_getBalance":
            return value
        case About.NONCE if method == "eth_getTransactionCount":
            return value
        case About.GAS_ESTIMATE if method == "eth_estimateGas":
            return value
        case About.CALL if method == "eth_call":
            return value
        case About.RECEIPT_STATUS if method == "eth_getTransactionReceipt":
            return result | {"status": value}
        case About.RECEIPT_STATUS if method == "eth_getBlockReceipts":
            return [receipt | {"status": value} for receipt in result]
        case About.GAS_PRICE if method in ("eth_gasPrice", "eth_maxPriorityFeePerGas"):
            return value
        case About.GAS_PRICE if method == "eth_feeHistory" and result.get("reward"):
            return result | {"reward": [[value for _ in row] for row in result["reward"]]}
        case About.BASE_FEE if method == "eth_feeHistory":
            return result | {"baseFeePerGas": [value for _ in result["baseFeePerGas"]]}
        case About.BASE_FEE if is_block:
            return result | {"baseFeePerGas": value}
        case About.CHAIN_ID if method == "eth_chainId":
            return value
        case About.CHAIN_ID if method == "net_version":
            return str(int(value, 16))
        case About.GENESIS if is_block and _number(result.get("number")) == 0:
            return result | {"hash": value}
        case About.FINALIZED_HASH if is_block and params[0] == "finalized":
            return result | {"hash": value}
        case _:
            return None


async def _finalized(freeze: Freeze, ask: Ask) -> int:
    if freeze.finalized is not None:
        return freeze.finalized
    block = (await ask("eth_getBlockByNumber", ["finalized", False])).get("result")
    return min(freeze.block, _number(block["number"]) if block else 0)


async def _is_later(freeze: Freeze, block_hash: Any, ask: Ask) -> bool:
    block = (await ask("eth_getBlockByHash", [block_hash, False])).get("result")
    return block is None or _number(block["number"]) > freeze.block


def _height(freeze: Freeze, tag: Any) -> int:
    if tag in ("latest", "pending", None):
        return freeze.block
    return _number(tag)


def _number(value: Any) -> int:
    """0 for a tag or nothing: those are never later than the freeze."""
    return int(value, 16) if isinstance(value, str) and value.startswith("0x") else 0
