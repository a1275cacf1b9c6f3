"""Nothing is signed but what an order or a withdrawal asked for."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection, delete, insert, update

from chains.tx.model import Intent, IntentId, Lane, payload_hash
from chains.tx.store import PreSignRefused
from chains.types import Address, CallRequest
from contracts import erc20
from contracts.swaps import Swap, encode_swap, one_leg
from service.accounts.people import ensure_account
from service.accounts.wallets import insert_wallet
from service.addresses import storage
from service.addresses.storage import Entry, NewEntry
from service.auth.keys import (
    Destination,
    NewKey,
    Permission,
    change_key,
    create_key,
    list_keys,
    parse_network,
    revoke_key,
)
from service.db import models as m
from service.db.engine import Database
from service.orders.model import OrderState
from service.withdrawals.model import WithdrawalState
from service.workers.presign import PreSign
from tests.clock import FakeClock
from tests.service.books_seed import ETHEREUM, NOW_MS, Owner, address_of
from tests.service.orders.tampering import copy, tamper, write
from tests.service.trading_seed import (
    ASSETS,
    BOB,
    DEADLINE_S,
    DEPLOYMENTS,
    MASTER,
    MIN_BOUGHT,
    SOLD,
    STORE,
    USDC,
    USDT,
    Seeded,
    observer,
    order_calls,
    reserve,
    seed_order_of,
    seed_withdrawal_of,
    swap_of,
)

MALLORY = address_of(0xBAD)
ROUTER = swap_of(Owner(account_id=1, wallet_id=1, address=BOB)).router
Seed = Callable[..., Seeded]


def seed_authority(c: Connection) -> tuple[Owner, str]:
    """An account with a wallet and a key, all with real MACs."""
    account = ensure_account(c, "main", owner="alice", master=MASTER, now_ms=NOW_MS)
    wallet = insert_wallet(
        c,
        account_id=account.id,
        address=address_of(0xA11CE),
        label="main",
        signer="keystore",
        master=MASTER,
        now_ms=NOW_MS,
    )
    new = NewKey(
        account_id=account.id,
        wallet_id=wallet.id,
        label="bot",
        permissions=frozenset(Permission),
        ip_allowlist=(parse_network("127.0.0.1/32"),),
        destinations=(Destination(chain_id=ETHEREUM, address=BOB),),
        expires_ms=NOW_MS + 1_000,
    )
    key = create_key(c, new, master=MASTER, now_ms=NOW_MS).key
    return Owner(account_id=account.id, wallet_id=wallet.id, address=wallet.address), key.id


async def seeded(db: Database, seed: Seed = seed_order_of, **values: Any) -> Seeded:
    def work(c: Connection) -> Seeded:
        owner, key_id = seed_authority(c)
        return seed(c, owner, key_id=key_id, **({"master": MASTER} | values))

    return await db.run(work)


def presign(db: Database, clock: FakeClock | None = None) -> PreSign:
    return PreSign(db=db, assets=ASSETS, deployments=DEPLOYMENTS, master=MASTER, clock=clock or FakeClock())


def with_call(intent: Intent, call: CallRequest) -> Intent:
    """The intent with another payload that has its own, right hash."""
    return replace(intent, call=call, payload_hash=payload_hash(intent.lane, call))


def changed(swap: Swap, *, path: tuple[Address, ...] | None = None, **change: Any) -> Swap:
    """The swap with other values, and with the one leg that fits them."""
    (leg,), new = swap.legs, replace(swap, **change)
    legs = one_leg(
        path or leg.path,
        leg.fees_pips,
        venue=leg.venues[0],
        exact=new.exact,
        max_in=new.max_in,
        min_out=new.min_out,
    )
    return replace(new, legs=legs)


def split(swap: Swap, *sold: int) -> Swap:
    """The swap in several legs over the same path, which sell so much each."""
    (leg,) = swap.legs
    return replace(swap, max_in=sum(sold), legs=tuple(replace(leg, max_in=each) for each in sold))


async def refused(db: Database, intent: Intent, why: str, *, clock: FakeClock | None = None) -> None:
    with pytest.raises(PreSignRefused, match=why):
        await presign(db, clock).check(intent)


async def test_every_intent_of_an_order_as_it_was_accepted_may_be_signed(db: Database) -> None:
    order = await seeded(db)
    for intent in order.plan.intents:
        await presign(db).check(intent)


@pytest.mark.parametrize(("symbol", "amount"), [("USDC", 5_000_000), ("ETH", 10**17), ("USDT", 1)])
async def test_a_withdrawal_as_it_was_accepted_may_be_signed(sqlite_db: Database, symbol: str, amount: int) -> None:
    withdrawal = await seeded(sqlite_db, seed_withdrawal_of, asset=ASSETS.by_symbol(symbol), amount=amount)
    await presign(sqlite_db).check(withdrawal.plan.intents[0])


async def test_a_payload_without_its_hash_is_refused(sqlite_db: Database) -> None:
    order = await seeded(sqlite_db)
    intent = order.plan.intents[1]
    await refused(sqlite_db, replace(intent, call=replace(intent.call, value_wei=1)), "not the one that was accepted")


async def test_a_plan_that_nobody_asked_for_is_refused(sqlite_db: Database) -> None:
    order = await seeded(sqlite_db)
    await sqlite_db.run(lambda c: [c.execute(delete(table)) for table in (m.order_plans, m.orders)])
    await refused(sqlite_db, order.plan.intents[1], "neither an order nor a withdrawal")


@pytest.mark.parametrize(
    "change",
    [
        {"max_in": SOLD + 1},
        {"max_in": SOLD - 1},
        {"min_out": MIN_BOUGHT - 1},
        {"min_out": 1},
        {"deadline_s": DEADLINE_S + 1},
        {"recipient": MALLORY},
        {"sold": USDT, "bought": USDC, "path": (USDT.token_address, USDC.token_address)},
        {"exact": "out"},
    ],
    ids="-".join,
)
async def test_a_swap_that_is_not_the_orders_is_refused(sqlite_db: Database, change: dict[str, Any]) -> None:
    order = await seeded(sqlite_db)
    call = encode_swap(changed(swap_of(order.owner), **change), deployments=DEPLOYMENTS, assets=ASSETS)
    await refused(sqlite_db, with_call(order.plan.intents[1], call), "not the order's")


@pytest.mark.parametrize("legs", [(SOLD - 7, 7), (1, SOLD - 3, 2)])
async def test_a_swap_in_several_legs_may_be_signed_when_together_they_are_the_orders(
    sqlite_db: Database, legs: tuple[int, ...]
) -> None:
    owner = Owner(account_id=1, wallet_id=1, address=address_of(0xA11CE))
    swap = encode_swap(split(swap_of(owner), *legs), deployments=DEPLOYMENTS, assets=ASSETS)
    order = await seeded(sqlite_db, calls=[order_calls(owner)[0], swap])
    await presign(sqlite_db).check(order.plan.intents[1])


async def test_a_swap_whose_legs_together_sell_more_or_less_than_the_order_is_refused(sqlite_db: Database) -> None:
    order = await seeded(sqlite_db)
    for legs in ((SOLD, 1), (SOLD - 2, 1), (SOLD, SOLD)):
        call = encode_swap(split(swap_of(order.owner), *legs), deployments=DEPLOYMENTS, assets=ASSETS)
        await refused(sqlite_db, with_call(order.plan.intents[1], call), "not the order's")


@pytest.mark.parametrize(
    "call",
    [
        erc20.approve_call(USDC.token_address, ROUTER, amount=SOLD),
        erc20.transfer_call(USDC, MALLORY, amount=SOLD),
        CallRequest(to=MALLORY, value_wei=10**18),
        CallRequest(to=ROUTER, data=b"\x12\x34\x56\x78"),
        CallRequest(to=MALLORY, data=b"\x12\x34\x56\x78"),
    ],
    ids=["approve", "transfer", "ether", "router", "unknown"],
)
async def test_anything_but_a_swap_in_its_place_is_refused(sqlite_db: Database, call: CallRequest) -> None:
    order = await seeded(sqlite_db)
    await refused(sqlite_db, with_call(order.plan.intents[1], call), "no swap that we know")


@pytest.mark.parametrize(
    ("token", "spender", "amount", "why"),
    [
        (USDC.token_address, ROUTER, SOLD + 1, "exactly what the order sells"),
        (USDC.token_address, ROUTER, 2**256 - 1, "exactly what the order sells"),
        (USDT.token_address, ROUTER, SOLD, "exactly what the order sells"),
        (USDC.token_address, MALLORY, SOLD, "not for a router"),
    ],
)
async def test_an_approval_that_is_not_exact_or_not_for_a_router_is_refused(
    sqlite_db: Database, token: Address, spender: Address, amount: int, why: str
) -> None:
    order = await seeded(sqlite_db)
    call = erc20.approve_call(token, spender, amount=amount)
    await refused(sqlite_db, with_call(order.plan.intents[0], call), why)


async def test_a_reset_to_zero_may_be_signed(sqlite_db: Database) -> None:
    owner = Owner(account_id=1, wallet_id=1, address=address_of(0xA11CE))
    reset = erc20.approve_call(USDC.token_address, ROUTER, amount=0)
    order = await seeded(sqlite_db, calls=[reset, *order_calls(owner)])
    for intent in order.plan.intents:
        await presign(sqlite_db).check(intent)


async def test_after_the_deadline_nothing_of_the_order_is_signed(sqlite_db: Database) -> None:
    order = await seeded(sqlite_db)
    for intent in order.plan.intents:
        await refused(sqlite_db, intent, "deadline has passed", clock=FakeClock(DEADLINE_S * 1000))


async def test_an_order_that_is_over_is_not_signed_for(sqlite_db: Database) -> None:
    order = await seeded(sqlite_db)
    await sqlite_db.run(lambda c: c.execute(update(m.orders).values(state=OrderState.CANCELED)))
    await refused(sqlite_db, order.plan.intents[1], "is CANCELED")


async def test_a_revoked_key_stops_what_is_not_signed_yet(db: Database) -> None:
    order = await seeded(db)
    await db.run(
        lambda c: [revoke_key(c, row.id, master=MASTER, now_ms=NOW_MS) for row in c.execute(m.api_keys.select())]
    )
    await refused(db, order.plan.intents[1], "was revoked")


@pytest.mark.parametrize(
    ("seed", "lost"), [(seed_order_of, Permission.TRADE), (seed_withdrawal_of, Permission.WITHDRAW)]
)
async def test_a_permission_that_was_taken_stops_what_is_not_signed_yet(
    sqlite_db: Database, seed: Seed, lost: Permission
) -> None:
    made = await seeded(sqlite_db, seed)

    def take(c: Connection) -> None:
        [key] = list_keys(c, master=MASTER)
        rights = replace(key.rights, permissions=key.permissions - {lost})
        change_key(c, key, label=key.label, rights=rights, master=MASTER, now_ms=NOW_MS)

    await sqlite_db.run(take)
    await refused(sqlite_db, made.plan.intents[-1], f"the {lost} permission any more")


async def test_an_expired_key_does_not_stop_what_was_accepted(sqlite_db: Database) -> None:
    order = await seeded(sqlite_db)
    await presign(sqlite_db, FakeClock(NOW_MS + 2_000)).check(order.plan.intents[1])


async def test_a_key_row_edited_in_the_database_grants_nothing(sqlite_db: Database) -> None:
    withdrawal = await seeded(sqlite_db, seed_withdrawal_of)
    await sqlite_db.run(lambda c: c.execute(update(m.api_keys).values(expires_ms=None)))
    await refused(sqlite_db, withdrawal.plan.intents[0], "integrity")


async def test_another_wallets_lane_is_refused(sqlite_db: Database) -> None:
    order = await seeded(sqlite_db)
    lane = Lane(chain_id=ETHEREUM, wallet=MALLORY)
    call = order.plan.intents[1].call
    await refused(
        sqlite_db,
        replace(order.plan.intents[1], lane=lane, payload_hash=payload_hash(lane, call)),
        "wallet is not the one",
    )


@pytest.mark.parametrize(
    "call",
    [
        erc20.transfer_call(USDC, BOB, amount=5_000_001),
        erc20.transfer_call(USDC, MALLORY, amount=5_000_000),
        erc20.transfer_call(USDT, BOB, amount=5_000_000),
        CallRequest(to=BOB, value_wei=5_000_000),
    ],
    ids=["amount", "recipient", "token", "native"],
)
async def test_a_transfer_that_is_not_the_withdrawals_is_refused(sqlite_db: Database, call: CallRequest) -> None:
    withdrawal = await seeded(sqlite_db, seed_withdrawal_of)
    await refused(sqlite_db, with_call(withdrawal.plan.intents[0], call), "not the withdrawal's")


async def test_a_withdrawal_is_no_excuse_for_an_approval(sqlite_db: Database) -> None:
    withdrawal = await seeded(sqlite_db, seed_withdrawal_of)
    call = erc20.approve_call(USDC.token_address, BOB, amount=5_000_000)
    await refused(sqlite_db, with_call(withdrawal.plan.intents[0], call), "no transfer that we know")


@pytest.mark.parametrize("position", [1, -1, 7])
async def test_a_withdrawal_whose_plan_has_another_call_is_not_signed(
    sqlite_db: Database, sqlite_url: str, position: int
) -> None:
    """F79: the same transfer once more, in a plan that was cleared for one."""
    withdrawal = await seeded(sqlite_db, seed_withdrawal_of)
    copy(sqlite_url, m.intents, id=f"plan_id || '/{position}'", position=str(position))
    plan = await sqlite_db.read(lambda c: STORE.plan(c, withdrawal.plan.id))
    assert plan is not None
    for intent in plan.intents:
        await refused(sqlite_db, intent, "another number of them")


async def test_a_transfer_that_had_a_nonce_is_not_signed_for_another_one(sqlite_db: Database, sqlite_url: str) -> None:
    """F79: sent, then queued again by an edit, with its slot called another's."""
    withdrawal = await seeded(sqlite_db, seed_withdrawal_of)
    await sqlite_db.run(lambda c: reserve(c, withdrawal.plan))
    for state in ("superseded", "final"):
        write(sqlite_url, "UPDATE txs SET state = ?", state)
        await refused(sqlite_db, withdrawal.plan.intents[0], "had a nonce already")


