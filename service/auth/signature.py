"""How a request is signed and how that is checked. Pure: no clock, no database.

The signed text is five lines, joined by a line feed, none at the end:

    timestamp in milliseconds UTC, as in X-Cambist-Timestamp
    nonce, as in X-Cambist-Nonce: 16 to 64 of A-Z a-z 0-9 _ -
    method, in capitals
    path and query exactly as sent, percent-encoding included
    SHA-256 of the body in lower-case hex (of nothing when there is no body)

X-Cambist-Signature is HMAC-SHA256 of that text under the secret's text, or its Ed25519 signature, in hex.

Guarantees: nothing that is signed is re-encoded; a signature covers everything the service acts on. An unknown key
costs the same signature work as a wrong signature, and both get the same answer.
"""

import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from service.auth.key_model import Algorithm, ApiKey, hmac_secret
from service.auth.secrets import MasterKey
from service.errors import ApiError

KEY_HEADER: Final = "X-Cambist-Key"
TIMESTAMP_HEADER: Final = "X-Cambist-Timestamp"
NONCE_HEADER: Final = "X-Cambist-Nonce"
SIGNATURE_HEADER: Final = "X-Cambist-Signature"
PAST_MS: Final = 5_000
"""How old a request may be when it arrives."""
FUTURE_MS: Final = 1_000
"""How far a client's clock may be ahead."""

EARLIEST_MS: Final = 100_000_000_000
"""March 1973 in milliseconds; read as seconds, the year 5138."""

_HEADERS: Final = (KEY_HEADER, TIMESTAMP_HEADER, NONCE_HEADER, SIGNATURE_HEADER)
_BY_RAW_NAME: Final = {name.lower().encode(): name for name in _HEADERS}
_FORMS: Final = {
    KEY_HEADER: re.compile(r"[A-Za-z0-9_-]{1,64}"),
    TIMESTAMP_HEADER: re.compile(r"[1-9][0-9]{0,14}"),
    NONCE_HEADER: re.compile(r"[A-Za-z0-9_-]{16,64}"),
    SIGNATURE_HEADER: re.compile(r"[0-9a-f]{64}|[0-9a-f]{128}"),
}
_ALGORITHM_BY_BYTES: Final = {32: Algorithm.HMAC_SHA256, 64: Algorithm.ED25519}
_NOBODYS_PUBLIC_KEY: Final = bytes.fromhex("3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29")
"""Of the all-zero private key; only ever verified to spend the time, its result is not used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """The four headers, well formed."""

    key_id: str
    timestamp_ms: int
    nonce: str
    signature: bytes = field(repr=False)


def signing_text(timestamp_ms: int, nonce: str, *, method: str, target: str, body: bytes) -> bytes:
    """The text that is signed. `target` is path and query as sent."""
    return "\n".join([str(timestamp_ms), nonce, method, target, sha256(body).hexdigest()]).encode("latin-1")


def sign_request(
    key_id: str,
    secret: bytes | Ed25519PrivateKey,
    *,
    method: str,
    target: str,
    body: bytes,
    timestamp_ms: int,
    nonce: str,
) -> Mapping[str, str]:
    """The headers of a request, as a client makes them. `secret` is the HMAC secret's text as bytes, or a key."""
    text = signing_text(timestamp_ms, nonce, method=method, target=target, body=body)
    signature = hmac.digest(secret, text, sha256) if isinstance(secret, bytes) else secret.sign(text)
    return {
        KEY_HEADER: key_id,
        TIMESTAMP_HEADER: str(timestamp_ms),
        NONCE_HEADER: nonce,
        SIGNATURE_HEADER: signature.hex(),
    }


def is_signed(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether any header of a signature is there, right or wrong."""
    return any(name in _BY_RAW_NAME for name, _ in headers)


def read_headers(headers: Iterable[tuple[bytes, bytes]]) -> Signed | None:
    """The signature of a request from its raw headers (names in lower case); None when it has none at all.

    Raises:
        ApiError: authentication_failed: one is missing, given twice or malformed.
    """
    found: dict[str, str] = {}
    for raw_name, value in headers:
        name = _BY_RAW_NAME.get(raw_name)
        if name is None:
            continue
        if name in found:
            raise ApiError("authentication_failed", f"{name} is given twice")
        found[name] = value.decode("latin-1")
    if not found:
        return None
    for name in _HEADERS:
        if name not in found:
            raise ApiError("authentication_failed", f"{name} is missing")
        if not _FORMS[name].fullmatch(found[name]):
            raise ApiError("authentication_failed", f"{name} does not have the right form")
    return Signed(
        key_id=found[KEY_HEADER],
        timestamp_ms=int(found[TIMESTAMP_HEADER]),
        nonce=found[NONCE_HEADER],
        signature=bytes.fromhex(found[SIGNATURE_HEADER]),
    )


def check_window(timestamp_ms: int, *, now_ms: int) -> None:
    """Raises: ApiError: timestamp_out_of_window."""
    age_ms = now_ms - timestamp_ms
    if timestamp_ms < EARLIEST_MS:
        raise ApiError("timestamp_out_of_window", "the timestamp is in seconds, it seems; send milliseconds")
    if not -FUTURE_MS <= age_ms <= PAST_MS:
        where = f"{age_ms} ms old" if age_ms > 0 else f"{-age_ms} ms in the future"
        raise ApiError(
            "timestamp_out_of_window",
            f"the request is {where}; at most {PAST_MS} ms old and {FUTURE_MS} ms in the future are accepted",
        )


def verify(key: ApiKey | None, signed: Signed, text: bytes, *, master: MasterKey) -> None:
    """Check a signature; `key` is None for an unknown key id.

    Raises:
        ApiError: authentication_failed, the same for an unknown key and for a wrong signature.
        SealBroken: the stored secret does not open.
    """
    # By the signature's size, not by the key's algorithm: what an unknown key costs must not differ.
    algorithm = _ALGORITHM_BY_BYTES[len(signed.signature)]
    known = key is not None and key.algorithm is algorithm
    if algorithm is Algorithm.HMAC_SHA256:
        secret = _secret(key if known else None, master)
        right = hmac.compare_digest(hmac.digest(secret, text, sha256), signed.signature)
    else:
        public_key = key.public_key if known and key is not None else None
        right = _ed25519(public_key or _NOBODYS_PUBLIC_KEY, signed.signature, text=text)
    if not (known and right):
        raise ApiError("authentication_failed", "the key id is not known, or the signature is not right for it")


def _secret(key: ApiKey | None, master: MasterKey) -> bytes:
    if key is not None:
        return hmac_secret(key, master=master)
    return master.unseal(master.stand_in, identity="")


def _ed25519(public_key: bytes, signature: bytes, *, text: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, text)
    except InvalidSignature:
        return False
    return True
