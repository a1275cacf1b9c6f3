"""Plain values that every layer speaks: ids, addresses, blocks, fees, transactions, receipts.

Guarantees: all values are immutable; addresses are EIP-55 checksummed `str`; hashes are lower-case
`0x` + 64 hex `str`; amounts are `int` in the chain's smallest unit (wei).
Not guaranteed: that an address has code, or that a block is still canonical.
"""

from dataclasses import dataclass
from typing import Final, Literal, NewType

from eth_utils.crypto import keccak

ChainId = NewType("ChainId", int)
Address = NewType("Address", str)
"""EIP-55 checksummed, 42 characters. Make one with `parse_address` (strict) or `address_from_bytes`."""
TxHash = NewType("TxHash", str)
BlockHash = NewType("BlockHash", str)

ZERO_ADDRESS: Final = Address("0x" + "0" * 40)
_HEX: Final = frozenset("0123456789abcdefABCDEF")

BlockTag = Literal["latest", "pending", "safe", "finalized", "earliest"]


class InvalidAddress(ValueError):
    """The text is not a 20-byte hex address, or its EIP-55 checksum is wrong."""


class InvalidHash(ValueError):
    """The text is not a 32-byte hex value."""


def parse_address(text: str) -> Address:
    """Read an address from outside, strictly.

    All-lower-case and all-upper-case hex carry no checksum and are accepted (EIP-55); mixed case must
    match its checksum.

    Raises:
        InvalidAddress: not `0x` + 40 hex digits, or a wrong checksum.
    """
    if len(text) != 42 or not text.startswith("0x") or not _HEX.issuperset(text[2:]):
        raise InvalidAddress("an address is 0x followed by 40 hex digits")
    digits = text[2:]
    checksummed = _checksummed(digits.lower())
    if digits not in (digits.lower(), digits.upper()) and text != checksummed:
        raise InvalidAddress("the address has a wrong EIP-55 checksum; copy it again")
    return checksummed


def address_from_bytes(raw: bytes) -> Address:
    """20 bytes -> checksummed address."""
    if len(raw) != 20:
        raise InvalidAddress(f"an address has 20 bytes, got {len(raw)}")
    return _checksummed(raw.hex())


def _checksummed(digits: str) -> Address:
    """Of 40 lower-case digits, by EIP-55. eth_utils takes twice as long, and each address that is read from a row comes
    by here."""
    hashed = keccak(digits.encode()).hex()[: len(digits)]
    cased = [digit.upper() if nibble >= "8" else digit for digit, nibble in zip(digits, hashed, strict=True)]
    return Address("0x" + "".join(cased))


def address_bytes(address: Address) -> bytes:
    """Checksummed address -> its 20 bytes."""
    return bytes.fromhex(address[2:])


def parse_hash(text: str) -> str:
    """Read a 32-byte hash from outside; the answer is lower case.

    Raises:
        InvalidHash: not `0x` + 64 hex digits.
    """
    if len(text) != 66 or not text.startswith("0x") or not _HEX.issuperset(text[2:]):
        raise InvalidHash("a hash is 0x followed by 64 hex digits")
    return text.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRef:
    """A block by number and hash: what every read that matters is pinned to."""

    number: int
    hash: BlockHash


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The parts of a block header that the engine uses. `base_fee_wei` is 0 before EIP-1559."""

    number: int
    hash: BlockHash
    parent_hash: BlockHash
    timestamp_s: int
    base_fee_wei: int
    gas_limit: int

    @property
    def ref(self) -> BlockRef:
        return BlockRef(number=self.number, hash=self.hash)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fees:
    """EIP-1559 fees of one attempt, wei per gas. `max_fee_wei >= priority_fee_wei >= 0`."""

    max_fee_wei: int
    priority_fee_wei: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRequest:
    """What a contract call or a transaction does, without nonce, gas or fees."""

    to: Address
    data: bytes = b""
    value_wei: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsignedTx:
    """An EIP-1559 (type 2) transaction ready to be signed."""

    chain_id: ChainId
    nonce: int
    to: Address
    data: bytes
    value_wei: int
    gas_limit: int
    fees: Fees


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedTx:
    """Signed bytes and the hash computed here (`keccak(raw)`), never the one a node answers.

    A bearer cheque: whoever holds `raw` can send it, so it stays out of logs.
    """

    hash: TxHash
    raw: bytes

    def __repr__(self) -> str:
        return f"SignedTx(hash={self.hash!r}, raw=<{len(self.raw)} bytes>)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """One event log of a receipt. `topics` are 32 bytes each."""

    address: Address
    topics: tuple[bytes, ...]
    data: bytes
    log_index: int
    tx_hash: TxHash
    block: BlockRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A mined transaction's receipt. `succeeded` is False for a revert (status 0)."""

    tx_hash: TxHash
    block: BlockRef
    succeeded: bool
    gas_used: int
    effective_gas_price_wei: int
    sender: Address
    to: Address | None
    logs: tuple[Log, ...]

    @property
    def fee_wei(self) -> int:
        """Gas paid, wei. (Rollups with an L1 fee are not among the configured chains.)"""
        return self.gas_used * self.effective_gas_price_wei
