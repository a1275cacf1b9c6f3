"""Calls have nobody who could approve them: they stay below the account's thresholds, all of a day's together."""

import pytest
from sqlalchemy import Connection, delete, update

from contracts.assets import Asset
from service.accounts import users
from service.approvals import alone, policies
from service.approvals.model import WINDOW_MS, Thresholds
from service.db import models as m
from service.db.engine import Database
from service.errors import ApiError
from service.transactions.model import TransactionKind
from tests.service.books_seed import NOW_MS
from tests.service.trading_seed import ASSETS, USDC, USDT
from tests.service.transactions.seed import AMOUNT, MASTER, Seeded, seed_transaction

USD = 25 * 10**6


def seeded(c: Connection, thresholds: Thresholds) -> Seeded:
    """One call of 25 USDC, worth 25 dollars, and those thresholds."""
    found = seed_transaction(c, TransactionKind.CONTRACT, usd=USD)
    user = users.insert_user(c, "ann", now_ms=NOW_MS)
    account_id = found.owner.account_id
    policies.change(c, account_id, thresholds, user_id=user.id, master=MASTER, now_ms=NOW_MS)
    return found


def refused(
    c: Connection, found: Seeded, *, out: int, usd: int | None, now_ms: int = NOW_MS + 1, asset: Asset = USDC
) -> bool:
    account_id = found.owner.account_id
    try:
        alone.refuse_above(c, account_id, out={asset.id: out}, assets=ASSETS, usd=usd, master=MASTER, now_ms=now_ms)
    except ApiError as exc:
        return exc.code == "approval_required"
    return False


@pytest.mark.parametrize("thresholds", [Thresholds(assets={USDC.id: 2 * AMOUNT}), Thresholds(usd=2 * USD)])
async def test_calls_of_a_day_are_added_up(db: Database, thresholds: Thresholds) -> None:
    def work(c: Connection) -> None:
        found = seeded(c, thresholds)
        assert not refused(c, found, out=AMOUNT, usd=USD)
        assert refused(c, found, out=AMOUNT + 1, usd=USD + 1)
        assert not refused(c, found, out=2 * AMOUNT, usd=2 * USD, now_ms=NOW_MS + WINDOW_MS)

    await db.run(work)


@pytest.mark.parametrize("named", [ASSETS.native, ASSETS.wrapped])
async def test_a_threshold_on_either_form_of_the_native_asset_is_one_on_both(sqlite_db: Database, named: Asset) -> None:
    def work(c: Connection) -> None:
        found = seeded(c, Thresholds(assets={named.id: 9}))
        for asset in (ASSETS.native, ASSETS.wrapped):
            assert not refused(c, found, out=9, usd=None, asset=asset)
            assert refused(c, found, out=10, usd=None, asset=asset)
        # What a call before it may have taken, in either form.
        c.execute(update(m.transactions).values(max_out={ASSETS.wrapped.id: "4"}))
        assert not refused(c, found, out=5, usd=None, asset=ASSETS.native)
        assert refused(c, found, out=6, usd=None, asset=ASSETS.native)

    await sqlite_db.run(work)


async def test_a_worth_that_is_not_known_is_above_and_what_has_no_threshold_is_not(sqlite_db: Database) -> None:
    def work(c: Connection) -> None:
        found = seeded(c, Thresholds(usd=10**12))
        assert refused(c, found, out=1, usd=None)
        c.execute(delete(m.approval_policies))
        assert not refused(c, found, out=10**30, usd=None)

    await sqlite_db.run(work)


async def test_what_a_wrap_gives_does_not_leave(sqlite_db: Database) -> None:
    def work(c: Connection) -> None:
        found = seeded(c, Thresholds(assets={USDT.id: 1, USDC.id: AMOUNT}))
        assert refused(c, found, out=1, usd=None)
        c.execute(update(m.transactions).values(max_out=None, approvals=None))
        assert not refused(c, found, out=AMOUNT, usd=None)

    await sqlite_db.run(work)
