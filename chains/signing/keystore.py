"""Encrypted private keys on disk: V3 keystore files (scrypt, AES-128-CTR), one a wallet.

Guarantees:
- a file is complete or not there (temporary file, fsync, link, fsync of the directory), mode 0600 in a directory 0700;
- an address has one file: a second is refused;
- what is read is bounded before it is believed (file size, scrypt cost), so a planted file cannot eat the memory;
- no error names a password, a key or the file's content; a broken file breaks only its own wallet.

Not guaranteed: protection from root or from whoever reads this process's memory.
`create` and `import_key` run scrypt in the calling thread (about a second); `unlock` does so in its own thread.
"""

import asyncio
import contextlib
import os
import re
import secrets
import stat
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import orjson
from eth_keyfile.keyfile import create_keyfile_json, decode_keyfile_json
from eth_utils.address import to_checksum_address

from chains.crashpoints import reach
from chains.errors import SigningError
from chains.signing.signer import UnlockedKey
from chains.types import Address

DEFAULT_SCRYPT_N: Final = 2**18
"""geth's StandardScryptN: 256 MB and about a second a key."""
MIN_SCRYPT_N: Final = 2**10
MAX_SCRYPT_N: Final = 2**20
MAX_SCRYPT_MEMORY: Final = 2**30
"""Bytes, 128 * N * r."""
MAX_SCRYPT_P: Final = 16
MAX_FILE_BYTES: Final = 16_384
"""A V3 file has about 500 bytes."""

_FILE: Final = re.compile(r"0x[0-9a-f]{40}\.json", re.ASCII)
_HEX: Final = re.compile(r"(?:0x)?(?:[0-9a-fA-F]{2}){1,256}", re.ASCII)


