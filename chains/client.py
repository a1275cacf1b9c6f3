"""One chain through one endpoint: typed reads, simulation and the raw send.

Guarantees: answers are decoded into our types or refused (`RpcProtocolError`); a read names its block; an
`OffchainLookup` revert (CCIP-Read) is a revert like any other, so a contract never makes us connect anywhere; a
failed call raises and is never a zero. Every method makes exactly one request, and none is repeated here.
Not guaranteed: that the endpoint tells the truth, or serves the configured chain before `verify_chain` has passed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from eth_utils.crypto import keccak

from chains.config import ChainConfig
from chains.errors import ExecutionReverted, RpcError, RpcProtocolError, RpcRefused, WrongChain
from chains.fees import FeeHistory
from chains.rpc import codec
from chains.rpc.transport import Transport
from chains.types import Address, BlockHash, BlockRef, BlockTag, CallRequest, ChainId, Fees, Header, Receipt, TxHash

T = TypeVar("T")
Block = BlockRef | BlockTag | int

REVERT_CODE: Final = 3
"""geth's JSON-RPC code of a reverted call (internal/ethapi/errors.go)."""
_REVERT_TEXTS: Final = ("execution reverted", "vm execution error", "transaction reverted", "reverted 0x")
_HALT_TEXTS: Final = ("invalid opcode", "invalidfeopcode", "opcodenotfound", "stack underflow", "invalid jump")
"""Deterministic EVM failures other than REVERT; they carry no data. Out of gas is not among them: it may be the
node's gas cap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimLog:
    """An event log of a simulated call, which no block has."""

    address: Address
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SimResult:
    """One simulated call. `reason` is the node's or contract's wording when it failed.

    `logs` None: the node does not tell them.
    """

    succeeded: bool
    gas_used: int
    output: bytes
    reason: str | None = None
    logs: tuple[SimLog, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountState:
    """A wallet on the chain. `nonce_pending` counts what waits in the node's pool as well."""

    balance_wei: int
    nonce_latest: int
    nonce_pending: int