@pytest.mark.parametrize("column", ["gas_limit", "max_gas_cost_wei", "position", "id", "wallet", "value_wei"])
async def test_a_withdrawals_call_edited_in_the_database_is_not_signed(
    sqlite_db: Database, sqlite_url: str, column: str
) -> None:
    """F79."""
    withdrawal = await seeded(sqlite_db, seed_withdrawal_of)
    assert tamper(sqlite_url, m.intents.c[column], withdrawal.plan.intents[0].id)
    plan = await sqlite_db.read(lambda c: STORE.plan(c, withdrawal.plan.id))
    assert plan is not None
    with pytest.raises(PreSignRefused):
        await presign(sqlite_db).check(plan.intents[0])


async def test_a_withdrawal_that_was_rejected_is_not_brought_back_by_an_edit(db: Database) -> None:
    """F79: no MAC is needed to set a state back, and no copy of an older row."""
    withdrawal = await seeded(db, seed_withdrawal_of)

    def reject_and_put_back(c: Connection) -> None:
        STORE.reject_plan(c, withdrawal.plan.id, "given_up: no")
        observer().on_rejected(c, withdrawal.plan, "given_up: no")
        c.execute(update(m.withdrawals).values(state=WithdrawalState.PROCESSING, reason=None))
        c.execute(update(m.intents).values(state="queued", reject_reason=None))

    await presign(db).check(withdrawal.plan.intents[0])
    await db.run(reject_and_put_back)
    await refused(db, withdrawal.plan.intents[0], "has ended")
    await db.run(lambda c: c.execute(update(m.clearances).values(ended_ms=None)))
    await refused(db, withdrawal.plan.intents[0], "integrity check")


