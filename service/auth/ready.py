"""What of a remembered HMAC key is the same for each of its requests, worked out once.

    is_right(text, signature)   HMAC-SHA256 from the two hash states that the secret gives (RFC 2104, section 4)
    admits(now_ms, client_ip)   what its caveats say of an arrival

Guarantees: `admits` is what `caveats.decide` says: asked once an address, and bound by the times after which a caveat
says something else. None is made of a key that waits, was revoked, is not an HMAC one or whose secret does not open:
those need the whole way and its answers. Never shown in a repr, and gone with the key's memory.
Not guaranteed: that nobody who can read this process's memory can sign with the states; it has the master key, too.
"""

from collections.abc import Iterable
from hashlib import sha256
from hmac import compare_digest
from typing import Final

from service.auth.caveats import Arrival, Caveat, NotExpired, NotIdle, Use, decide
from service.auth.keys import Algorithm, ApiKey, IpAddress, Permission, hmac_secret
from service.auth.secrets import MasterKey, SealBroken

BLOCK_BYTES: Final = 64
MAX_ADDRESSES: Final = 64
"""Admitted ones that a key remembers."""
_INNER: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))
_NEVER_MS: Final = 1 << 62


class Ready:
    """Used by one event loop."""

    __slots__ = ("_addresses", "_caveats", "_inner", "_outer", "_until_ms", "may_read")

    def __init__(self, secret: bytes, caveats: tuple[Caveat, ...]) -> None:
        padded = secret.ljust(BLOCK_BYTES, b"\0")
        self._inner: Final = sha256(padded.translate(_INNER))
        self._outer: Final = sha256(padded.translate(_OUTER))
        self._caveats: Final = caveats
        self._until_ms: Final = min(_ends_ms(caveats), default=_NEVER_MS)
        self._addresses: Final[set[str]] = set()
        self.may_read: Final = decide(caveats, Use(permission=Permission.READ)) is None

    def is_right(self, text: bytes, signature: bytes) -> bool:
        """Whether that is the signature of the text, in lower-case hex."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(text)
        outer.update(inner.digest())
        return compare_digest(outer.hexdigest().encode(), signature)

    def admits(self, now_ms: int, client_ip: IpAddress, *, named: str) -> bool:
        """Whether the key may be used now, from there. `named`: the address as text, which is quicker to find."""
        if now_ms >= self._until_ms:
            return False
        if named in self._addresses:
            return True
        if decide(self._caveats, Arrival(now_ms=now_ms, client_ip=client_ip)) is not None:
            return False
        if len(self._addresses) >= MAX_ADDRESSES:
            self._addresses.clear()
        self._addresses.add(named)
        return True


def ready_of(key: ApiKey, caveats: tuple[Caveat, ...], *, master: MasterKey) -> Ready | None:
    """None where the whole way is needed."""
    if key.algorithm is not Algorithm.HMAC_SHA256 or key.revoked_ms is not None or key.lapses_ms is not None:
        return None
    try:
        secret = hmac_secret(key, master=master)
    except SealBroken:
        # Said by the whole way, to whoever uses the key.
        return None
    return Ready(secret, caveats) if len(secret) <= BLOCK_BYTES else None


def _ends_ms(caveats: Iterable[Caveat]) -> Iterable[int]:
    """The only ones that look at the time: what they allow now, they allow at any earlier time."""
    for caveat in caveats:
        match caveat:
            case NotExpired(expires_ms=end_ms) | NotIdle(end_ms=end_ms):
                yield end_ms
