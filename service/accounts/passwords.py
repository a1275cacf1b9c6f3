"""Passwords: which are good enough, and hashing with argon2id in bounded threads.

Guarantees: what is hashed is an HMAC of the password under a key of the master key, so that a copy of the database
alone is nothing to guess against; at most `THREADS` hashes run at once, in threads of their own, and at most
`MAX_WAITING` wait, so that a flood of sign-ins takes neither the event loop nor all of the CPU and memory; an unknown
user costs the same hash as a known one. A password shows in no error and no log.
Not guaranteed: that a password that passes is one nobody else uses.
"""

import asyncio
import hmac
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from argon2 import PasswordHasher as Argon2
from argon2 import Type
from argon2.exceptions import InvalidHashError, VerificationError

from service.auth.secrets import MasterKey
from service.errors import ApiError

MIN_LENGTH: Final = 12
MAX_LENGTH: Final = 256
MIN_DIFFERENT: Final = 5
"""Different characters; `aaaaaaaaaaaa` is long, too."""
TIME_COST: Final = 3
MEMORY_KIB: Final = 65_536
"""With `TIME_COST` the second recommendation of RFC 9106, in one lane: some 0.1 s of one core."""
THREADS: Final = 2
MAX_WAITING: Final = 32
"""Some two seconds of work; whoever comes then is asked to come again."""
_NOBODYS: Final = "NHqWoJ4fZe82CVaIwhfVXw$CNfS99Q5Pj/MpDg4R+n09/GsNlHZDhW4iDGt1cFddZ8"
"""Salt and hash of no password that anybody has; only ever verified to spend the time."""


def check_strength(password: str, *, name: str) -> None:
    """Raises: ApiError: weak_password."""
    text = _normal(password)
    if not MIN_LENGTH <= len(text) <= MAX_LENGTH:
        raise ApiError("weak_password", f"a password has {MIN_LENGTH} to {MAX_LENGTH} characters")
    if len(set(text)) < MIN_DIFFERENT:
        raise ApiError("weak_password", f"a password has at least {MIN_DIFFERENT} different characters")
    if name.casefold() in text.casefold() and len(text) - len(name) < MIN_LENGTH:
        raise ApiError("weak_password", "a password is not the name with a little around it")


class PasswordHasher:
    """argon2id in a few threads of its own. `close` lets them go; making one starts none."""

    def __init__(self, *, time_cost: int = TIME_COST, memory_kib: int = MEMORY_KIB) -> None:
        self._argon2: Final = Argon2(
            time_cost=time_cost, memory_cost=memory_kib, parallelism=1, hash_len=32, salt_len=16, type=Type.ID
        )
        self._nobodys: Final = f"$argon2id$v=19$m={memory_kib},t={time_cost},p=1${_NOBODYS}"
        self._threads: Final = ThreadPoolExecutor(THREADS, thread_name_prefix="password")
        self._under_way = 0
        self.hashed = 0
        """How many times argon2 ran, for hashing and for checking."""

    async def hash(self, password: str, *, master: MasterKey) -> str:
        """The text to store. Raises: ApiError: busy."""
        return await self._run(password, master, None) or ""

    async def verify(self, stored: str | None, password: str, *, master: MasterKey) -> bool:
        """Whether the password is the stored one; None, for nobody, takes as long and is never right.

        Raises:
            ApiError: busy.
        """
        right = await self._run(password, master, stored or self._nobodys) is not None
        return right and stored is not None

    def close(self) -> None:
        """What is being hashed ends by itself; nobody waits for it."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, password: str, master: MasterKey, stored: str | None) -> str | None:
        if self._under_way >= THREADS + MAX_WAITING:
            raise ApiError("busy", "too many sign-ins at once", retry_after_s=2)
        peppered = hmac.digest(master.subkey("password"), _normal(password).encode(), "sha256")
        work = self._threads.submit(self._check, peppered, stored)
        self._under_way += 1
        loop = asyncio.get_running_loop()
        # Counted until the thread is done with it, whatever becomes of the caller.
        work.add_done_callback(lambda _: loop.call_soon_threadsafe(self._done) if not loop.is_closed() else None)
        return await asyncio.wrap_future(work)

    def _done(self) -> None:
        self._under_way -= 1
        self.hashed += 1

    def _check(self, peppered: bytes, stored: str | None) -> str | None:
        """The hash that was made or was right; None where it was wrong."""
        if stored is None:
            return self._argon2.hash(peppered)
        try:
            self._argon2.verify(stored, peppered)
        except (VerificationError, InvalidHashError):
            return None
        return stored


def _normal(password: str) -> str:
    """One form for characters that keyboards compose differently (RFC 8265)."""
    return unicodedata.normalize("NFC", password)