async def test_a_destination_taken_off_the_allowlist_is_refused(sqlite_db: Database) -> None:
    withdrawal = await seeded(sqlite_db, seed_withdrawal_of)
    await sqlite_db.run(lambda c: c.execute(delete(m.key_destinations)))
    await refused(sqlite_db, withdrawal.plan.intents[0], "no longer where the key may withdraw to")


async def by_the_book(db: Database, *, in_force_ms: int, address: Address = BOB) -> tuple[Seeded, Entry]:
    """A withdrawal to Bob by a key without destinations of its own, and an entry of its account's address book."""
    withdrawal = await seeded(db, seed_withdrawal_of)

    def write(c: Connection) -> Entry:
        c.execute(delete(m.key_destinations))
        account_id = c.execute(m.api_keys.select()).one().account_id
        new = NewEntry(
            account_id=account_id,
            chain_id=ETHEREUM,
            address=address,
            name="bob",
            is_contract=False,
            added_by=None,
            created_ms=NOW_MS,
            in_force_ms=in_force_ms,
        )
        return storage.insert_entry(c, new, master=MASTER)

    return withdrawal, await db.run(write)


async def test_a_destination_in_force_in_the_address_book_may_be_signed_for(db: Database) -> None:
    withdrawal, _ = await by_the_book(db, in_force_ms=NOW_MS)
    await presign(db).check(withdrawal.plan.intents[0])


