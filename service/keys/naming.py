"""What people give for a key, as text, and what it means: a public key, a label for a successor."""

import base64
import re
from collections.abc import Container
from typing import Final

from service.accounts.names import MAX_LENGTH
from service.auth.keys import InvalidKey

_ED25519_PREFIX: Final = bytes.fromhex("302a300506032b6570032100")
"""SubjectPublicKeyInfo of an Ed25519 key up to its 32 bytes (RFC 8410)."""
_NUMBERED: Final = re.compile(r"(.*)-[1-9][0-9]{0,5}", re.ASCII | re.DOTALL)


def public_key(text: str) -> bytes:
    """From hex, or from the PEM that openssl writes; how many bytes it has is for the caller. Raises: InvalidKey."""
    stripped = text.strip()
    try:
        if stripped.startswith("-----BEGIN PUBLIC KEY-----"):
            lines = [line for line in stripped.splitlines() if not line.startswith("-----")]
            der = base64.b64decode("".join(lines), validate=True)
            return der[len(_ED25519_PREFIX) :] if der.startswith(_ED25519_PREFIX) else b""
        return bytes.fromhex(stripped.removeprefix("0x"))
    except ValueError as exc:
        raise InvalidKey("the public key is neither 64 hex digits nor PEM") from exc


def next_label(label: str, *, taken: Container[str]) -> str:
    """`bot` -> `bot-2` -> `bot-3`, the first that is free."""
    numbered = _NUMBERED.fullmatch(label)
    stem = label if numbered is None else numbered[1]
    number = 2
    while True:
        suffix = f"-{number}"
        found = stem[: MAX_LENGTH - len(suffix)].rstrip() + suffix
        if found not in taken:
            return found
        number += 1
