"""What a key's limits of a day have left, counted in the unit of work that accepts.

Guarantees: what is read as used is still so at the commit (units of work are serial on SQLite and serializable on
PostgreSQL), so that requests that race, in any number of processes, never take more than a limit; amounts are added
in Python, never in SQL. Only what has a limit is counted. What was accepted stays counted for its UTC day, whatever
becomes of it: a key that gets its budget back by cancelling would have none.
Not guaranteed: against somebody who edits the database; counters carry no MAC, as they grant nothing by themselves.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from sqlalchemy import Connection, delete, insert, select, update

from contracts.assets import Asset, AssetId, AssetList
from service.auth.caveats import CallCost, Caveat, Cost, Counter, Daily, Tally, require, takes
from service.db.models import key_usage

DAY_MS: Final = 24 * 3_600_000
KEPT_DAYS: Final = 7
"""Counters of older days are of no use to any limit."""


def limited_as(assets: AssetList, asset: Asset) -> Asset:
    """What a limit on an asset is one of: the wrapped native asset's of the native one, as which it counts."""
    return assets.native if asset.id == assets.wrapped.id else asset


def counted(assets: AssetList, amounts: Mapping[AssetId, int]) -> Mapping[AssetId, int]:
    """Base units that leave, as limits of assets count them: the native asset and its wrapped form each with what both
    come to, since whoever may trade wraps and unwraps. So a limit on either of them is one on both, also one that was
    made before they counted together."""
    pair = (assets.native.id, assets.wrapped.id)
    both = sum(amounts.get(asset, 0) for asset in pair)
    return {**amounts, **dict.fromkeys(pair, both)} if both else amounts


def used(c: Connection, key_id: str, *, now_ms: int) -> Mapping[Tally, int]:
    """What the key has taken on the UTC day of `now_ms`."""
    t = key_usage
    rows = c.execute(select(t.c.counter, t.c.of, t.c.used).where(t.c.key_id == key_id, t.c.day == now_ms // DAY_MS))
    return {Tally(counter=Counter(counter), of=of): taken for counter, of, taken in rows}


def check(
    c: Connection, key_id: str, *, caveats: tuple[Caveat, ...], cost: Cost | CallCost, now_ms: int
) -> Cost | CallCost:
    """That the limits allow it now; the cost with what the day has taken. Raises: ApiError."""
    counted = any(isinstance(caveat, Daily) for caveat in caveats)
    known: Cost | CallCost = replace(cost, used=used(c, key_id, now_ms=now_ms)) if counted else cost
    require(caveats, known)
    return known


def charge(c: Connection, key_id: str, *, caveats: tuple[Caveat, ...], cost: Cost | CallCost, now_ms: int) -> None:
    """In the unit of work that accepts: check, and count it. Raises: ApiError: nothing was counted."""
    known = check(c, key_id, caveats=caveats, cost=cost, now_ms=now_ms)
    limited = {caveat.tally for caveat in caveats if isinstance(caveat, Daily)}
    t, day = key_usage, now_ms // DAY_MS
    for tally, taken in takes(known).items():
        if tally not in limited or not taken:
            continue
        if tally in known.used:
            row = (t.c.key_id == key_id, t.c.day == day, t.c.counter == str(tally.counter), t.c.of == tally.of)
            c.execute(update(t).where(*row).values(used=known.used[tally] + taken))
        else:
            entry = {"key_id": key_id, "day": day, "counter": str(tally.counter), "of": tally.of, "used": taken}
            c.execute(insert(t), entry)
            c.execute(delete(t).where(t.c.key_id == key_id, t.c.day < day - KEPT_DAYS))