async def test_a_destination_that_cools_is_refused_before_signing_until_its_time(sqlite_db: Database) -> None:
    """F64: added less than the cooling time ago."""
    clock = FakeClock()
    withdrawal, _ = await by_the_book(sqlite_db, in_force_ms=clock.now_ms() + 1_000)
    await refused(sqlite_db, withdrawal.plan.intents[0], "no longer where", clock=clock)
    clock.advance_ms(999)
    await refused(sqlite_db, withdrawal.plan.intents[0], "no longer where", clock=clock)
    clock.advance_ms(1)
    await presign(sqlite_db, clock).check(withdrawal.plan.intents[0])


async def test_an_entry_removed_after_the_withdrawal_was_accepted_is_refused_before_signing(db: Database) -> None:
    """F64: removed mid-flight."""
    withdrawal, entry = await by_the_book(db, in_force_ms=NOW_MS)
    await db.run(lambda c: storage.remove(c, entry, now_ms=NOW_MS, master=MASTER))
    await refused(db, withdrawal.plan.intents[0], "no longer where the key may withdraw to")


@pytest.mark.parametrize(
    "forged", [{"in_force_ms": NOW_MS}, {"address": BOB}, {"account_id": 1}, {"removed_ms": None}, {"chain_id": 1}]
)
async def test_an_entry_edited_in_the_database_grants_nothing(sqlite_db: Database, forged: dict[str, Any]) -> None:
    """F79: for the address book."""
    withdrawal, entry = await by_the_book(sqlite_db, in_force_ms=NOW_MS + 1_000, address=MALLORY)

    def forge(c: Connection) -> None:
        if "removed_ms" in forged:
            storage.remove(c, entry, now_ms=NOW_MS, master=MASTER)
        other = {"account_id": 2, "chain_id": 137} if forged.keys() & {"account_id", "chain_id"} else {}
        if other:
            # A right row of another account and chain, moved here.
            ensure_account(c, "second", owner="eve", master=MASTER, now_ms=NOW_MS)
            c.execute(delete(m.book_entries))
            made = {name: getattr(entry, name) for name in NewEntry.__slots__} | {"address": BOB} | other
            storage.insert_entry(c, NewEntry(**made | {"in_force_ms": NOW_MS}), master=MASTER)
        c.execute(update(m.book_entries).values({"address": BOB, "account_id": 1, "chain_id": ETHEREUM} | forged))

    await sqlite_db.run(forge)
    await refused(sqlite_db, withdrawal.plan.intents[0], "no longer where the key may withdraw to")


