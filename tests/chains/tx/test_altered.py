"""Where a slot belongs is told by what was signed for it."""

import secrets
from collections.abc import Callable
from dataclasses import replace

import pytest

from chains.signing.signer import LocalSigner, UnlockedKey
from chains.tx.altered import why_displaced
from chains.tx.model import (
    AttemptKind,
    Intent,
    IntentId,
    IntentState,
    Lane,
    OpenTx,
    PlanId,
    Tx,
    TxId,
    TxState,
    payload_hash,
)
from chains.tx.signing import SignedHere, sign_attempt
from chains.types import CallRequest, ChainId, Fees, parse_address

FEES = Fees(max_fee_wei=10**9, priority_fee_wei=10**8)
PAY = CallRequest(to=parse_address("0x" + "be" * 20), value_wei=1)


async def signed(*, nonce: int = 7, kinds: tuple[AttemptKind, ...] = (AttemptKind.REAL, AttemptKind.CANCEL)) -> OpenTx:
    key = UnlockedKey(secrets.token_bytes(32))
    lane = Lane(chain_id=ChainId(1), wallet=key.address)
    intent = Intent(
        id=IntentId("i"),
        plan_id=PlanId("p"),
        position=0,
        lane=lane,
        call=PAY,
        payload_hash=payload_hash(lane, PAY),
        state=IntentState.PLACED,
    )
    tx = Tx(
        id=TxId(1),
        intent_id=intent.id,
        lane=lane,
        nonce=nonce,
        gas_limit=21_000,
        state=TxState.BROADCAST,
        created_ms=1,
        updated_ms=1,
    )
    slot = OpenTx(tx=tx, intent=intent, attempts=())
    signer = LocalSigner([key])
    made = [await sign_attempt(signer, slot, FEES, kind=kind, now_ms=1, signed=SignedHere()) for kind in kinds]
    return replace(slot, attempts=tuple(made))


async def test_a_slot_is_where_its_payload_and_its_self_send_were_signed_for() -> None:
    assert why_displaced(await signed()) is None
    assert why_displaced(await signed(kinds=())) is None


@pytest.mark.parametrize(
    "edit",
    [
        lambda tx: replace(tx, nonce=8),
        lambda tx: replace(tx, lane=replace(tx.lane, chain_id=ChainId(137))),
        lambda tx: replace(tx, lane=replace(tx.lane, wallet=parse_address("0x" + "ab" * 20))),
    ],
    ids=["nonce", "chain", "wallet"],
)
async def test_a_slot_at_another_place_is_displaced(edit: Callable[[Tx], Tx]) -> None:
    slot = await signed()
    assert why_displaced(replace(slot, tx=edit(slot.tx))) is not None


async def test_where_the_intent_was_moved_with_its_slot_the_signatures_tell() -> None:
    slot = await signed()
    lane = replace(slot.tx.lane, chain_id=ChainId(137))
    moved = replace(slot, tx=replace(slot.tx, lane=lane), intent=replace(slot.intent, lane=lane))
    assert why_displaced(moved) is not None


async def test_each_attempt_counts_the_oldest_and_the_newest() -> None:
    slot, elsewhere = await signed(), await signed(nonce=8)
    for attempts in ((*slot.attempts, elsewhere.attempts[0]), (elsewhere.attempts[0], *slot.attempts)):
        assert why_displaced(replace(slot, attempts=attempts)) is not None


async def test_bytes_that_are_no_transaction_are_an_edit_too() -> None:
    slot = await signed()
    assert why_displaced(replace(slot, attempts=(replace(slot.attempts[0], raw=b"\x02"),))) is not None
