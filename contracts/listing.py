"""What is at an address that is to be listed: code, its words about itself, proxies, and functions that bode ill.

Guarantees: each read is an eth_call of its own with a gas limit, so that a hostile token spoils only its own answer;
what cannot be read is None, never a default. Proxies are found by the slots of EIP-1967 (implementation and beacon),
EIP-1822 and OpenZeppelin before them, by Polygon's bridge's, by the code of EIP-1167 and by `implementation()`.
Not guaranteed: that code does what its selectors say. A function is noticed when its selector stands in the code (of
the implementation, behind a proxy); one without that is not noticed, and one that is noticed may be harmless.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol, TypeVar

from eth_utils.crypto import keccak

from chains.errors import ExecutionReverted, RpcRefused
from chains.types import ZERO_ADDRESS, Address, BlockRef, BlockTag, CallRequest, address_from_bytes
from contracts import erc20
from contracts.call import Call
from contracts.errors import ContractError

T = TypeVar("T")

READ_GAS: Final = 1_000_000
"""Of one read of an unknown contract: an ordinary `symbol()` through a proxy takes 40,000."""
DELEGATION: Final = bytes.fromhex("ef0100")
"""EIP-7702: the code of a wallet that has delegated; the wallet stays a wallet."""
_CLONE_HEAD: Final = bytes.fromhex("363d3d373d3d3d363d73")
_CLONE_TAIL: Final = bytes.fromhex("5af43d82803e903d91602b57fd5bf3")
_PUSH4: Final = b"\x63"


class ProxyKind(StrEnum):
    """How a proxy says where its code is."""

    EIP1967 = "EIP-1967"
    BEACON = "EIP-1967 beacon"
    EIP1822 = "EIP-1822"
    OPENZEPPELIN = "OpenZeppelin's first"
    POLYGON_BRIDGE = "Polygon bridge's"
    CLONE = "EIP-1167 clone"
    ANSWERS = "implementation()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """The code that answers is another contract's. Whoever controls the proxy can change it, except of a clone."""

    kind: ProxyKind
    implementation: Address

    @property
    def can_change(self) -> bool:
        return self.kind is not ProxyKind.CLONE


class Trait(StrEnum):
    """What the code seems to be able to do."""

    PAUSE = "pause"
    BLOCK = "block"
    TAX = "tax"
    LIMIT = "limit"
    REBASE = "rebase"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFacts:
    """A contract as far as it answered. None: it did not, or with something else than its ABI says."""

    address: Address
    code_bytes: int
    is_wallet: bool
    symbol: str | None
    name: str | None
    decimals: int | None
    total_supply: int | None
    proxy: Proxy | None
    traits: Mapping[Trait, tuple[str, ...]]


class ListingReader(Protocol):
    """What looking at a token needs of a chain client; `chains.client.EvmClient` is one."""

    async def call(
        self,
        request: CallRequest,
        *,
        sender: Address | None = None,
        block: BlockRef | BlockTag | int = "latest",
        gas_limit: int | None = None,
    ) -> bytes: ...

    async def code(self, address: Address, *, block: BlockRef | BlockTag | int = "latest") -> bytes: ...

    async def storage(self, address: Address, slot: int, *, block: BlockRef | BlockTag | int = "latest") -> bytes: ...


def _slot_1967(name: str) -> int:
    # EIP-1967: one less than the hash, so that no mapping of a contract can come to lie there.
    return int.from_bytes(keccak(text=name), "big") - 1


_SLOTS: Final[Mapping[ProxyKind, int]] = {
    ProxyKind.EIP1967: _slot_1967("eip1967.proxy.implementation"),
    ProxyKind.BEACON: _slot_1967("eip1967.proxy.beacon"),
    ProxyKind.EIP1822: int.from_bytes(keccak(text="PROXIABLE"), "big"),
    ProxyKind.OPENZEPPELIN: int.from_bytes(keccak(text="org.zeppelinos.proxy.implementation"), "big"),
    ProxyKind.POLYGON_BRIDGE: int.from_bytes(keccak(text="matic.network.proxy.implementation"), "big"),
}
_SIGNATURES: Final[Mapping[Trait, tuple[str, ...]]] = {
    Trait.PAUSE: (
        "pause()",
        "unpause()",
        "paused()",
        "setPaused(bool)",
        "enableTrading()",
        "openTrading()",
    ),
    Trait.BLOCK: (
        "blacklist(address)",
        "blacklisted(address)",
        "isBlacklisted(address)",
        "isBlackListed(address)",
        "addBlackList(address)",
        "setBlacklist(address,bool)",
        "isBlocked(address)",
        "addToBlockedList(address)",
        "freeze(address)",
        "isFrozen(address)",
        "bots(address)",
        "addBots(address[])",
        "setBots(address[])",
    ),
    Trait.TAX: (
        "basisPointsRate()",
        "setParams(uint256,uint256)",
        "fee_bps()",
        "setFee(uint256)",
        "setFees(uint256,uint256)",
        "setTax(uint256)",
        "setTaxes(uint256,uint256)",
        "setTaxFeePercent(uint256)",
        "taxFee()",
        "_taxFee()",
        "totalFees()",
        "transferFee()",
        "buyFee()",
        "sellFee()",
        "buyTax()",
        "sellTax()",
        "excludeFromFee(address)",
        "excludeFromFees(address,bool)",
        "isExcludedFromFee(address)",
        "isExcludedFromFees(address)",
    ),
    Trait.LIMIT: (
        "maxTransactionAmount()",
        "maxTxAmount()",
        "_maxTxAmount()",
        "setMaxTxAmount(uint256)",
        "maxWallet()",
        "_maxWalletSize()",
        "removeLimits()",
    ),
    Trait.REBASE: (
        "rebase(uint256)",
        "rebase(uint256,int256)",
        "rebasingCreditsPerToken()",
        "gonsForBalance(uint256)",
        "sharesOf(address)",
        "shareOf(address)",
        "getPooledEthByShares(uint256)",
        "scaledBalanceOf(address)",
    ),
}


