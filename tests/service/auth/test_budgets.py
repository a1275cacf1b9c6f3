"""What a key took of its limits: counted with what is accepted, a day at a time, and never beyond a limit in a race."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import Connection, func, select, update

from contracts.assets import AssetId, load_assets
from service.auth import budgets, keys
from service.auth.authority import Tampered
from service.auth.caveats import CallCost, Cost, Counter, Kind, Tally, limits
from service.auth.keys import ApiKey, InvalidKey, Permission
from service.auth.restrictions import AllowedCall, InvalidRestriction, MarketId, Restrictions, document, parse
from service.auth.secrets import MasterKey
from service.db import models as m
from service.db.engine import Database
from service.errors import ApiError
from tests.service.auth.seed import new_key, seed_wallet
from tests.service.books_seed import ETH, ETHEREUM, NOW_MS, POLYGON, USDC, address_of

MASTER = MasterKey(bytes(32))
BIG = 2**255
ASSETS = load_assets(ETHEREUM)
WETH = ASSETS.wrapped.id
CALL = AllowedCall(chain_id=ETHEREUM, contract=address_of(77), selector="0xb6b55f25", max_value_wei=0)
ALL = Restrictions(
    chains=frozenset({ETHEREUM, POLYGON}),
    assets=frozenset({ETH, USDC}),
    markets=frozenset({MarketId(base=ETH, quote=USDC)}),
    max_order_usd=10**6,
    daily_usd=10**9,
    daily_orders=500,
    daily_gas={ETHEREUM: 5 * 10**17, POLYGON: 10**20},
    daily_sold={ETH: BIG, USDC: 0},
    daily_withdrawals=3,
    daily_withdrawal_usd=10**8,
    daily_withdrawn={ETH: BIG},
    calls=frozenset({CALL, replace(CALL, selector="0x00000001", max_value_wei=BIG)}),
)
ORDER = Cost(kind=Kind.ORDER, chain_id=ETHEREUM, amounts={USDC: 1}, usd=7, gas_wei=BIG, used={})


def make(c: Connection, restrictions: Restrictions, *more: Permission) -> ApiKey:
    new = replace(new_key(seed_wallet(c, MASTER), Permission.TRADE, *more), restrictions=restrictions)
    return keys.create_key(c, new, master=MASTER, now_ms=NOW_MS).key


async def charge(db: Database, key: ApiKey, cost: Cost = ORDER, now_ms: int = NOW_MS) -> None:
    await db.run(lambda c: budgets.charge(c, key.id, caveats=limits(key), cost=cost, now_ms=now_ms))


async def refused(db: Database, key: ApiKey, cost: Cost = ORDER, now_ms: int = NOW_MS) -> str:
    with pytest.raises(ApiError) as raised:
        await charge(db, key, cost, now_ms)
    return raised.value.code


def test_restrictions_are_stored_as_they_are() -> None:
    assert parse(document(ALL)) == ALL
    assert document(Restrictions()) is None
    assert parse(None) == Restrictions()


@pytest.mark.parametrize(
    "found",
    [
        {"other": "1"},
        {"daily_usd": "x"},
        {"markets": [["a"]]},
        {"daily_gas": 3},
        {"daily_sold": ["eip155:1/slip44:60"]},
        {"daily_sold": {"eip155:1/slip44:60": "1.5"}},
        {"calls": 3},
        {"calls": [[1, CALL.contract, "0xb6b55f25"]]},
        {"calls": [[1, CALL.contract, "0xB6B55F25", "0"]]},
        {"calls": [[1, CALL.contract, "0xb6b55f25", "0"], [1, CALL.contract, "0xb6b55f25", "1"]]},
    ],
)
def test_a_document_that_is_not_understood_is_refused(found: dict[str, object]) -> None:
    with pytest.raises(InvalidRestriction):
        parse(found)


@pytest.mark.parametrize("wrong", [{"daily_usd": -1}, {"daily_orders": 2**256}, {"chains": frozenset()}])
def test_what_is_no_limit_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidRestriction):
        Restrictions(**wrong)  # type: ignore[arg-type]


async def test_a_key_has_the_restrictions_it_was_made_with(db: Database) -> None:
    key = await db.run(lambda c: make(c, ALL, Permission.WITHDRAW))
    assert await db.read(lambda c: keys.load_key(c, key.id, master=MASTER)) == key
    assert key.restrictions == ALL


@pytest.mark.parametrize("edited", [None, {"daily_orders": "501"}])
async def test_restrictions_edited_or_cleared_in_the_database_are_found(
    sqlite_db: Database, edited: dict[str, str] | None
) -> None:
    key = await sqlite_db.run(lambda c: make(c, Restrictions(daily_orders=500)))

    def edit(c: Connection) -> None:
        c.execute(update(m.api_keys).values(restrictions=edited))
        keys.load_key(c, key.id, master=MASTER)

    with pytest.raises(Tampered):
        await sqlite_db.run(edit)


async def test_restrictions_put_into_a_row_without_any_are_found(sqlite_db: Database) -> None:
    key = await sqlite_db.run(lambda c: make(c, Restrictions()))

    def edit(c: Connection) -> None:
        c.execute(update(m.api_keys).values(restrictions={"daily_orders": "0"}))
        keys.load_key(c, key.id, master=MASTER)

    with pytest.raises(Tampered):
        await sqlite_db.run(edit)


async def test_a_limit_counts_to_its_end_and_begins_again_with_the_day(db: Database) -> None:
    key = await db.run(lambda c: make(c, Restrictions(daily_usd=20, daily_orders=100)))
    await charge(db, key)
    await charge(db, key)
    assert await refused(db, key) == "key_limit_reached"
    await charge(db, key, replace(ORDER, usd=6))
    found = await db.read(lambda c: budgets.used(c, key.id, now_ms=NOW_MS))
    assert found == {Tally(counter=Counter.ORDER_USD): 20, Tally(counter=Counter.ORDERS): 3}
    tomorrow = NOW_MS + budgets.DAY_MS
    await charge(db, key, now_ms=tomorrow)
    assert await refused(db, key, now_ms=NOW_MS) == "key_limit_reached"


async def test_amounts_of_256_bits_are_added_exactly(db: Database) -> None:
    key = await db.run(lambda c: make(c, Restrictions(daily_gas={ETHEREUM: 2 * BIG - 1})))
    await charge(db, key, replace(ORDER, gas_wei=BIG - 1))
    await charge(db, key, replace(ORDER, gas_wei=BIG))
    assert await refused(db, key, replace(ORDER, gas_wei=1)) == "key_limit_reached"
    found = await db.read(lambda c: budgets.used(c, key.id, now_ms=NOW_MS))
    assert found == {Tally(counter=Counter.GAS, of="1"): 2 * BIG - 1}


async def test_f99_a_limit_in_dollars_refuses_what_nobody_can_value(sqlite_db: Database) -> None:
    key = await sqlite_db.run(lambda c: make(c, Restrictions(daily_usd=20)))
    assert await refused(sqlite_db, key, replace(ORDER, usd=None)) == "limit_price_unknown"
    free = replace(key, restrictions=Restrictions(daily_orders=1))
    await charge(sqlite_db, free, replace(ORDER, usd=None))


async def test_a_refusal_and_what_is_rolled_back_count_nothing(db: Database) -> None:
    key = await db.run(lambda c: make(c, Restrictions(daily_usd=10, daily_orders=100)))
    assert await refused(db, key, replace(ORDER, usd=11)) == "key_limit_reached"

    def fails(c: Connection) -> None:
        budgets.charge(c, key.id, caveats=limits(key), cost=ORDER, now_ms=NOW_MS)
        raise KeyError("something else")

    with pytest.raises(KeyError):
        await db.run(fails)
    assert await db.read(lambda c: budgets.used(c, key.id, now_ms=NOW_MS)) == {}


async def test_a_key_without_limits_of_a_day_writes_nothing(sqlite_db: Database) -> None:
    key = await sqlite_db.run(lambda c: make(c, Restrictions(max_order_usd=100)))
    await charge(sqlite_db, key)
    assert await sqlite_db.read(lambda c: c.execute(select(func.count()).select_from(m.key_usage)).scalar_one()) == 0


async def test_fifty_at_once_never_take_more_than_the_limit(db: Database) -> None:
    key = await db.run(lambda c: make(c, Restrictions(daily_usd=7 * 20 + 6, daily_orders=30)))
    results = await asyncio.gather(*(charge(db, key) for _ in range(50)), return_exceptions=True)
    others = [one for one in results if one is not None]
    assert {one.code for one in others if isinstance(one, ApiError)} <= {"key_limit_reached"}
    accepted = len(results) - len(others)
    # PostgreSQL may give up on one that met too many others (the service then says try again); none goes beyond.
    found = await db.read(lambda c: budgets.used(c, key.id, now_ms=NOW_MS))
    assert found[Tally(counter=Counter.ORDERS)] == accepted
    assert found[Tally(counter=Counter.ORDER_USD)] == 7 * accepted
    assert accepted <= 20
    if db.dialect == "sqlite":
        assert accepted == 20


async def test_orders_that_race_sell_no_more_of_an_asset_than_its_limit_and_others_as_they_like(db: Database) -> None:
    key = await db.run(lambda c: make(c, Restrictions(daily_sold={USDC: 7 * 9 + 6})))
    dollars, ether = replace(ORDER, amounts={USDC: 7}), replace(ORDER, amounts={ETH: BIG})
    costs = [dollars if number % 2 else ether for number in range(40)]
    results = await asyncio.gather(*(charge(db, key, cost) for cost in costs), return_exceptions=True)
    sold = [cost for cost, result in zip(costs, results, strict=True) if result is None]
    assert {one.code for one in results if isinstance(one, ApiError)} <= {"key_limit_reached"}
    found = await db.read(lambda c: budgets.used(c, key.id, now_ms=NOW_MS))
    # What has no limit is not counted.
    assert found == {Tally(counter=Counter.SOLD, of=USDC): 7 * sold.count(dollars)}
    assert 1 <= sold.count(dollars) <= 9
    if db.dialect == "sqlite":
        assert (sold.count(dollars), sold.count(ether)) == (9, 20)


def test_the_native_asset_and_its_wrapped_form_each_count_what_both_come_to() -> None:
    assert budgets.counted(ASSETS, {ETH: 3, USDC: 5}) == {ETH: 3, WETH: 3, USDC: 5}
    assert budgets.counted(ASSETS, {WETH: 4}) == {ETH: 4, WETH: 4}
    assert budgets.counted(ASSETS, {ETH: 3, WETH: 4}) == {ETH: 7, WETH: 7}
    assert budgets.counted(ASSETS, {USDC: 5}) == {USDC: 5}


@pytest.mark.parametrize("kind", [Kind.ORDER, Kind.WITHDRAWAL])
@pytest.mark.parametrize("named", [{ETH: 10}, {WETH: 10}, {ETH: 10, WETH: 10}, {ETH: 10, WETH: BIG}])
async def test_a_limit_on_either_form_of_the_native_asset_is_one_on_both_together(
    sqlite_db: Database, kind: Kind, named: dict[AssetId, int]
) -> None:
    """A limit that names the wrapped form is one of before they counted as one."""
    both = Restrictions(daily_sold=named, daily_withdrawn=named)
    key = await sqlite_db.run(lambda c: make(c, both, Permission.WITHDRAW))

    def cost(asset: AssetId, raw: int) -> Cost:
        return replace(ORDER, kind=kind, amounts=budgets.counted(ASSETS, {asset: raw}))

    await charge(sqlite_db, key, cost(ETH, 6))
    assert await refused(sqlite_db, key, cost(WETH, 5)) == "key_limit_reached"
    assert await refused(sqlite_db, key, cost(ETH, 5)) == "key_limit_reached"
    await charge(sqlite_db, key, cost(WETH, 4))
    assert await refused(sqlite_db, key, cost(WETH, 1)) == "key_limit_reached"
    await charge(sqlite_db, key, cost(USDC, BIG))


async def test_a_call_that_takes_both_forms_of_the_native_asset_takes_them_together(sqlite_db: Database) -> None:
    key = await sqlite_db.run(lambda c: make(c, Restrictions(daily_withdrawn={ETH: 10}), Permission.WITHDRAW))

    def take(c: Connection, **raw: int) -> None:
        out = budgets.counted(ASSETS, {ETH: raw["eth"], WETH: raw["weth"]})
        cost = CallCost(chain_id=ETHEREUM, amounts=out, usd=None, gas_wei=0, used={})
        budgets.charge(c, key.id, caveats=limits(key), cost=cost, now_ms=NOW_MS)

    await sqlite_db.run(lambda c: take(c, eth=5, weth=5))
    with pytest.raises(ApiError, match="10 base units withdrawn"):
        await sqlite_db.run(lambda c: take(c, eth=0, weth=1))


async def test_old_days_are_forgotten(sqlite_db: Database) -> None:
    key = await sqlite_db.run(lambda c: make(c, Restrictions(daily_orders=3)))
    for day in (0, 1, budgets.KEPT_DAYS + 1):
        await charge(sqlite_db, key, now_ms=NOW_MS + day * budgets.DAY_MS)
    days = await sqlite_db.read(
        lambda c: c.execute(select(m.key_usage.c.day).order_by(m.key_usage.c.day)).scalars().all()
    )
    first = NOW_MS // budgets.DAY_MS
    assert days == [first + 1, first + budgets.KEPT_DAYS + 1]


async def test_limits_of_withdrawals_are_for_keys_that_withdraw(sqlite_db: Database) -> None:
    with pytest.raises(InvalidKey, match="withdraw"):
        await sqlite_db.run(lambda c: make(c, Restrictions(daily_withdrawals=1)))
