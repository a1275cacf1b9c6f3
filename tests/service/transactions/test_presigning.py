"""Nothing is signed but what was asked for, and of contracts only what the key still lists."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection, update

from chains.tx.model import Intent, payload_hash
from chains.tx.store import PreSignRefused
from chains.types import CallRequest
from contracts import erc20, weth
from contracts.abi import encode_call
from service.auth.keys import Permission
from service.db import models as m
from service.db.engine import Database
from service.transactions.model import TransactionKind, TransactionState
from service.transactions.terms import asked_mac, columns
from service.workers.presign import PreSign
from tests.clock import FakeClock
from tests.service.books_seed import NOW_MS, address_of
from tests.service.orders.tampering import copy, write
from tests.service.trading_seed import ASSETS, BOB, DEPLOYMENTS, STORE, USDC, USDT, observer, reserve, send
from tests.service.transactions.seed import (
    AMOUNT,
    DEPOSIT,
    MASTER,
    MAY_DEPOSIT,
    ROUTER,
    VAULT,
    Seeded,
    seed_authority,
    seed_transaction,
)

KINDS = list(TransactionKind)
WETH = ASSETS.wrapped.token_address


def presign(db: Database) -> PreSign:
    return PreSign(db=db, assets=ASSETS, deployments=DEPLOYMENTS, master=MASTER, clock=FakeClock())


def with_call(intent: Intent, call: CallRequest) -> Intent:
    """The intent with another payload that has its own, right hash."""
    return replace(intent, call=call, payload_hash=payload_hash(intent.lane, call))


async def refused(db: Database, intent: Intent, why: str) -> None:
    with pytest.raises(PreSignRefused, match=why):
        await presign(db).check(intent)


async def seeded(db: Database, kind: TransactionKind, **change: Any) -> Seeded:
    return await db.run(lambda c: seed_transaction(c, kind, **change))


async def forge(db: Database, found: Seeded, **change: Any) -> Seeded:
    """The row edited, and given the MAC that only the service can make: what is left is the decoding."""
    terms = replace(found.transaction.terms, **change)

    def edit(c: Connection) -> None:
        values = columns(terms) | {"asked_mac": asked_mac(MASTER, terms)}
        c.execute(update(m.transactions).values(values))

    await db.run(edit)
    return replace(found, transaction=replace(found.transaction, terms=terms))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("state", ["processing", "sent"])
async def test_every_step_as_it_was_asked_for_may_be_signed(
    sqlite_db: Database, kind: TransactionKind, state: str
) -> None:
    found = await seeded(sqlite_db, kind)
    await sqlite_db.run(lambda c: c.execute(update(m.transactions).values(state=state)))
    for intent in found.plan.intents:
        await presign(sqlite_db).check(intent)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_has_ended_is_not_signed_again(sqlite_db: Database, kind: TransactionKind) -> None:
    found = await seeded(sqlite_db, kind)
    for state in set(TransactionState) - {TransactionState.PROCESSING, TransactionState.SENT}:
        await sqlite_db.run(lambda c, state=state: c.execute(update(m.transactions).values(state=state)))  # type: ignore[misc]
        await refused(sqlite_db, found.plan.intents[-1], f"is {state}")


@pytest.mark.parametrize(
    ("kind", "call"),
    [
        (TransactionKind.WRAP, weth.wrap_call(WETH, 8)),
        (TransactionKind.UNWRAP, weth.unwrap_call(WETH, 8)),
        (TransactionKind.REVOKE, erc20.approve_call(USDC.token_address, ROUTER, amount=1)),
        (TransactionKind.REVOKE, erc20.approve_call(USDT.token_address, ROUTER, amount=0)),
        (TransactionKind.CONTRACT, CallRequest(to=VAULT, data=encode_call(DEPOSIT, AMOUNT + 1))),
        (TransactionKind.CONTRACT, CallRequest(to=VAULT, data=encode_call(DEPOSIT, AMOUNT), value_wei=1)),
    ],
)
async def test_another_payload_with_a_right_hash_is_not_signed(
    sqlite_db: Database, kind: TransactionKind, call: CallRequest
) -> None:
    found = await seeded(sqlite_db, kind)
    await refused(sqlite_db, with_call(found.plan.intents[-1], call), "not the one that was asked for")


EDITS: list[tuple[TransactionKind, dict[str, Any]]] = [
    (TransactionKind.WRAP, {"value_wei": 8}),
    (TransactionKind.UNWRAP, {"amount": 8}),
    (TransactionKind.REVOKE, {"spender": BOB}),
    (TransactionKind.CONTRACT, {"data": encode_call(DEPOSIT, AMOUNT + 1)}),
    (TransactionKind.CONTRACT, {"max_out": {USDC.id: str(AMOUNT + 1)}}),
    (TransactionKind.CONTRACT, {"approvals": {USDC.id: str(AMOUNT + 1)}}),
    (TransactionKind.CONTRACT, {"function": "withdraw(uint256)"}),
    (TransactionKind.CONTRACT, {"value_wei": 1}),
    (TransactionKind.CONTRACT, {"client_id": "other"}),
]


@pytest.mark.parametrize(("kind", "edit"), EDITS)
async def test_a_row_edited_in_the_database_is_not_signed(
    db: Database, kind: TransactionKind, edit: dict[str, Any]
) -> None:
    found = await seeded(db, kind)
    await db.run(lambda c: c.execute(update(m.transactions).values(edit)))
    await refused(db, found.plan.intents[-1], "integrity check")


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (TransactionKind.WRAP, {"amount": 8}),
        (TransactionKind.UNWRAP, {"asset": ASSETS.native.id}),
        (TransactionKind.REVOKE, {"spender": BOB}),
        (TransactionKind.REVOKE, {"asset": USDT.id}),
    ],
)
async def test_a_call_that_decodes_to_something_else_is_not_signed(
    sqlite_db: Database, kind: TransactionKind, change: dict[str, Any]
) -> None:
    found = await forge(sqlite_db, await seeded(sqlite_db, kind), **change)
    await refused(sqlite_db, found.plan.intents[-1], "as it was asked for")


async def test_calldata_that_is_not_its_function_s_is_not_signed(sqlite_db: Database) -> None:
    found = await forge(sqlite_db, await seeded(sqlite_db, TransactionKind.CONTRACT), function="withdraw(uint256)")
    await refused(sqlite_db, found.plan.intents[-1], "not of withdraw")


@pytest.mark.parametrize(
    ("calls", "why"),
    [
        (frozenset(), "not among this key's calls"),
        (frozenset({replace(MAY_DEPOSIT, selector="0x00000001")}), "not among this key's calls"),
        (frozenset({replace(MAY_DEPOSIT, contract=BOB)}), "not among this key's calls"),
        (frozenset({replace(MAY_DEPOSIT, max_value_wei=4)}), "at most 4 wei"),
    ],
)
async def test_a_call_that_the_key_lists_no_longer_is_not_signed(
    sqlite_db: Database, calls: frozenset[Any], why: str
) -> None:
    def seed(c: Connection) -> Seeded:
        authority = seed_authority(c, calls=calls)
        return seed_transaction(c, TransactionKind.CONTRACT, authority=authority, value_wei=5)

    found = await sqlite_db.run(seed)
    for intent in found.plan.intents:
        await refused(sqlite_db, intent, why)


@pytest.mark.parametrize(
    ("kind", "permission"),
    [
        (TransactionKind.WRAP, Permission.READ),
        (TransactionKind.REVOKE, Permission.WITHDRAW),
        (TransactionKind.CONTRACT, Permission.TRADE),
    ],
)
async def test_a_key_that_has_lost_the_permission_gets_no_signature(
    sqlite_db: Database, kind: TransactionKind, permission: Permission
) -> None:
    calls = frozenset({MAY_DEPOSIT}) if permission is Permission.WITHDRAW else frozenset[Any]()

    def seed(c: Connection) -> Seeded:
        return seed_transaction(c, kind, authority=seed_authority(c, calls=calls, permissions=frozenset({permission})))

    found = await sqlite_db.run(seed)
    await refused(sqlite_db, found.plan.intents[-1], "does not have the .* permission")


@pytest.mark.parametrize(
    ("kind", "narrowed"),
    [
        (TransactionKind.WRAP, {"assets": frozenset({ASSETS.native.id})}),
        (TransactionKind.REVOKE, {"assets": frozenset({USDT.id})}),
        (TransactionKind.CONTRACT, {"assets": frozenset({USDT.id})}),
        (TransactionKind.UNWRAP, {"chains": frozenset({137})}),
    ],
)
async def test_a_key_that_is_for_other_chains_or_assets_now_gets_no_signature(
    sqlite_db: Database, kind: TransactionKind, narrowed: dict[str, Any]
) -> None:
    found = await sqlite_db.run(lambda c: seed_transaction(c, kind, authority=seed_authority(c, **narrowed)))
    for intent in found.plan.intents:
        await refused(sqlite_db, intent, "this key is not for")


@pytest.mark.parametrize("contract", [address_of(0xA11CE), DEPLOYMENTS.routers(ASSETS.chain_id)[0].address])
async def test_what_nobody_may_call_is_not_signed_even_if_the_key_lists_it(sqlite_db: Database, contract: Any) -> None:
    def seed(c: Connection) -> Seeded:
        authority = seed_authority(c, calls=frozenset({replace(MAY_DEPOSIT, contract=contract)}))
        return seed_transaction(c, TransactionKind.CONTRACT, authority=authority, contract=contract)

    found = await sqlite_db.run(seed)
    await refused(sqlite_db, found.plan.intents[-1], "the call is refused")


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (erc20.approve_call(USDC.token_address, VAULT, amount=AMOUNT + 1), "not of exactly what was declared"),
        (erc20.approve_call(USDC.token_address, VAULT, amount=2**256 - 1), "not of exactly what was declared"),
        (erc20.approve_call(USDT.token_address, VAULT, amount=AMOUNT), "not of exactly what was declared"),
        (erc20.approve_call(USDC.token_address, BOB, amount=AMOUNT), "not for the contract that is called"),
        (erc20.transfer_call(USDC, VAULT, amount=AMOUNT), "is no approval"),
    ],
)
async def test_before_a_call_only_its_own_exact_approvals_are_signed(
    sqlite_db: Database, call: CallRequest, why: str
) -> None:
    found = await seeded(sqlite_db, TransactionKind.CONTRACT)
    await refused(sqlite_db, with_call(found.plan.intents[0], call), why)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("of_last", "to"), [(True, 1), (False, 0), (True, 2)])
async def test_a_plan_with_one_more_call_is_not_signed(
    sqlite_db: Database, sqlite_url: str, kind: TransactionKind, of_last: bool, to: int
) -> None:
    """F79: the call a second time, after it or before it."""
    found = await seeded(sqlite_db, kind)
    last = len(found.plan.intents) - 1
    position = last + to if of_last else -1
    copy(sqlite_url, m.intents, where=f"position = {last}", id=f"plan_id || '/{position}'", position=str(position))
    plan = await sqlite_db.read(lambda c: STORE.plan(c, found.plan.id))
    assert plan is not None
    assert len(plan.intents) == last + 2
    for intent in plan.intents:
        with pytest.raises(PreSignRefused):
            await presign(sqlite_db).check(intent)


@pytest.mark.parametrize("kind", KINDS)
async def test_one_that_was_rejected_is_not_brought_back_by_an_edit(db: Database, kind: TransactionKind) -> None:
    """F79: no MAC is needed to set a state back, and no copy of an older row."""
    found = await seeded(db, kind)

    def reject_and_put_back(c: Connection) -> None:
        STORE.reject_plan(c, found.plan.id, "given_up: no")
        observer().on_rejected(c, found.plan, "given_up: no")
        c.execute(update(m.transactions).values(state=TransactionState.PROCESSING, reason=None))
        c.execute(update(m.intents).values(state="queued", reject_reason=None))

    await db.run(reject_and_put_back)
    for intent in found.plan.intents:
        await refused(db, intent, "integrity check")


async def test_the_digest_of_its_calls_is_not_taken_away_from_a_row(sqlite_db: Database, sqlite_url: str) -> None:
    """F79: as if it were from before there was one."""
    found = await seeded(sqlite_db, TransactionKind.WRAP)
    write(sqlite_url, "UPDATE transactions SET calls_hash = NULL")
    await refused(sqlite_db, found.plan.intents[0], "integrity check")


async def test_one_from_before_there_was_a_digest_of_calls_is_signed(sqlite_db: Database) -> None:
    found = await forge(sqlite_db, await seeded(sqlite_db, TransactionKind.WRAP), calls_hash=None)
    await presign(sqlite_db).check(found.plan.intents[0])


async def test_a_call_whose_time_has_passed_is_not_signed_whatever_its_plan_says(
    sqlite_db: Database, sqlite_url: str
) -> None:
    """F79: one that waited is not signed at a time of somebody else's choosing; bytes that are out are replaced."""
    found = await seeded(sqlite_db, TransactionKind.CONTRACT, valid_until_ms=NOW_MS)
    clock = FakeClock(NOW_MS - 1)
    in_time = PreSign(db=sqlite_db, assets=ASSETS, deployments=DEPLOYMENTS, master=MASTER, clock=clock)
    intent = found.plan.intents[0]
    await in_time.check(intent)
    clock.advance_ms(1)
    with pytest.raises(PreSignRefused, match="time has passed"):
        await in_time.check(intent)

    def sign(c: Connection) -> None:
        for number, tx in enumerate(reserve(c, found.plan), start=1):
            send(c, tx, number=number)

    await sqlite_db.run(sign)
    plan = await sqlite_db.read(lambda c: STORE.plan(c, found.plan.id))
    assert plan is not None
    intent = plan.intents[0]
    await in_time.check(intent)
    write(sqlite_url, "UPDATE transactions SET valid_until_ms = NULL")
    with pytest.raises(PreSignRefused, match="integrity check"):
        await in_time.check(intent)


async def test_a_reset_before_an_approval_may_be_signed(sqlite_db: Database) -> None:
    found = await seeded(sqlite_db, TransactionKind.CONTRACT, resets=True)
    assert len(found.plan.intents) == 3
    for intent in found.plan.intents:
        await presign(sqlite_db).check(intent)
