"""All limits that a request passes, by whom they count for; made once an app.

    by address   before anything is verified: an IPv4 address, or the /64 of an IPv6 one
    by key       after: a key, by its tier, or a session
    orders       of an account, in 10 s and in a day (UTC)
    bans         of addresses and of keys or sessions that go on after a refusal

Guarantees: see `windows`, `bans` and `sharedbans`. Where other processes may have the database, all windows are leased;
the day's is leased always, so that a restart does not begin it anew (but costs it a slice, a 64th of what is left).
"""

from functools import lru_cache
from typing import Final

from chains.tx.store import Clock
from service.auth.keys import IpAddress
from service.db.engine import Database
from service.errors import ApiError
from service.ratelimits.sharedbans import SharedBans
from service.ratelimits.windows import DAY_MS, MINUTE_MS, TEN_SECONDS_MS, Sharing, Taken, Windows
from service.settings import Settings

DAY_SLICES: Final = 64


class Limits:
    """Used by one event loop."""

    def __init__(self, settings: Settings, *, db: Database, clock: Clock) -> None:
        sharing = None if db.is_exclusive else Sharing()
        durable = Sharing(slices=DAY_SLICES, free_shares=None)
        self._settings: Final = settings
        self._addresses: Final = Windows("address", length_ms=MINUTE_MS, clock=clock, db=db, sharing=sharing)
        self._keys: Final = Windows("key", length_ms=MINUTE_MS, clock=clock, db=db, sharing=sharing)
        self._orders: Final = Windows("orders-10s", length_ms=TEN_SECONDS_MS, clock=clock, db=db, sharing=sharing)
        self._orders_day: Final = Windows("orders-day", length_ms=DAY_MS, clock=clock, db=db, sharing=durable)
        self._bans: Final = SharedBans(db, clock=clock)
        self._address_limit: Final = settings.ip_weight_per_minute
        self._key_limit: Final = settings.key_weight_per_minute
        self._key_limits: Final = {
            key_id: settings.rate_tiers[tier] for key_id, tier in settings.key_tiers.items()
        }  # fmt: skip

    async def of_address(self, address: IpAddress | None, cost: int) -> Taken:
        """What an address's request is told; of one that is banned, until when."""
        client, limit = bucket_of(address), self._address_limit
        await self._bans.sync()
        if (left_s := self._bans.left_s(client)) is not None:
            return Taken(limit=limit, used=limit, reset_s=left_s, retry_after_s=left_s, banned=True)
        taken = await self._addresses.take(client, cost, limit=limit)
        if not taken.passed:
            await self._bans.strike(client)
        return taken

    def give_address_back(self, address: IpAddress | None, cost: int) -> None:
        """A request that counts for its key: many bots may share an address."""
        self._addresses.give_back(bucket_of(address), cost, limit=self._address_limit)

    async def of_caller(self, caller_id: str, cost: int) -> Taken:
        """The same of a key or session."""
        limit = self._limit_of(caller_id)
        if (left_s := self._bans.left_s(caller_id)) is not None:
            return Taken(limit=limit, used=limit, reset_s=left_s, retry_after_s=left_s, banned=True)
        taken = await self._keys.take(caller_id, cost, limit=limit)
        if not taken.passed:
            await self._bans.strike(caller_id)
        return taken

    def take_at_once(self, client: str, caller_id: str, cost: int, *, now_ms: int) -> Taken | None:
        """What a request from that bucket by that key is told, where it is known to pass all limits; else None, and
        nothing is taken. Of the key only: what counts for a key is given back to its address."""
        bans = self._bans
        if not bans.is_known or bans.left_s(client) is not None or bans.left_s(caller_id) is not None:
            return None
        if not self._addresses.fits(client, cost, limit=self._address_limit, now_ms=now_ms):
            return None
        return self._keys.take_at_once(caller_id, cost, limit=self._limit_of(caller_id), now_ms=now_ms)

    async def of_order(self, account_id: int) -> tuple[Taken, Taken]:
        """One order of an account: what the 10 s and the day say. Raises: ApiError: too_many_orders."""
        client, limit = str(account_id), self._settings.orders_per_10s
        soon = await self._orders.take(client, 1, limit=limit)
        if not soon.passed:
            raise _too_many(soon, "10 s")
        day = await self._orders_day.take(client, 1, limit=self._settings.orders_per_day)
        if not day.passed:
            raise _too_many(day, "a day")
        return soon, day

    def _limit_of(self, caller_id: str) -> int:
        return self._key_limits.get(caller_id, self._key_limit)

    def give_order_back(self, account_id: int) -> None:
        """One that was not accepted."""
        self._orders.give_back(str(account_id), 1, limit=self._settings.orders_per_10s)
        self._orders_day.give_back(str(account_id), 1, limit=self._settings.orders_per_day)


def require_passed(taken: Taken) -> None:
    """Raises: ApiError: rate_limited, banned."""
    if taken.banned:
        raise ApiError(
            "banned", f"not listened to for another {taken.retry_after_s} s", retry_after_s=taken.retry_after_s
        )
    if not taken.passed:
        raise ApiError(
            "rate_limited",
            f"over {taken.limit} of weight a minute; the next window begins in {taken.retry_after_s} s",
            retry_after_s=taken.retry_after_s,
        )


@lru_cache(maxsize=4_096)
def bucket_of(address: IpAddress | None) -> str:
    """One IPv6 host has a whole /64 to choose from."""
    if address is None:
        return "unknown"
    return str(address) if address.version == 4 else (address.packed[:8]).hex()


def _too_many(taken: Taken, span: str) -> ApiError:
    return ApiError(
        "too_many_orders",
        f"the account's limit is {taken.limit} orders in {span}; again in {taken.retry_after_s} s",
        retry_after_s=taken.retry_after_s,
    )
