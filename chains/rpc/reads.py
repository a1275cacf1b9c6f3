"""What a read depends on: the head, `finalized`, a block that has to be there; and which refusals another endpoint may
not share. Pure tables and functions over methods, params and answers.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

from chains.errors import MethodUnavailable, RpcRefused
from chains.rpc import codec

INTERNAL_ERROR: Final = -32603
_REVERT_CODE: Final = 3

# Where the block is among the params of a method that reads state; without it the method means `latest`.
_STATE_AT: Final[Mapping[str, int]] = {
    "eth_getBalance": 1,
    "eth_getCode": 1,
    "eth_getTransactionCount": 1,
    "eth_getStorageAt": 2,
    "eth_call": 1,
    "eth_estimateGas": 1,
    "eth_simulateV1": 1,
    "eth_getProof": 2,
}
_MOVING: Final = ("latest", "pending")
_ELSEWHERE: Final = (
    "missing trie node",  # geth, bor: state pruned
    "header not found",  # geth: block unknown
    "header for hash not found",
    "unknown block",
    "block not found",
    "could not find block",  # erigon
    "historical state",  # geth >= 1.13, besu
    "state not available",
    "state is not available",  # bor
    "state already been discarded",
    "state histories haven't been fully indexed",
    "world state unavailable",  # besu
    "no state available",  # nethermind
    "pruned",  # erigon, nethermind
    "blockoutofrange",  # anvil
    "block height",  # anvil: block height is 5 but requested was 9
    "resource not found",  # gateways
    "transaction indexing is in progress",  # geth
    "request timed out",
    "upstream",  # gateways
)
"""Lower-case parts of refusals that are about this node's data, not about the question."""


class Moves(StrEnum):
    """What an answer must not move backwards."""

    HEAD = "head"
    FINALIZED = "finalized"


def moves(method: str, params: Sequence[Any]) -> Moves | None:
    """Which floor the answer is held to."""
    if method == "eth_blockNumber":
        return Moves.HEAD
    if method == "eth_getBlockByNumber" and params:
        return {"latest": Moves.HEAD, "finalized": Moves.FINALIZED}.get(params[0])
    return None


def answered_number(answer: Any) -> int:
    """The block number in an answer that `moves`. Raises: codec.Malformed."""
    return codec.quantity(answer.get("number") if isinstance(answer, dict) else answer)


def is_unpinned(method: str, params: Sequence[Any]) -> bool:
    """Whether it reads the state of whatever block the node happens to be at."""
    at = _STATE_AT.get(method)
    if at is not None:
        return len(params) <= at or params[at] in _MOVING
    if method == "eth_getLogs" and params and isinstance(params[0], dict) and "blockHash" not in params[0]:
        return params[0].get("toBlock", "latest") in _MOVING
    return method in ("eth_feeHistory", "eth_gasPrice", "eth_maxPriorityFeePerGas")


def needs_head(method: str, params: Sequence[Any]) -> int | None:
    """The head that a node must have to answer truthfully: past it, `eth_getLogs` says `[]` (go-ethereum#24078)."""
    if method != "eth_getLogs" or not params or not isinstance(params[0], dict):
        return None
    return _number(params[0].get("toBlock"))


def should_exist(method: str, params: Sequence[Any], head: int) -> bool:
    """Whether null means that this node is behind, rather than that there is nothing: another one is asked."""
    if method == "eth_getBlockByHash":
        return True
    if method in ("eth_getBlockByNumber", "eth_getBlockReceipts") and params:
        number = _number(params[0])
        return number is not None and number <= head
    return False


def is_elsewhere(refused: RpcRefused) -> bool:
    """Whether another endpoint may well answer what this one refused."""
    text = refused.node_message.lower()
    if refused.code == _REVERT_CODE or text.startswith("execution reverted"):
        return False  # what follows is a contract's text
    if isinstance(refused, MethodUnavailable) or refused.code == INTERNAL_ERROR:
        return True
    return any(known in text for known in _ELSEWHERE)


def _number(value: Any) -> int | None:
    try:
        return codec.quantity(value)
    except codec.Malformed:
        return None
