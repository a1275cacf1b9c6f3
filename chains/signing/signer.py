"""Who can sign for which address, and the signer that holds keys in this process.

Guarantees: a signature is returned only after the sender recovered from it is the one asked for; private keys show in
no repr or error. Not guaranteed: any check of what is signed; that is the lane's `PreSignCheck`.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

import coincurve

from chains.errors import SigningError
from chains.signing import eip1559
from chains.types import Address, SignedTx, UnsignedTx


class Signer(Protocol):
    """Signs for its addresses. Async because a remote signer or a KMS is one too."""

    async def addresses(self) -> Sequence[Address]: ...

    async def sign(self, sender: Address, tx: UnsignedTx) -> SignedTx:
        """Raises: SigningError: no key for `sender`, or the signature is not its."""
        ...


class RemoteSigner(Signer, Protocol):
    """A signer whose keys are elsewhere. `addresses` may ask it, or say what was configured."""

    async def prove(self, sender: Address) -> None:
        """Ask the signer whether it has the key of `sender`, before anything relies on it.

        Raises:
            SignerUnavailable: no usable answer.
            SigningError: it has not.
        """
        ...

    async def close(self) -> None: ...


class UnlockedKey:
    """A private key in memory, with its address."""

    __slots__ = ("_key", "address")

    def __init__(self, private_key: bytes) -> None:
        """Raises: SigningError: not a secp256k1 private key (32 bytes, within the curve's order, not zero)."""
        key: coincurve.PrivateKey | None = None
        if len(private_key) == 32:
            try:
                key = coincurve.PrivateKey(private_key)
            except ValueError:
                key = None
        if key is None:
            raise SigningError("not a private key: 32 bytes within the order of secp256k1 are needed")
        self._key = key
        self.address = eip1559.address_of(key.public_key)

    def __repr__(self) -> str:
        return f"UnlockedKey(address={self.address!r}, key=***)"

    def __reduce__(self) -> str:
        raise TypeError("an unlocked key is not to be copied or pickled")

    def sign(self, tx: UnsignedTx) -> SignedTx:
        return eip1559.sign(self._key, tx)


class LocalSigner:
    """`Signer` over keys that were unlocked before. One signature takes tens of microseconds, so no thread."""

    def __init__(self, keys: Iterable[UnlockedKey]) -> None:
        self._keys = {key.address: key for key in keys}

    def __repr__(self) -> str:
        return f"LocalSigner(addresses={list(self._keys)!r})"

    async def addresses(self) -> Sequence[Address]:
        return tuple(self._keys)

    async def sign(self, sender: Address, tx: UnsignedTx) -> SignedTx:
        key = self._keys.get(sender)
        if key is None:
            raise SigningError(f"no unlocked key for {sender}")
        signed = key.sign(tx)
        if not eip1559.is_signed_by(signed.raw, sender):
            raise SigningError(f"the signature made for {sender} is not its own; nothing was sent")
        return signed