class EvmClient:
    """Reads one chain and hands signed bytes to it. Holds no state but its configuration."""

    def __init__(self, config: ChainConfig, transport: Transport) -> None:
        self.config = config
        self.transport = transport

    def __repr__(self) -> str:
        return f"EvmClient(chain={self.config.key!r}, endpoint={self.transport.name!r})"

    # -- which chain --------------------------------------------------------------------------------------

    async def chain_id(self) -> ChainId:
        return ChainId(await self._ask("eth_chainId", [], codec.quantity))

    async def verify_chain(self) -> None:
        """Raises: WrongChain: the endpoint serves another chain id than the configuration names."""
        served = await self.chain_id()
        if served != self.config.chain_id:
            raise WrongChain(
                f"serves chain id {served}, but {self.config.key} is {self.config.chain_id}; check the address",
                endpoint=self.transport.name,
            )

    async def genesis_hash(self) -> BlockHash:
        genesis = await self.header(0)
        if genesis is None:
            raise self._broken("eth_getBlockByNumber", "the node has no block 0")
        return genesis.hash

    # -- blocks -------------------------------------------------------------------------------------------

    async def header(self, block: int | BlockTag | BlockHash) -> Header | None:
        """None when the node does not know the block (or the tag: a young chain has no `finalized`)."""
        if isinstance(block, str) and block.startswith("0x"):
            return await self._ask("eth_getBlockByHash", [block, False], _or_none(codec.header))
        param = hex(block) if isinstance(block, int) else block
        found = await self._ask("eth_getBlockByNumber", [param, False], _or_none(codec.header))
        if found is not None and isinstance(block, int) and found.number != block:
            raise self._broken("eth_getBlockByNumber", "the node answered with another block")
        return found

    async def headers(self, numbers: Sequence[int]) -> list[Header | None]:
        """Canonical headers at these heights, in one batch."""
        calls = [("eth_getBlockByNumber", [hex(number), False]) for number in numbers]
        found = await self._ask_all(calls, [_or_none(codec.header)] * len(calls))
        for number, header in zip(numbers, found, strict=True):
            if header is not None and header.number != number:
                raise self._broken("eth_getBlockByNumber", "the node answered with another block")
        return found

    async def head(self) -> Header:
        latest = await self.header("latest")
        if latest is None:
            raise self._broken("eth_getBlockByNumber", "the node has no latest block")
        return latest

    async def tx_hashes(self, number: int) -> Sequence[TxHash] | None:
        """The transactions of the canonical block at this height, in order; None when the node does not know it."""
        return await self._ask("eth_getBlockByNumber", [hex(number), False], _or_none(codec.tx_hashes))

    # -- accounts -----------------------------------------------------------------------------------------

    async def balance(self, address: Address, *, block: Block) -> int:
        """Native balance, wei."""
        return await self._ask("eth_getBalance", [address, codec.block_param(block)], codec.quantity)

    async def nonce(self, address: Address, *, block: Block) -> int:
        """Number of transactions sent: the next nonce at that block."""
        return await self._ask("eth_getTransactionCount", [address, codec.block_param(block)], codec.quantity)

    async def code(self, address: Address, *, block: Block = "latest") -> bytes:
        return await self._ask("eth_getCode", [address, codec.block_param(block)], codec.data)

    async def account(self, address: Address) -> AccountState:
        """Balance and nonces of a wallet, in one batch. The values may be of neighbouring blocks."""
        calls: list[tuple[str, Sequence[Any]]] = [
            ("eth_getBalance", [address, "latest"]),
            ("eth_getTransactionCount", [address, "latest"]),
            ("eth_getTransactionCount", [address, "pending"]),
        ]
        balance, latest, pending = await self._ask_all(calls, [codec.quantity] * 3)
        return AccountState(balance_wei=balance, nonce_latest=latest, nonce_pending=pending)

    async def nonces(self, asked: Sequence[tuple[Address, Block]]) -> list[int]:
        """`nonce` of several (wallet, block), in one batch."""
        calls = [("eth_getTransactionCount", [address, codec.block_param(block)]) for address, block in asked]
        return await self._ask_all(calls, [codec.quantity] * len(calls))

    async def storage(self, address: Address, slot: int, *, block: Block = "latest") -> bytes:
        """The 32 bytes of a storage slot; zeros where nothing was ever written."""
        return await self._ask("eth_getStorageAt", [address, hex(slot), codec.block_param(block)], _word_bytes)

    # -- execution without effect -------------------------------------------------------------------------

    async def call(
        self,
        request: CallRequest,
        *,
        sender: Address | None = None,
        block: Block = "latest",
        gas_limit: int | None = None,
        state_override: Mapping[Address, Mapping[str, Any]] | None = None,
    ) -> bytes:
        """`eth_call`; without `gas_limit` the node's own cap holds. Raises: ExecutionReverted."""
        call = codec.call_param(request, sender)
        if gas_limit is not None:
            call["gas"] = hex(gas_limit)
        params: list[Any] = [call, codec.block_param(block)]
        if state_override is not None:
            params.append(dict(state_override))
        return await self._execute("eth_call", params, codec.data)

    async def call_initcode(self, code: bytes, *, block: Block = "latest") -> bytes:
        """`eth_call` without `to`: the bytes run as initcode, and what they return is the answer.

        Bounded by EIP-3860 (49,152 bytes in) and EIP-170 (24,576 out). Raises: ExecutionReverted.
        """
        return await self._execute("eth_call", [{"data": "0x" + code.hex()}, codec.block_param(block)], codec.data)

    async def estimate_gas(self, request: CallRequest, *, sender: Address, block: Block = "latest") -> int:
        """`eth_estimateGas`. Raises: ExecutionReverted."""
        params = [codec.call_param(request, sender), codec.block_param(block)]
        return await self._execute("eth_estimateGas", params, codec.quantity)

    async def simulate(
        self,
        calls: Sequence[CallRequest],
        *,
        sender: Address | Sequence[Address],
        block: Block | Header = "latest",
        balances_wei: Mapping[Address, int] | None = None,
        fees: Fees | None = None,
    ) -> list[SimResult]:
        """`eth_simulateV1`: the calls in order, each on the state that the ones before it left.

        With a `Header` they run as the block after it: number and time are set, since nodes differ in what they assume
        (Anvil 1.7.1 runs them in the block itself, whose time a deadline may have passed or not reached).
        `sender` may be one a call, contracts too; `balances_wei` are native balances to assume.

        Gas is free, which a contract can see, unless `fees` are given: then the senders pay for it, with a `Header` at
        its base fee. One result a call; a reverted call does not stop the ones after it.

        Raises:
            MethodUnavailable: the node does not have the method.
            RpcRefused: the whole simulation was refused, such as for native value that is not there.
        """
        senders = [sender] * len(calls) if isinstance(sender, str) else sender
        block_call: dict[str, Any] = {
            "calls": [codec.call_param(call, by) for call, by in zip(calls, senders, strict=True)]
        }
        if fees is not None:
            paid = {"maxFeePerGas": hex(fees.max_fee_wei), "maxPriorityFeePerGas": hex(fees.priority_fee_wei)}
            block_call["calls"] = [call | paid for call in block_call["calls"]]
            if isinstance(block, Header):
                block_call["blockOverrides"] = {"baseFeePerGas": hex(block.base_fee_wei)}
        if balances_wei:
            block_call["stateOverrides"] = {
                address: {"balance": hex(balance)} for address, balance in balances_wei.items()
            }
        if isinstance(block, Header):
            next_time_s = block.timestamp_s + max(1, self.config.block_time_ms // 1000)
            overrides = block_call.setdefault("blockOverrides", {})
            overrides |= {"number": hex(block.number + 1), "time": hex(next_time_s)}
            block = block.ref
        payload = {
            "blockStateCalls": [block_call],
            "traceTransfers": False,
            "validation": False,
            "returnFullTransactions": False,
        }
        results = await self._ask("eth_simulateV1", [payload, codec.block_param(block)], _simulated)
        if len(results) != len(calls):
            raise self._broken("eth_simulateV1", f"{len(results)} results to {len(calls)} calls")
        return results

    # -- transactions -------------------------------------------------------------------------------------

    async def receipt(self, tx_hash: TxHash) -> Receipt | None:
        """None when it is not mined as far as this node knows."""
        return (await self.receipts([tx_hash]))[0]

    async def receipts(self, hashes: Sequence[TxHash]) -> list[Receipt | None]:
        """Receipts in the order asked, in one batch. Raises when any look-up failed: unknown is not "not mined"."""
        calls = [("eth_getTransactionReceipt", [tx_hash]) for tx_hash in hashes]
        return await self._ask_all(calls, [_receipt_of(tx_hash) for tx_hash in hashes])

    async def send_raw(self, raw: bytes) -> TxHash:
        """Hand signed bytes to the node once. The hash is computed here; another one from the node is refused.

        Raises:
            RpcUnavailable, RpcProtocolError: the outcome is unknown; the same bytes may be sent again.
            RpcRefused: the node's verdict; `node_errors.classify` says what it means.
        """
        return await self._ask("eth_sendRawTransaction", ["0x" + raw.hex()], _sent_hash(raw))

    async def send_raw_all(self, raws: Sequence[bytes]) -> list[TxHash | RpcError]:
        """`send_raw` of several in order, in one batch; each answer in its place.

        Raises: RpcUnavailable, RpcProtocolError: the outcome of all is unknown.
        """
        answers = await self.transport.batch([("eth_sendRawTransaction", ["0x" + raw.hex()]) for raw in raws])
        results: list[TxHash | RpcError] = []
        for raw, answer in zip(raws, answers, strict=True):
            if isinstance(answer, RpcError):
                results.append(answer)
                continue
            try:
                results.append(_sent_hash(raw)(answer))
            except codec.Malformed as exc:
                results.append(self._broken("eth_sendRawTransaction", str(exc)))
        return results

    async def fee_history(self, blocks: int, percentiles: Sequence[int]) -> FeeHistory:
        return await self._ask("eth_feeHistory", [hex(blocks), "latest", list(percentiles)], codec.fee_history)

    # -- private ------------------------------------------------------------------------------------------

    async def _ask(self, method: str, params: Sequence[Any], decode: Callable[[Any], T]) -> T:
        answer = await self.transport.request(method, params)
        try:
            return decode(answer)
        except codec.Malformed as exc:
            raise self._broken(method, str(exc)) from exc

    async def _ask_all(
        self, calls: Sequence[tuple[str, Sequence[Any]]], decoders: Sequence[Callable[[Any], T]]
    ) -> list[T]:
        if not calls:
            return []
        results: list[T] = []
        for (method, _), decode, answer in zip(calls, decoders, await self.transport.batch(calls), strict=True):
            if isinstance(answer, RpcError):
                raise answer
            try:
                results.append(decode(answer))
            except codec.Malformed as exc:
                raise self._broken(method, str(exc)) from exc
        return results

    async def _execute(self, method: str, params: Sequence[Any], decode: Callable[[Any], T]) -> T:
        try:
            return await self._ask(method, params, decode)
        except RpcRefused as exc:
            if (reverted := as_revert(exc)) is None:
                raise
            raise reverted from exc

    def _broken(self, method: str, message: str) -> RpcProtocolError:
        return RpcProtocolError(message, endpoint=self.transport.name, method=method)


def as_revert(refused: RpcRefused) -> ExecutionReverted | None:
    """The refusal as a revert of the EVM, if that is what it says."""
    text = refused.node_message.lower()
    if refused.code == REVERT_CODE or any(known in text for known in _REVERT_TEXTS):
        raw = codec.revert_data(refused.data)
        return ExecutionReverted(codec.revert_reason(raw), data=raw)
    if any(known in text for known in _HALT_TEXTS):
        return ExecutionReverted(refused.node_message, data=b"")
    return None


def _or_none(decode: Callable[[Any], T]) -> Callable[[Any], T | None]:
    return lambda value: None if value is None else decode(value)


def _receipt_of(tx_hash: TxHash) -> Callable[[Any], Receipt | None]:
    return lambda value: codec.receipt(value, asked=tx_hash)


def _sent_hash(raw: bytes) -> Callable[[Any], TxHash]:
    def decode(value: Any) -> TxHash:
        own = TxHash("0x" + keccak(raw).hex())
        if codec.word(value) != own:
            raise codec.Malformed("the node answered with another transaction hash")
        return own

    return decode


def _word_bytes(value: Any) -> bytes:
    # Nodes differ in whether they write leading zeros.
    word = codec.data(value)
    if len(word) > 32:
        raise codec.Malformed("a storage slot has 32 bytes")
    return word.rjust(32, b"\0")


def _simulated(value: Any) -> list[SimResult]:
    blocks = codec.sequence(value)
    if len(blocks) != 1:
        raise codec.Malformed("one simulated block was expected")
    return [_sim_result(call) for call in codec.sequence(codec.fields(blocks[0]).get("calls"))]


def _sim_result(value: Any) -> SimResult:
    got = codec.fields(value)
    status = codec.quantity(got.get("status"))
    if status not in (0, 1):
        raise codec.Malformed("a simulated status is neither 0 nor 1")
    output = codec.data(got.get("returnData"))
    reason: str | None = None
    if status == 0:
        error = got.get("error")
        error = error if isinstance(error, dict) else {}
        # Nodes disagree where the revert data is: in the error, in returnData, or in both.
        output = codec.revert_data(error.get("data")) or output
        message = error.get("message")
        reason = codec.revert_reason(output) or (message if isinstance(message, str) else None) or "reverted"
    return SimResult(
        succeeded=status == 1,
        gas_used=codec.quantity(got.get("gasUsed")),
        output=output,
        reason=reason,
        logs=None if got.get("logs") is None else tuple(_sim_log(log) for log in codec.sequence(got.get("logs"))),
    )


def _sim_log(value: Any) -> SimLog:
    got = codec.fields(value)
    return SimLog(
        address=codec.address(got.get("address")),
        topics=tuple(codec.topic(topic) for topic in codec.sequence(got.get("topics"))),
        data=codec.data(got.get("data")),
    )