async def test_a_destination_written_into_the_database_without_the_master_key_is_refused(sqlite_db: Database) -> None:
    withdrawal = await seeded(sqlite_db, seed_withdrawal_of)

    def forge(c: Connection) -> None:
        c.execute(delete(m.key_destinations))
        key_id = c.execute(m.api_keys.select()).one().id
        row = {"key_id": key_id, "chain_id": ETHEREUM, "address": BOB, "created_ms": NOW_MS, "mac": bytes(32)}
        c.execute(insert(m.key_destinations), row)

    await sqlite_db.run(forge)
    await refused(sqlite_db, withdrawal.plan.intents[0], "integrity")


@pytest.mark.parametrize("state", [WithdrawalState.CANCELLED, WithdrawalState.CONFIRMED, WithdrawalState.UNKNOWN])
async def test_a_withdrawal_that_is_over_or_unknown_is_not_signed_again(
    sqlite_db: Database, state: WithdrawalState
) -> None:
    withdrawal = await seeded(sqlite_db, seed_withdrawal_of)
    await sqlite_db.run(lambda c: c.execute(update(m.withdrawals).values(state=state)))
    await refused(sqlite_db, withdrawal.plan.intents[0], f"is {state}")


async def test_a_withdrawal_that_was_sent_may_be_signed_again_with_higher_fees(sqlite_db: Database) -> None:
    withdrawal = await seeded(sqlite_db, seed_withdrawal_of)
    await sqlite_db.run(lambda c: c.execute(update(m.withdrawals).values(state=WithdrawalState.SENT)))
    await presign(sqlite_db).check(withdrawal.plan.intents[0])


async def test_the_swap_is_the_plans_last_intent_and_no_other(sqlite_db: Database) -> None:
    order = await seeded(sqlite_db)
    first = replace(order.plan.intents[1], id=IntentId("x"), position=0)
    await refused(sqlite_db, first, "no approval")
