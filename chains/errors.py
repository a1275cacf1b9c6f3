"""What can go wrong with a chain, by what to do next.

    ChainError                      .retry: never | same | reprice | reconcile
    ├── RpcError                    an endpoint did not give a usable answer
    │   ├── RpcUnavailable          same: no connection, time-out, 5xx, 429; the outcome of a send is UNKNOWN
    │   │   ├── RpcNotSent          same: no connection came about, so that nothing left this machine
    │   │   └── RpcThrottled        same: HTTP 429; carries what Retry-After said
    │   ├── RpcProtocolError        same: not JSON-RPC, wrong id, over the size limit, malformed field
    │   └── RpcRefused              the node answered with an error object (code, message, data)
    │       └── MethodUnavailable   never: the node does not have the method
    ├── ExecutionReverted           never: the EVM reverted the call; carries the revert data
    ├── WrongChain                  never: chain id or genesis is not the configured one
    ├── SendRefused                 a node's verdict on signed bytes; `verdict` says which, see node_errors
    ├── FeeCapExceeded              reprice: fees needed now are above the configured cap
    └── SigningError                never: no key, wrong sender, bad password
        └── SignerUnavailable       same: a remote signer gave no usable answer; the nonce stays with its row

`retry` names the next action: `never` (the same request fails again), `same` (the identical bytes may be
sent again), `reprice` (same nonce, other fees), `reconcile` (look at the chain first).
"""

from typing import ClassVar, Literal

Retry = Literal["never", "same", "reprice", "reconcile"]


class ChainError(Exception):
    """Base of all errors of this layer."""

    retry: ClassVar[Retry] = "never"


class RpcError(ChainError):
    """An endpoint did not give a usable answer. Never carries the endpoint's address, only its name."""

    retry: ClassVar[Retry] = "same"

    def __init__(self, message: str, *, endpoint: str, method: str) -> None:
        super().__init__(f"{endpoint}: {method}: {message}")
        self.endpoint = endpoint
        self.method = method


class RpcUnavailable(RpcError):
    """No connection, time-out, HTTP 429 or 5xx. For a send the outcome is unknown."""


class RpcNotSent(RpcUnavailable):
    """No connection came about (refused, no such host, TLS failed): the request provably never left."""


class RpcThrottled(RpcUnavailable):
    """HTTP 429. `retry_after_s` is what the endpoint asked for, if it said."""

    def __init__(self, message: str, *, endpoint: str, method: str, retry_after_s: int | None = None) -> None:
        super().__init__(message, endpoint=endpoint, method=method)
        self.retry_after_s = retry_after_s


class RpcProtocolError(RpcError):
    """The answer is not what JSON-RPC promises. For a send the outcome is unknown."""


class RpcRefused(RpcError):
    """The node answered with a JSON-RPC error object."""

    def __init__(self, message: str, *, endpoint: str, method: str, code: int | None, data: object = None) -> None:
        super().__init__(message, endpoint=endpoint, method=method)
        self.code = code
        self.node_message = message
        self.data = data


class MethodUnavailable(RpcRefused):
    """The node does not offer this method (JSON-RPC -32601 or wording to that effect)."""

    retry = "never"


class ExecutionReverted(ChainError):
    """The EVM reverted. `data` is the raw revert data; `reason` the decoded Error(string), if that is what it is."""

    def __init__(self, reason: str | None, *, data: bytes) -> None:
        super().__init__(f"execution reverted: {reason or '0x' + data[:4].hex()}")
        self.reason = reason
        self.data = data


class WrongChain(ChainError):
    """The endpoint serves another chain than the configuration names."""

    def __init__(self, message: str, *, endpoint: str) -> None:
        super().__init__(f"{endpoint}: {message}")
        self.endpoint = endpoint


class WrongGenesis(WrongChain):
    """The chain id is the configured one, the genesis block is not: another network, or a local chain built anew."""


class FeeCapExceeded(ChainError):
    """The fees needed now are above the chain's configured caps."""

    retry = "reprice"

    def __init__(self, *, needed_wei: int, cap_wei: int) -> None:
        super().__init__(f"needed max fee {needed_wei} wei is above the cap {cap_wei} wei")
        self.needed_wei = needed_wei
        self.cap_wei = cap_wei


class SigningError(ChainError):
    """No key for the address, a wrong password, or a signature of another sender."""


class SignerUnavailable(SigningError):
    """A remote signer could not be reached, timed out, or was busy. It may have signed: the same request may be
    made again, for the same nonce only."""

    retry = "same"
