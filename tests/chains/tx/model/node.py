"""A node of the modelled chain: JSON-RPC answers in the specification's shapes, and the ways in which nodes fail.

Guarantees: an answer is what the chain (or the view at which the node stands still) says, unless a fault was set for
it; every signed transaction that reaches the node is told to `on_raw` first, whatever becomes of it.
Not modelled: logs, proofs, filters.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from chains.errors import MethodUnavailable, RpcError, RpcRefused, RpcThrottled, RpcUnavailable
from chains.types import Address, Header
from tests.chains.tx.model.chain import GWEI, Block, ChainModel, Refused, Sent, parse

SEND: Final = "eth_sendRawTransaction"
RECEIPT: Final = "eth_getTransactionReceipt"
SIMULATE: Final = "eth_simulateV1"
TIP_WEI: Final = 2 * GWEI
"""What blocks of the model pay at the middle."""
OTHER_HASH: Final = "0x" + "ab" * 32


class Fault(StrEnum):
    """What goes wrong with a call."""

    LOST_BEFORE = "the request does not arrive"
    LOST_AFTER = "it arrives, the answer does not"
    THROTTLED = "429"
    SWALLOWED = "the node says yes and forgets it"
    LIE_BEFORE = "the node refuses what it never looked at"
    LIE_AFTER = "the node takes it and says that it does not"
    WRONG_HASH = "the node takes it and answers with another hash"
    MISSING = "null for something that is there"
    LACKING = "no such method"


LIES: Final = (
    "nonce too low",
    "nonce too low: next nonce 7, tx nonce 3",
    "nonce too high",
    "already known",
    "replacement transaction underpriced",
    "transaction underpriced",
    "insufficient funds for gas * price + value",
    "tx fee (1.20 ether) exceeds the configured cap (1.00 ether)",
    "exceeds block gas limit",
    "invalid sender",
    "txpool is full",
    "execution reverted: nonce too low",
    "upstream gave up",
    "<html>502 Bad Gateway</html>",
)


@dataclass(slots=True, kw_only=True)
class Setting:
    """A fault that waits for its calls: of this method (None: any), so often."""

    fault: Fault
    method: str | None
    times: int
    text: str = ""


class NodeModel:
    """One endpoint's node. `view`: it stands still at these blocks; None: it follows."""

    def __init__(self, chain: ChainModel, *, name: str, on_raw: Callable[[Sent], None]) -> None:
        self.name = name
        self.settings: list[Setting] = []
        self.view: list[Block] | None = None
        self.flaps = False
        """One address for two nodes: every other request is answered by one that follows."""
        self.lacks_simulation = False
        self.stood_still = False
        self._still: list[Block] | None = None
        self._final_then = 0
        self._chain = chain
        self._on_raw = on_raw

    def heal(self) -> None:
        self.settings.clear()
        self.view = self._still = None

    @property
    def stands_still(self) -> bool:
        return self._still is not None

    def stand_still(self, *, flaps: bool) -> None:
        self.view = self._still = self._chain.blocks
        self.flaps = flaps
        self.stood_still = True
        self._final_then = self._chain.finalized

    def serve(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any | RpcError]:
        """Raises: RpcUnavailable: as the set fault says; what had arrived has its effect."""
        method = calls[0][0]
        if self._still is not None and self.flaps:
            self.view = self._still if self.view is None else None
        fault = self._fault((Fault.LOST_BEFORE, Fault.THROTTLED), method)
        if fault is not None and fault.fault is Fault.THROTTLED:
            raise RpcThrottled("HTTP 429", endpoint=self.name, method=method, retry_after_s=1)
        if fault is not None:
            raise RpcUnavailable("no answer in time", endpoint=self.name, method=method)
        answers = [self._one(method, params) for method, params in calls]
        if self._fault((Fault.LOST_AFTER,), method) is not None:
            raise RpcUnavailable("no answer in time", endpoint=self.name, method=method)
        return answers

    # -- one call -----------------------------------------------------------------------------------------

    def _one(self, method: str, params: Sequence[Any]) -> Any | RpcError:
        try:
            if (method == SIMULATE and self.lacks_simulation) or self._fault((Fault.LACKING,), method) is not None:
                raise MethodUnavailable(
                    "the method does not exist/is not available", endpoint=self.name, method=method, code=-32601
                )
            if self._fault((Fault.MISSING,), method) is not None:
                return None
            if method == SEND:
                return self._send(params[0])
            if (lie := self._fault((Fault.LIE_BEFORE, Fault.LIE_AFTER), method)) is not None:
                raise self._refusal(method, lie.text)
            return self._read(method, params)
        except RpcRefused as refused:
            return refused

    def _send(self, raw: str) -> Any:
        sent = parse(bytes.fromhex(raw[2:]))
        self._on_raw(sent)
        if self._fault((Fault.SWALLOWED,), SEND) is not None:
            return sent.hash
        if (lie := self._fault((Fault.LIE_BEFORE,), SEND)) is not None:
            raise self._refusal(SEND, lie.text)
        answer = sent.hash
        try:
            self._chain.take(sent)
        except Refused as refused:
            raise self._refusal(SEND, str(refused)) from refused
        finally:
            lie, other = self._fault((Fault.LIE_AFTER,), SEND), self._fault((Fault.WRONG_HASH,), SEND)
        if lie is not None:
            raise self._refusal(SEND, lie.text)
        return OTHER_HASH if other is not None else answer

    def _read(self, method: str, params: Sequence[Any]) -> Any:
        match method:
            case "eth_chainId":
                return hex(self._chain.chain_id)
            case "eth_syncing":
                return False
            case "eth_blockNumber":
                return hex(self._blocks[-1].header.number)
            case "eth_getBlockByNumber":
                return self._header(self._at(params[0]))
            case "eth_getBlockByHash":
                return self._header(next((b for b in self._blocks if b.header.hash == params[0]), None))
            case "eth_getBalance":
                return hex(self._chain.account(Address(params[0]), self._known(params[1], method)).balance_wei)
            case "eth_getTransactionCount":
                if params[1] == "pending" and self.view is None:
                    return hex(self._chain.pending_nonce(Address(params[0])))
                return hex(self._chain.account(Address(params[0]), self._known(params[1], method)).nonce)
            case "eth_getTransactionReceipt":
                return self._receipt(params[0])
            case "eth_estimateGas":
                return hex(self._run(params[0], method)[0])
            case "eth_simulateV1":
                return [{"calls": [self._simulated(call) for call in params[0]["blockStateCalls"][0]["calls"]]}]
            case "eth_feeHistory":
                base = hex(self._blocks[-1].header.base_fee_wei)
                return {"baseFeePerGas": [base, hex(self._chain.base_fee_wei)], "reward": [[hex(TIP_WEI)]]}
            case _:
                raise MethodUnavailable("method not found", endpoint=self.name, method=method, code=-32601)

    @property
    def _blocks(self) -> list[Block]:
        return self.view if self.view is not None else self._chain.blocks

    def _at(self, param: Any) -> Block | None:
        blocks = self._blocks
        if isinstance(param, dict):
            return next((block for block in blocks if block.header.hash == param["blockHash"]), None)
        if param in ("latest", "pending"):
            return blocks[-1]
        final = self._chain.finalized if self.view is None else self._final_then
        number = final if param == "finalized" else int(param, 16)
        return blocks[number] if number < len(blocks) else None

    def _known(self, param: Any, method: str) -> Block:
        block = self._at(param)
        if block is None:
            raise self._refusal(method, "header not found")
        return block

    def _header(self, block: Block | None) -> dict[str, Any] | None:
        if block is None:
            return None
        return _header_fields(block.header) | {"transactions": [included.sent.hash for included in block.txs]}

    def _receipt(self, tx_hash: str) -> dict[str, Any] | None:
        for block in reversed(self._blocks):
            for included in block.txs:
                if included.sent.hash == tx_hash:
                    return {
                        "transactionHash": tx_hash,
                        "blockHash": block.header.hash,
                        "blockNumber": hex(block.header.number),
                        "status": hex(included.succeeded),
                        "gasUsed": hex(included.gas_used),
                        "effectiveGasPrice": hex(included.price_wei),
                        "from": included.sent.sender,
                        "to": included.sent.tx.to,
                        "logs": [],
                    }
        return None

    def _run(self, call: dict[str, str], method: str) -> tuple[int, bool]:
        balance = self._chain.account(Address(call["from"]), self._blocks[-1]).balance_wei
        if int(call.get("value", "0x0"), 16) > balance:
            raise self._refusal(method, "insufficient funds for transfer")
        gas, succeeded = self._chain.gas_and_success(Address(call["to"]), gate_is_shut=self._chain.gate_is_shut)
        if not succeeded and method == "eth_estimateGas":
            raise RpcRefused("execution reverted", endpoint=self.name, method=method, code=3, data="0x")
        return gas, succeeded

    def _simulated(self, call: dict[str, str]) -> dict[str, Any]:
        gas, succeeded = self._run(call, SIMULATE)
        outcome: dict[str, Any] = {"status": hex(succeeded), "gasUsed": hex(gas), "returnData": "0x", "logs": []}
        return outcome if succeeded else outcome | {"error": {"code": 3, "message": "execution reverted"}}

    # -- faults -------------------------------------------------------------------------------------------

    def _fault(self, kinds: Sequence[Fault], method: str) -> Setting | None:
        """The first that waits for this call; it counts as used."""
        for setting in self.settings:
            if setting.fault in kinds and setting.method in (None, method):
                setting.times -= 1
                if setting.times <= 0:
                    self.settings.remove(setting)
                return setting
        return None

    def _refusal(self, method: str, text: str) -> RpcRefused:
        return RpcRefused(text, endpoint=self.name, method=method, code=-32000)


def _header_fields(header: Header) -> dict[str, Any]:
    return {
        "number": hex(header.number),
        "hash": header.hash,
        "parentHash": header.parent_hash,
        "timestamp": hex(header.timestamp_s),
        "baseFeePerGas": hex(header.base_fee_wei),
        "gasLimit": hex(header.gas_limit),
    }
