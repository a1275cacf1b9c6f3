"""Who goes on after having been told to wait is not listened to for a while, each time for longer.

    strike(client)   for every request refused by a limit: `STRIKES` of them within `STRIKES_WITHIN_S` are a ban
    left_s(client)   of a ban, None where there is none

A ban lasts `FIRST_BAN_S`, each further one of the same client twice as long as the one before, up to `LONGEST_BAN_S`;
`FORGIVEN_AFTER_S` after the last one's end it begins anew.

Guarantees: a client that waits as it is told is never banned. Bounded: `MAX_CLIENTS`, the first ones go.
Not guaranteed: bans across processes or restarts; limits hold there all the same.
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

    def strike(self, client: str) -> None:
        now_s = self._clock.monotonic_s()
        found = self._clients.setdefault(client, _Struck(since_s=now_s))
        self._clients.move_to_end(client)
        if len(self._clients) > self._max_clients:
            self._clients.popitem(last=False)
        if now_s - found.since_s > STRIKES_WITHIN_S:
            found.since_s, found.strikes = now_s, 0
        found.strikes += 1
        if found.strikes < STRIKES:
            return
        again = found.ban_s > 0 and now_s - found.until_s < FORGIVEN_AFTER_S
        found.ban_s = min(LONGEST_BAN_S, 2 * found.ban_s) if again else FIRST_BAN_S
        found.until_s = now_s + found.ban_s
        found.since_s, found.strikes = found.until_s, 0
