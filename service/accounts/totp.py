"""Time-based one-time passwords (RFC 6238): HMAC-SHA1, six digits, a step of 30 seconds. Pure: the time is given.

Guarantees: a code is found only within one step of now, and only in a step after the last one used, so that a code that
was used, or is older than one that was, never fits again; the comparison takes the same time for every code.
Not here: storing the last step (`users`), and that guesses are bounded (`lockout`).
"""

import base64
import hmac
import secrets
from typing import Final
from urllib.parse import quote, urlencode

SEED_BYTES: Final = 20
"""What RFC 4226 recommends for HMAC-SHA1."""
DIGITS: Final = 6
STEP_S: Final = 30
WINDOW_STEPS: Final = 1
"""Before and after now: a clock that is a little off, and the time to type."""
ISSUER: Final = "Cambist"


def new_seed() -> bytes:
    return secrets.token_bytes(SEED_BYTES)


def step_at(now_ms: int) -> int:
    """The step of a time in milliseconds UTC."""
    return now_ms // (STEP_S * 1000)


def code_at(seed: bytes, step: int, *, digits: int = DIGITS) -> str:
    """The code of a step (RFC 4226, 5.3)."""
    digest = hmac.digest(seed, step.to_bytes(8, "big"), "sha1")
    offset = digest[-1] & 0xF
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFF_FFFF
    return str(number % 10**digits).zfill(digits)


def matching_step(seed: bytes, code: str, *, now_ms: int, after: int | None) -> int | None:
    """The step that the code is of, within the window and later than `after`; None where there is none."""
    here = step_at(now_ms)
    given = code.encode()
    found = None
    for step in range(here - WINDOW_STEPS, here + WINDOW_STEPS + 1):
        # All are compared: how long it takes says nothing.
        right = hmac.compare_digest(code_at(seed, step).encode(), given)
        if right and (after is None or step > after) and found is None:
            found = step
    return found


def secret_text(seed: bytes) -> str:
    """The seed as authenticator apps take it when it is typed."""
    return base64.b32encode(seed).decode().rstrip("=")


def otpauth_uri(seed: bytes, *, name: str) -> str:
    """What authenticator apps read from a QR code. A secret."""
    query = urlencode(
        {"secret": secret_text(seed), "issuer": ISSUER, "algorithm": "SHA1", "digits": DIGITS, "period": STEP_S}
    )
    return f"otpauth://totp/{quote(f'{ISSUER}:{name}', safe=':')}?{query}"
