"""web3.py over our transport, for work that wants its interface. The hot paths call `EvmClient` instead.

Switched off, and why: its retries (they hold `eth_sendRawTransaction`), the ENS, gas-buffer and gas-price middleware
and the validation that asks for the chain id twice a call, CCIP-Read (a hostile contract would make us connect to an
address of its choice), and its logging of endpoints (there is no web3 provider class with an address here).

Guarantees: only reads pass; sending and signing are refused, since the engine is the only place that sends.
Not guaranteed: our types; answers are web3's.
"""

from typing import Any, Final

from web3 import AsyncWeb3
from web3.middleware import ExtraDataToPOAMiddleware
from web3.providers.async_base import AsyncBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from chains.config import ChainConfig
from chains.errors import RpcError, RpcRefused
from chains.rpc.transport import Transport

_REFUSED: Final = ("eth_send", "eth_sign", "personal_", "wallet_", "admin_", "miner_")
"""Method families that send, sign or administer."""


class ReadsOnly(PermissionError):
    """A method that sends or signs was asked of the read interface."""


class TransportProvider(AsyncBaseProvider):
    """A web3 provider that hands each request to a `Transport` once."""

    global_ccip_read_enabled = False

    def __init__(self, transport: Transport) -> None:
        super().__init__()
        self._transport = transport

    def __repr__(self) -> str:
        return f"TransportProvider({self._transport.name!r})"

    __str__ = __repr__

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """Raises: RpcUnavailable, RpcProtocolError; the node's error objects become web3's exceptions."""
        _only_reads(method)
        try:
            return {"jsonrpc": "2.0", "id": 1, "result": await self._transport.request(method, params)}
        except RpcRefused as exc:
            return _error(exc)

    async def make_batch_request(self, requests: list[tuple[RPCEndpoint, Any]]) -> list[RPCResponse]:
        for method, _ in requests:
            _only_reads(method)
        answers = await self._transport.batch(requests)
        return [_response(answer) for answer in answers]

    async def is_connected(self, show_traceback: bool = False) -> bool:
        try:
            await self._transport.request("eth_chainId", [])
        except RpcError:
            if show_traceback:
                raise
            return False
        return True


def web3_over(transport: Transport, config: ChainConfig | None = None) -> AsyncWeb3[TransportProvider]:
    """`AsyncWeb3` without its default middleware; with the one for long extraData where the chain needs it."""
    middleware = [ExtraDataToPOAMiddleware] if config is not None and config.poa else []
    web3: AsyncWeb3[TransportProvider] = AsyncWeb3(TransportProvider(transport), middleware=middleware)
    return web3


def _only_reads(method: str) -> None:
    if method.startswith(_REFUSED):
        raise ReadsOnly(f"{method} is not for this interface; transactions go through the engine")


def _response(answer: Any) -> RPCResponse:
    if isinstance(answer, RpcRefused):
        return _error(answer)
    if isinstance(answer, RpcError):
        raise answer
    return {"jsonrpc": "2.0", "id": 1, "result": answer}


def _error(refused: RpcRefused) -> RPCResponse:
    code = refused.code if refused.code is not None else -32000
    return {
        "jsonrpc": "2.0",
        "id": 1,
        "error": {"code": code, "message": refused.node_message, "data": refused.data},  # type: ignore[typeddict-item]
    }
