"""The last look at every log event: values whose name says secret, and endpoints' addresses, are masked.

Guarantees: whatever a library or our own code puts into an event, at any depth, values under the names below are
masked, and every URL is cut to its scheme and host (an RPC endpoint's path and query are often its key).
Not guaranteed: a secret under an innocent name, in an innocent form. Not logging it is the rule; this is the net.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

MASK: Final = "[masked]"
MAX_DEPTH: Final = 6

_SECRET_NAME: Final = re.compile(
    r"secret|password|passphrase|private|mnemonic|seed|signature|authorization|cookie|credential|api_?key|master"
    r"|(^|_)(raw|mac|token|sealed|url|rpc|dsn)($|_)",
    re.IGNORECASE,
)
_URL: Final = re.compile(r"\b([a-z][a-z0-9+.-]*://)(?:[^\s/@'\"]*@)?([^\s/?#'\"]+)[^\s'\"<>]*", re.IGNORECASE)
_KEY_FILE: Final = re.compile(r"\b(?:0x)?[0-9a-f]{64}\b", re.IGNORECASE)
# Ours to show: they are hashes by name, or the address the service itself listens on.
_SHOWN: Final = frozenset({"tx_hash", "block_hash", "hash", "payload_hash", "parent_hash"})
_OWN_URL: Final = re.compile(r"https?://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]+)?/?")


def redact(_logger: object, _method: str, event: Any) -> Any:
    """A structlog processor."""
    return {name: _value(name, value, depth=0) for name, value in event.items()}


def redact_text(text: str) -> str:
    """Text with the addresses in it cut to scheme and host."""
    return _URL.sub(_cut, text)


def _value(name: str, value: object, *, depth: int) -> object:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str) and _OWN_URL.fullmatch(value):
        return value
    if name not in _SHOWN and _SECRET_NAME.search(name):
        return MASK
    if isinstance(value, str):
        return redact_text(value if name in _SHOWN or name == "exception" else _KEY_FILE.sub(MASK, value))
    if isinstance(value, int | float):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if depth >= MAX_DEPTH:
        return "..."
    if isinstance(value, Mapping):
        return {str(key): _value(str(key), inner, depth=depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_value(name, inner, depth=depth + 1) for inner in value]
    return redact_text(str(value))


def _cut(match: re.Match[str]) -> str:
    whole = match[0]
    return whole if _OWN_URL.fullmatch(whole) else f"{match[1]}{match[2]}"