async def read_token(client: ListingReader, address: Address, *, block: BlockRef) -> TokenFacts:
    """Look at what is there.

    Raises:
        ChainError: the node did not answer.
    """
    code = await client.code(address, block=block)
    is_wallet = not code or code.startswith(DELEGATION)
    if is_wallet:
        return TokenFacts(
            address=address,
            code_bytes=len(code),
            is_wallet=True,
            symbol=None,
            name=None,
            decimals=None,
            total_supply=None,
            proxy=None,
            traits={},
        )
    symbol = await _read(client, erc20.symbol(address), block=block)
    name = await _read(client, erc20.name(address), block=block)
    decimals = await _read(client, erc20.decimals(address), block=block)
    total_supply = await _read(client, erc20.total_supply(address), block=block)
    proxy = await _proxy(client, address, code=code, block=block)
    behind = code if proxy is None else code + await client.code(proxy.implementation, block=block)
    return TokenFacts(
        address=address,
        code_bytes=len(code),
        is_wallet=False,
        symbol=symbol,
        name=name,
        decimals=decimals,
        total_supply=total_supply,
        proxy=proxy,
        traits=traits_of(behind),
    )


def traits_of(code: bytes) -> Mapping[Trait, tuple[str, ...]]:
    """The functions of each trait whose selector is pushed somewhere in the code (as dispatchers do)."""
    found = {
        trait: tuple(one for one in signatures if _PUSH4 + keccak(text=one)[:4] in code)
        for trait, signatures in _SIGNATURES.items()
    }
    return {trait: signatures for trait, signatures in found.items() if signatures}


def clone_of(code: bytes) -> Address | None:
    """Where an EIP-1167 clone's code is; None for other code."""
    at = len(_CLONE_HEAD)
    if len(code) == at + 20 + len(_CLONE_TAIL) and code.startswith(_CLONE_HEAD) and code.endswith(_CLONE_TAIL):
        return address_from_bytes(code[at : at + 20])
    return None


async def _proxy(client: ListingReader, address: Address, *, code: bytes, block: BlockRef) -> Proxy | None:
    if (cloned := clone_of(code)) is not None:
        return Proxy(kind=ProxyKind.CLONE, implementation=cloned)
    words = await asyncio.gather(*(client.storage(address, slot, block=block) for slot in _SLOTS.values()))
    for kind, word in zip(_SLOTS, words, strict=True):
        target = _address_in(word)
        if target is None:
            continue
        if kind is ProxyKind.BEACON:
            target = await _read(client, _implementation(target), block=block)
        if target is not None and target != ZERO_ADDRESS:
            return Proxy(kind=kind, implementation=target)
    answered = await _read(client, _implementation(address), block=block)
    if answered is None or answered == ZERO_ADDRESS:
        return None
    return Proxy(kind=ProxyKind.ANSWERS, implementation=answered)


def _implementation(proxy: Address) -> Call[Address]:
    """`implementation()` of a beacon (EIP-1967) or of a proxy that shows it (EIP-897)."""

    def decode(data: bytes) -> Address:
        return (_address_in(data) if len(data) == 32 else None) or ZERO_ADDRESS

    return Call(to=proxy, data=keccak(text="implementation()")[:4], decode=decode)


def _address_in(word: bytes) -> Address | None:
    return None if any(word[:12]) or not any(word) else address_from_bytes(word[12:])


async def _read(client: ListingReader, call: Call[T], *, block: BlockRef) -> T | None:
    try:
        return call.decode(await client.call(call.request, block=block, gas_limit=READ_GAS))
    except (ExecutionReverted, RpcRefused, ContractError):
        # Refused: nodes have no one word for a call that burned its gas.
        return None
