"""What can go wrong in this layer, by what the caller can do about it.

    ContractError
    ├── InvalidData             a data file (assets, deployments, ABI) is missing or inconsistent: fix the file
    ├── UnknownDeployment       the chain has no such contract or venue in the registry
    ├── UnlistedAsset           no listed asset with that id, symbol or address on that chain
    ├── AssetMismatch           amounts of two assets were mixed: a bug of the caller
    ├── AbiError                bytes and ABI do not fit
    │   └── UndecodableReturn   a contract answered with something else than its ABI says (nothing, say)
    ├── TokenRefused            a token answered `false`
    ├── FeedUnusable            a price feed has no valid answer
    │   └── FeedStale           its answer is older than its heartbeat allows
    ├── QuoteError
    │   ├── UnsupportedPair     same asset twice, native against its wrapped token, or another chain's asset
    │   ├── InvalidTradeAmount  zero, negative or over 2^128 - 1
    │   ├── NoRoute             no pool connects the two assets
    │   ├── InsufficientLiquidity   pools exist, but none can fill this amount: ask for less
    │   ├── AmountTooSmall      the amount buys or costs nothing: ask for more
    │   └── InvalidPriceLimit   a V3 price limit on the wrong side of the price, or beyond all prices
    ├── InconsistentPool        answers or logs that cannot be of one pool at one block: load it again
    ├── TicksNotLoaded          a V3 quote walks out of the words that were loaded: load more
    ├── UnknownCalldata         bytes that are none of the calls that we make
    ├── UnsafeSwap              a swap without a limit, a deadline or a sane recipient
    └── NoFill                  a receipt does not show the swap that was asked about

Errors of the node and reverts are `chains.errors`, passed through as they are.
"""

from chains.types import Address


class ContractError(Exception):
    """Base of all errors of this layer."""


class InvalidData(ContractError):
    """A data file is missing or inconsistent. The message names the file and the entry."""


class UnknownDeployment(ContractError):
    """The registry has no such contract or venue on that chain."""

    def __init__(self, chain_id: int, name: str) -> None:
        super().__init__(f"chain {chain_id} has no {name!r} in the registry of deployments")
        self.chain_id = chain_id
        self.name = name


class UnlistedAsset(ContractError):
    """No listed asset answers to that id, symbol or address."""

    def __init__(self, chain_id: int, wanted: str) -> None:
        super().__init__(f"{wanted!r} is not a listed asset of chain {chain_id}")
        self.chain_id = chain_id
        self.wanted = wanted


class AssetMismatch(ContractError):
    """Amounts of two different assets were added or compared."""


class AbiError(ContractError):
    """Bytes do not fit the ABI, or an ABI has no such entry."""


class UndecodableReturn(AbiError):
    """A call answered with bytes that are not what its ABI says; empty bytes when the target has no code."""

    def __init__(self, message: str, *, data: bytes) -> None:
        super().__init__(message)
        self.data = data


class TokenRefused(ContractError):
    """A token answered `false` instead of reverting."""


class FeedUnusable(ContractError):
    """A price feed answered zero, a negative number, or has no finished round."""


class FeedStale(FeedUnusable):
    """A price feed's latest answer is older than its heartbeat allows."""


class QuoteError(ContractError):
    """No quote can be given."""


class UnsupportedPair(QuoteError):
    """The two assets are not a trade."""


class InvalidTradeAmount(QuoteError):
    """The amount is not one that can be traded."""


class NoRoute(QuoteError):
    """No pool connects the two assets."""


class InsufficientLiquidity(QuoteError):
    """Pools exist, but none fills the amount."""


class AmountTooSmall(QuoteError):
    """The amount is so small that it buys or costs nothing."""


class InvalidPriceLimit(QuoteError):
    """A V3 price limit that the pool refuses ('SPL')."""


class InconsistentPool(ContractError):
    """What was read or logged cannot be the state of one pool at one block."""


class TicksNotLoaded(ContractError):
    """A V3 quote needs a word of the pool's tick bitmap that was not loaded; `word` is the next in its direction."""

    def __init__(self, pool: Address, word: int) -> None:
        super().__init__(f"word {word} of the tick bitmap of {pool} is not loaded")
        self.pool = pool
        self.word = word


class UnknownCalldata(ContractError):
    """Calldata that is none of the calls that we make, or not in the bytes in which we make them."""


class UnsafeSwap(ContractError):
    """A swap whose calldata would not protect its sender."""


class NoFill(ContractError):
    """The receipt does not show the swap: reverted, or nothing moved."""
