"""Who goes on after having been told to wait is not listened to for a while, each time for longer.

    strike(client)   for every request refused by a limit: `STRIKES` of them within `STRIKES_WITHIN_S` are a ban
    left_s(client)   of a ban, None where there is none
    learn(client)    a ban that another process, or an earlier one, told of (`sharedbans`)

A ban lasts `FIRST_BAN_S`, each further one of the same client twice as long as the one before, up to `LONGEST_BAN_S`;
`FORGIVEN_AFTER_S` after the last one's end it begins anew.

Guarantees: a client that waits as it is told is never banned; none for longer than `LONGEST_BAN_S`, whatever another
process's clock says. Bounded: `MAX_CLIENTS`, the first ones go.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from chains.tx.store import Clock

STRIKES: Final = 60
STRIKES_WITHIN_S: Final = 60
FIRST_BAN_S: Final = 60
LONGEST_BAN_S: Final = 3_600
FORGIVEN_AFTER_S: Final = 6 * 3_600
MAX_CLIENTS: Final = 20_000
_MS: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Ban:
    """A ban as processes tell it each other: until when, by the wall clock, and how long it was in all."""

    until_ms: int
    length_s: int


@dataclass(slots=True, kw_only=True)
class _Struck:
    since_s: float
    strikes: int = 0
    ban_s: int = 0
    """The last ban's length."""
    until_s: float = 0.0


class Bans:
    """Used by one event loop."""

    def __init__(self, clock: Clock, *, max_clients: int = MAX_CLIENTS) -> None:
        self._clock: Final = clock
        self._max_clients: Final = max_clients
        self._clients: Final[OrderedDict[str, _Struck]] = OrderedDict()

    def left_s(self, client: str) -> int | None:
        """Whole seconds, at least one."""
        found = self._clients.get(client)
        if found is None:
            return None
        left_s = found.until_s - self._clock.monotonic_s()
        return int(left_s) + 1 if left_s > 0 else None

    def strike(self, client: str) -> Ban | None:
        """The ban that begins with it, if one does."""
        now_s = self._clock.monotonic_s()
        found = self._entry(client, now_s)
        if now_s - found.since_s > STRIKES_WITHIN_S:
            found.since_s, found.strikes = now_s, 0
        found.strikes += 1
        if found.strikes < STRIKES:
            return None
        again = found.ban_s > 0 and now_s - found.until_s < FORGIVEN_AFTER_S
        found.ban_s = min(LONGEST_BAN_S, 2 * found.ban_s) if again else FIRST_BAN_S
        found.until_s = now_s + found.ban_s
        found.since_s, found.strikes = found.until_s, 0
        return Ban(until_ms=self._clock.now_ms() + found.ban_s * _MS, length_s=found.ban_s)

    def learn(self, client: str, ban: Ban) -> None:
        """Keep it, unless a longer one is known."""
        now_s = self._clock.monotonic_s()
        left_ms = min(ban.until_ms - self._clock.now_ms(), LONGEST_BAN_S * _MS)
        until_s = now_s + left_ms / _MS
        known = self._clients.get(client)
        # By a second: what this process told itself comes back.
        if left_ms <= -FORGIVEN_AFTER_S * _MS or (known is not None and known.until_s + 1 > until_s):
            return
        found = self._entry(client, now_s)
        found.ban_s, found.until_s = ban.length_s, until_s
        found.since_s, found.strikes = max(now_s, until_s), 0

    def _entry(self, client: str, now_s: float) -> _Struck:
        found = self._clients.setdefault(client, _Struck(since_s=now_s))
        self._clients.move_to_end(client)
        if len(self._clients) > self._max_clients:
            self._clients.popitem(last=False)
        return found
