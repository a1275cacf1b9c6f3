"""BIP-39 mnemonics and BIP-44 keys: m/44'/60'/0'/0/index, as every Ethereum wallet derives them.

Guarantees: the words are in no error; only the English list with a valid checksum is accepted.
Not guaranteed: that the words stay secret after they were handed to the caller, who shows them once.
"""

from typing import Final, Literal

from eth_account.hdaccount import key_from_seed
from eth_account.hdaccount.mnemonic import Mnemonic
from eth_utils.exceptions import ValidationError

from chains.errors import SigningError

MAX_INDEX: Final = 2**31 - 1
"""Above are the hardened indices of BIP-32."""
_PATH: Final = "m/44'/60'/0'/0/{index}"


def generate(words: Literal[12, 24] = 12) -> str:
    """New words from the operating system's randomness: 128 or 256 bits."""
    if words not in (12, 24):
        raise ValueError("a mnemonic has 12 or 24 words here")
    return Mnemonic().generate(words)


def derive(mnemonic: str, index: int = 0, *, passphrase: str = "") -> bytes:
    """The private key at an index. Takes some 10 ms (2048 rounds of HMAC-SHA512, then five derivations).

    Raises: SigningError: not a valid English mnemonic, or an index outside 0..2^31-1.
    """
    if not 0 <= index <= MAX_INDEX:
        raise SigningError("the index is out of range")
    words = " ".join(mnemonic.lower().split())
    if not _is_valid(words):
        raise SigningError("not a valid mnemonic: 12 to 24 words of the English BIP-39 list, in the right order")
    key: bytes = key_from_seed(Mnemonic.to_seed(words, passphrase), _PATH.format(index=index))
    return key


def _is_valid(words: str) -> bool:
    try:
        return bool(Mnemonic().is_mnemonic_valid(words))
    except ValidationError:  # its text repeats the words
        return False
