"""The installation's master key, and what is derived from it: sealing of secrets, keys for MACs.

Guarantees: the file is a regular one that only its owner can read, or it is not used; each use has its own subkey
(HKDF-SHA256), so that no ciphertext says anything about a MAC; a sealed secret opens only for the identity it was
sealed for (AES-256-GCM, the identity as authenticated data), so that one copied to another row is garbage; the key
shows in no repr and cannot be pickled.
Not guaranteed: protection from someone who has both the file and the database, nor that Python wipes memory.
"""

import os
import secrets
import stat
from pathlib import Path
from typing import Final, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
"""Random ones: far fewer than 2^32 secrets are ever sealed under one key (NIST SP 800-38D, 8.3)."""
_NOBODYS_SECRET: Final = bytes(64)
"""As long as that of an HMAC key."""
_VERSION: Final = b"\x01"
_ID_BYTES: Final = 8


class MasterKeyUnusable(Exception):
    """The master key's file is missing, open to others, or is not one. The message never has its content."""


class SealBroken(Exception):
    """A sealed secret does not open: another master key, another row, or changed bytes."""


class MasterKey:
    """The root secret. `MasterKey()` is a fresh one that is nowhere stored."""

    __slots__ = ("_aead", "_key", "_subkeys", "id", "stand_in")

    def __init__(self, key: bytes | None = None) -> None:
        self._key: Final = secrets.token_bytes(KEY_BYTES) if key is None else key
        if len(self._key) != KEY_BYTES:
            raise MasterKeyUnusable(f"a master key has {KEY_BYTES} bytes")
        self._subkeys: Final[dict[str, bytes]] = {}
        self._aead: Final = AESGCM(self.subkey("seal"))
        self.id: Final = self.subkey("id")[:_ID_BYTES].hex()
        """Tells which key sealed something; says nothing about the key."""
        self.stand_in: Final = self.seal(_NOBODYS_SECRET, identity="")
        """What is opened where there is no secret to open, so that it takes as long."""

    @classmethod
    def load(cls, path: Path) -> "MasterKey":
        """Read the key. Raises: MasterKeyUnusable."""
        try:
            with open(path, "rb", opener=_without_following) as file:
                found = os.fstat(file.fileno())
                if not stat.S_ISREG(found.st_mode):
                    raise MasterKeyUnusable(f"{path} is not a regular file")
                if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                    raise MasterKeyUnusable(f"{path} must be yours alone: chmod 600 {path}")
                text = file.read(4 * KEY_BYTES).strip()
        except OSError as exc:
            raise MasterKeyUnusable(f"{path}: {exc.strerror}; `cambist init` makes one") from exc
        try:
            key = bytes.fromhex(text.decode("ascii"))
        except ValueError:
            # `from None`: the parser quotes the text.
            raise MasterKeyUnusable(f"{path} is not a master key of Cambist") from None
        if len(key) != KEY_BYTES:
            raise MasterKeyUnusable(f"{path} is not a master key of Cambist")
        return cls(key)

    @classmethod
    def create(cls, path: Path) -> "MasterKey":
        """Make a key and store it durably, mode 0600. Raises: FileExistsError: never overwritten."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = cls()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(made._key.hex().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        return made

    def subkey(self, purpose: str) -> bytes:
        """A key for one purpose."""
        # Kept: two are needed for every signed request. There are as many purposes as the code names.
        found = self._subkeys.get(purpose)
        if found is None:
            info = b"cambist/v1/" + purpose.encode()
            found = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(self._key)
            self._subkeys[purpose] = found
        return found

    def seal(self, secret: bytes, *, identity: str) -> bytes:
        """Encrypt for one row; `identity` names table, row and column."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        header = _VERSION + bytes.fromhex(self.id)
        return header + nonce + self._aead.encrypt(nonce, secret, header + identity.encode())

    def unseal(self, sealed: bytes, *, identity: str) -> bytes:
        """Decrypt what was sealed for that row. Raises: SealBroken."""
        split = len(_VERSION) + _ID_BYTES
        header, nonce, body = sealed[:split], sealed[split : split + _NONCE_BYTES], sealed[split + _NONCE_BYTES :]
        if header[:1] != _VERSION:
            raise SealBroken(f"{identity}: not a sealed secret of this version")
        if header[1:].hex() != self.id:
            raise SealBroken(f"{identity}: sealed with another master key")
        try:
            return self._aead.decrypt(nonce, body, header + identity.encode())
        except (InvalidTag, ValueError) as exc:
            raise SealBroken(f"{identity}: the sealed secret was changed, or belongs to another row") from exc

    def __repr__(self) -> str:
        return f"MasterKey(id={self.id})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a master key is not pickled or copied")


def _without_following(path: str, flags: int) -> int:
    """Open without following a link at the end of the path, and without waiting on a pipe."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
