"""When answers of several endpoints say the same: what is compared of each method, and the count of votes.

Guarantees: only fields that the JSON-RPC specification fixes are compared (clients add their own, such as geth's
`blockTimestamp`); hex is compared without case; a refusal is a vote like an answer.
Not guaranteed: agreement on what moves with the head. Ask at a block, not at `latest`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import orjson

from chains.errors import RpcError, RpcRefused, RpcUnavailable
from chains.rpc.broadcast import raw_params
from chains.rpc.endpoint import SEND, Calls

_LOG: Final = (
    "address",
    "topics",
    "data",
    "blockNumber",
    "blockHash",
    "transactionHash",
    "transactionIndex",
    "logIndex",
)
_RECEIPT: Final = (
    "transactionHash",
    "blockHash",
    "blockNumber",
    "transactionIndex",
    "status",
    "gasUsed",
    "effectiveGasPrice",
    "from",
    "to",
    "contractAddress",
)
_BLOCK: Final = ("number", "hash", "parentHash", "timestamp", "gasLimit", "gasUsed", "baseFeePerGas", "stateRoot")


class QuorumNotReached(RpcUnavailable):
    """Too few endpoints gave the same answer. Nothing that moves money may be based on any of them."""

    def __init__(self, *, endpoint: str, method: str, need: int, agreed: int, asked: int) -> None:
        super().__init__(f"{agreed} of {asked} endpoints agree, {need} must", endpoint=endpoint, method=method)
        self.need = need
        self.agreed = agreed
        self.asked = asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreed:
    """An answer and how many gave it. `is_degraded`: fewer endpoints are configured than were asked for."""

    value: Any
    agreed: int
    asked: int
    is_degraded: bool = False


class Ballot:
    """Counts the answers to one call; the first answer of each group stands for it."""

    def __init__(self, method: str) -> None:
        self._method = method
        self._groups: dict[bytes, tuple[Any, int]] = {}
        self.asked = 0

    def vote(self, answer: Any) -> None:
        """`answer` may be an RpcRefused."""
        key = canonical(self._method, answer)
        first, count = self._groups.get(key, (answer, 0))
        self._groups[key] = (first, count + 1)

    @property
    def best(self) -> tuple[Any, int]:
        """The answer most gave, and how many. (None, 0) without votes."""
        return max(self._groups.values(), key=lambda group: group[1], default=(None, 0))

    @property
    def is_split(self) -> bool:
        return len(self._groups) > 1


class QuorumReads(Protocol):
    """What the view needs of a pool."""

    @property
    def name(self) -> str: ...

    async def request(self, method: str, params: Sequence[Any]) -> Any: ...

    async def quorum(self, method: str, params: Sequence[Any], *, need: int) -> Agreed: ...

    async def quorum_batch(self, calls: Calls, *, need: int) -> list[Agreed | RpcError]: ...


class QuorumView:
    """`Transport` of quorum reads; sends go the pool's usual way. Closing it closes nothing."""

    def __init__(self, pool: QuorumReads, need: int) -> None:
        self._pool = pool
        self._need = need

    @property
    def name(self) -> str:
        return self._pool.name

    async def request(self, method: str, params: Sequence[Any]) -> Any:
        if method == SEND:
            return await self._pool.request(method, params)
        return (await self._pool.quorum(method, params, need=self._need)).value

    async def batch(self, calls: Calls) -> list[Any | RpcError]:
        if raw_params(calls):
            raise ValueError("a batch of quorum reads holds no sends")
        answers = await self._pool.quorum_batch(calls, need=self._need)
        return [answer.value if isinstance(answer, Agreed) else answer for answer in answers]

    async def close(self) -> None:
        return None


def canonical(method: str, answer: Any) -> bytes:
    """Equal for answers that say the same."""
    if isinstance(answer, RpcRefused):
        return b"refused " + orjson.dumps(_lower([answer.code, answer.data]), option=orjson.OPT_SORT_KEYS)
    if method == "eth_getTransactionReceipt":
        answer = _receipt(answer)
    elif method == "eth_getBlockReceipts" and isinstance(answer, list):
        answer = [_receipt(one) for one in answer]
    elif method == "eth_getLogs" and isinstance(answer, list):
        answer = [_only(one, _LOG) for one in answer]
    elif method in ("eth_getBlockByNumber", "eth_getBlockByHash"):
        answer = _only(answer, _BLOCK)
    return b"answer " + orjson.dumps(_lower(answer), option=orjson.OPT_SORT_KEYS)


def _receipt(receipt: Any) -> Any:
    if not isinstance(receipt, dict):
        return receipt
    logs = receipt.get("logs")
    return {
        "receipt": _only(receipt, _RECEIPT),
        "logs": [_only(log, _LOG) for log in logs] if isinstance(logs, list) else None,
    }


def _only(value: Any, names: tuple[str, ...]) -> Any:
    return {name: value.get(name) for name in names} if isinstance(value, Mapping) else value


def _lower(value: Any) -> Any:
    if isinstance(value, str):
        return value.lower()
    if isinstance(value, Mapping):
        return {str(key): _lower(one) for key, one in value.items()}
    return [_lower(one) for one in value] if isinstance(value, list | tuple) else value
