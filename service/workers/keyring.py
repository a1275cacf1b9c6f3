"""The signing keys that are unlocked in this process: a `Signer` that keys can be added to while it runs.

Guarantees: as `chains.signing.signer.LocalSigner`. An added key can sign from the next signature on.
"""

from collections.abc import Sequence

from chains.signing.keystore import Keystore
from chains.signing.signer import LocalSigner, UnlockedKey
from chains.types import Address, SignedTx, UnsignedTx


class Keyring:
    """Starts empty."""

    def __init__(self) -> None:
        self._keys: dict[Address, UnlockedKey] = {}
        self._signer = LocalSigner(())

    def __repr__(self) -> str:
        return f"Keyring({self._signer!r})"

    def add(self, key: UnlockedKey) -> None:
        self._keys[key.address] = key
        self._signer = LocalSigner(self._keys.values())

    async def addresses(self) -> Sequence[Address]:
        return await self._signer.addresses()

    async def sign(self, sender: Address, tx: UnsignedTx) -> SignedTx:
        """Raises: SigningError: no key for `sender`."""
        return await self._signer.sign(sender, tx)


async def unlock_all(keyring: Keyring, keystore: Keystore, *, password: str) -> Sequence[Address]:
    """Unlock every key file of the keystore, one after another; the answer is their addresses.

    Raises:
        SigningError: a file is damaged, or the password is not its.
    """
    addresses = keystore.list()
    for address in addresses:
        keyring.add(await keystore.unlock(address, password))
    return addresses