class Keystore:
    """The key files of one directory, which is made (0700) when the first key is stored."""

    def __init__(self, directory: Path, *, scrypt_n: int = DEFAULT_SCRYPT_N) -> None:
        if not MIN_SCRYPT_N <= scrypt_n <= MAX_SCRYPT_N or scrypt_n & (scrypt_n - 1):
            raise ValueError(f"scrypt_n is a power of two from {MIN_SCRYPT_N} to {MAX_SCRYPT_N}")
        self._directory = directory
        self._scrypt_n = scrypt_n
        # One at a time: fifty unlocks at once would take 12 GB. The thread starts with the first unlock.
        self._unlocking = ThreadPoolExecutor(max_workers=1, thread_name_prefix="keystore")

    def __repr__(self) -> str:
        return f"Keystore({str(self._directory)!r})"

    def create(self, password: str) -> Address:
        """Make and store a new key. Blocks for the time of one scrypt. Raises: SigningError."""
        while True:
            try:
                key = UnlockedKey(candidate := secrets.token_bytes(32))
            except SigningError:  # one in 2^128
                continue
            self._store(key.address, candidate, password)
            return key.address

    def import_key(self, private_key: bytes, password: str) -> Address:
        """Store a key from elsewhere. Blocks for the time of one scrypt.

        Raises: SigningError: not a private key, the address has a file already, or the disk refused.
        """
        address = UnlockedKey(private_key).address
        self._store(address, private_key, password)
        return address

    def list(self) -> Sequence[Address]:
        """Addresses that have a file, sorted; the files are not opened."""
        if not self._directory.exists():
            return ()
        names = sorted(entry.name for entry in self._directory.iterdir() if _FILE.fullmatch(entry.name))
        return tuple(Address(to_checksum_address(name.removesuffix(".json"))) for name in names)

    async def unlock(self, address: Address, password: str) -> UnlockedKey:
        """Decrypt a key, in a thread, one at a time.

        Raises: SigningError: no such file, a damaged or oversized one, loose permissions, or a wrong password.
        """
        return await asyncio.get_running_loop().run_in_executor(self._unlocking, self._unlock, address, password)

    def close(self) -> None:
        """End the unlocking thread. A later unlock raises."""
        self._unlocking.shutdown(wait=False, cancel_futures=True)

    # -- private ------------------------------------------------------------------------------------------

    def _path(self, address: Address) -> Path:
        return self._directory / f"{address.lower()}.json"

    def _store(self, address: Address, private_key: bytes, password: str) -> None:
        if not password:
            raise SigningError("a keystore needs a password")
        path = self._path(address)
        if path.exists():
            raise SigningError(f"{address} has a keystore file already")
        document = create_keyfile_json(
            private_key, password.encode(), version=3, kdf="scrypt", iterations=self._scrypt_n, salt_size=32
        )
        try:
            self._make_directory()
            self._write(path, orjson.dumps(document))
        except FileExistsError:
            raise SigningError(f"{address} has a keystore file already") from None
        except OSError as exc:
            raise SigningError(f"the keystore file cannot be written: {exc.strerror}") from exc

    def _make_directory(self) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if stat.S_IMODE(self._directory.stat().st_mode) & 0o077:
            raise SigningError(f"the keystore directory is open to other users: chmod 700 {self._directory}")

    def _write(self, path: Path, content: bytes) -> None:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            reach("K16")
            # A link, unlike a rename, never replaces a file that another process made meanwhile.
            os.link(temporary, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
        directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _unlock(self, address: Address, password: str) -> UnlockedKey:
        content = self._load(address)
        try:
            private_key = decrypt_keyfile(content, password)
        except SigningError as exc:
            raise SigningError(f"{address}: {exc}") from None
        key = UnlockedKey(private_key)
        if key.address != address:
            raise SigningError(f"{address}: the keystore file holds the key of another address")
        return key

    def _load(self, address: Address) -> bytes:
        """The file's content, cut one byte past the limit."""
        try:
            handle = os.open(self._path(address), os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise SigningError(f"{address} has no keystore file") from None
        except OSError as exc:
            raise SigningError(f"{address}: the keystore file cannot be read: {exc.strerror}") from exc
        with os.fdopen(handle, "rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise SigningError(f"{address}: the keystore file is open to other users: chmod 600 it")
            return file.read(MAX_FILE_BYTES + 1)


def decrypt_keyfile(content: bytes, password: str) -> bytes:
    """The private key in a V3 keystore file's content, of this keystore or another program. Blocks for one scrypt.

    Raises: SigningError: too large, not such a file, parameters out of bounds, or a wrong password.
    """
    if len(content) > MAX_FILE_BYTES:
        raise SigningError(f"the keystore file is over {MAX_FILE_BYTES} bytes")
    document: Any = None
    with contextlib.suppress(orjson.JSONDecodeError):
        document = orjson.loads(content)
    if not isinstance(document, dict):
        raise SigningError("the keystore file is truncated or not JSON")
    vetted = _vetted(document)
    private_key: bytes | None = None
    # eth_keyfile fails with ValueError, TypeError or KeyError, depending on what is wrong with the file.
    with contextlib.suppress(ValueError, TypeError, KeyError):
        private_key = decode_keyfile_json(vetted, password.encode())
    if private_key is None:
        raise SigningError("wrong password, or a damaged keystore file")
    return private_key


def _vetted(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document rebuilt from the fields that were checked and no others: V3, scrypt, within bounds.

    Rebuilt, because eth_keyfile folds the case of names: a second `N` beside `n` would slip past a check in place.
    """
    crypto = _table(document.get("crypto"))
    parameters, cipher = _table(crypto.get("kdfparams")), _table(crypto.get("cipherparams"))
    n, r, p = (_positive(parameters.get(name)) for name in ("n", "r", "p"))
    texts = {
        "salt": parameters.get("salt"),
        "iv": cipher.get("iv"),
        "ciphertext": crypto.get("ciphertext"),
        "mac": crypto.get("mac"),
    }
    power_of_two = 2 <= n <= MAX_SCRYPT_N and not n & (n - 1)
    bounded = power_of_two and 1 <= p <= MAX_SCRYPT_P and 0 < 128 * n * r <= MAX_SCRYPT_MEMORY
    problem: str | None = None
    if document.get("version") != 3 or not crypto:
        problem = "not version 3"
    elif crypto.get("kdf") != "scrypt":
        problem = "its key derivation is not scrypt"
    elif crypto.get("cipher") != "aes-128-ctr":
        problem = "its cipher is not aes-128-ctr"
    elif not bounded or parameters.get("dklen") != 32:
        problem = "its scrypt parameters are out of bounds"
    elif not all(type(value) is str and _HEX.fullmatch(value) for value in texts.values()):
        problem = "a field is not hex"
    if problem is not None:
        raise SigningError(f"the keystore file is not usable: {problem}")
    return {
        "version": 3,
        "crypto": {
            "cipher": "aes-128-ctr",
            "cipherparams": {"iv": texts["iv"]},
            "ciphertext": texts["ciphertext"],
            "kdf": "scrypt",
            "kdfparams": {"dklen": 32, "n": n, "r": r, "p": p, "salt": texts["salt"]},
            "mac": texts["mac"],
        },
    }


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _positive(value: Any) -> int:
    """The number, or 0 for anything that is not a positive int (bool included)."""
    return value if type(value) is int and value > 0 else 0
