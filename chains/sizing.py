"""How much is asked of a node at once, where nodes set limits that none of them tells: found by halving.

A `Portion` is the size of one kind of request (blocks a range, pools a call), kept by who asks. It halves when
`is_too_much` says that a smaller request may be answered, and doubles again after some that were.

Guarantees: a portion stays between 1 and its most; one of 1 that is refused is the caller's error to raise. Not
guaranteed: that every wording is known: one that is not is an error like any other, and halves nothing.
"""

from typing import Final

from chains.errors import RpcError, RpcNotSent, RpcProtocolError, RpcRefused, RpcThrottled, RpcUnavailable

GROWS_AFTER: Final = 4
"""Answers in a row after which the double is tried: a limit that is met costs one request in five."""
LIMIT_EXCEEDED: Final = -32005
"""EIP-1474. Hosted nodes use it for results as well as for rates."""
_TOO_MUCH: Final = (
    "returned more than",  # geth with a limit, Infura: query returned more than 10000 results
    "response size",  # Alchemy: Log response size exceeded; others: response size should not be greater than
    "response is too big",  # Nethermind, jsonrpsee
    "response too large",
    "max results",  # reth, erigon: query exceeds max results
    "block range",  # Ankr: block range is too wide; reth: query exceeds max block range; bor, Chainstack, Blast
    "range is too",
    "range too large",
    "is limited to a",  # QuickNode: eth_getLogs is limited to a 10,000 range
    "too many blocks",  # Cloudflare, dRPC
    "too many logs",
    "too many results",
    "limited to 0 -",  # Blast: eth_getLogs is limited to 0 - 1024 blocks range
    "maximum number of blocks",
    "query timeout",  # Alchemy, geth: query timeout exceeded
    "timed out",
    "timeout",
    "request entity too large",
    "out of gas",  # an eth_call over the node's own gas cap
    "gas limit is too high",
    "exceeds allowance",
)
"""Lower-case parts of refusals, with a client that words them so."""
_RATES: Final = ("rate", "per second", "too many requests", "daily", "quota", "credits", "compute units")
"""A smaller request would be refused as well."""


class Portion:
    """Used by one event loop."""

    def __init__(self, most: int, *, start: int | None = None) -> None:
        if most < 1:
            raise ValueError("a portion is at least 1")
        self.most: Final = most
        self.size = most if start is None else min(start, most)
        self._answered = 0

    def answered(self, asked: int) -> None:
        """A request of this size was answered; one that was smaller than the portion shows nothing."""
        if asked < self.size:
            return
        self._answered += 1
        if self._answered >= GROWS_AFTER:
            self.size, self._answered = min(self.most, self.size * 2), 0

    def refused(self, asked: int) -> bool:
        """A request of this size was too much: whether there is a smaller one to try."""
        self._answered = 0
        self.size = max(1, min(self.size, asked // 2))
        return asked > 1


def is_too_much(error: RpcError) -> bool:
    """Whether a smaller request may be answered: too many results, too long, too large, or over the node's gas."""
    if isinstance(error, RpcNotSent | RpcThrottled):
        return False
    if isinstance(error, RpcUnavailable | RpcProtocolError):
        return True  # a time-out, a gateway's 5xx, an answer over our own limit, HTTP 413
    if not isinstance(error, RpcRefused):
        return False
    text = error.node_message.lower()
    if any(known in text for known in _TOO_MUCH):
        return True
    return error.code == LIMIT_EXCEEDED and not any(known in text for known in _RATES)
