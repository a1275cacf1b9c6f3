"""What one look at the chain says about a slot, case by case."""

from dataclasses import replace

import pytest

from chains.tx.model import (
    Attempt,
    AttemptKind,
    AttemptState,
    Intent,
    IntentId,
    IntentState,
    Lane,
    OpenTx,
    Outcome,
    PlanId,
    Tx,
    TxId,
    TxState,
)
from chains.tx.verdicts import Change, Look, decide
from chains.types import Address, BlockHash, BlockRef, CallRequest, ChainId, Fees, Header, Receipt, TxHash

WALLET = Address("0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2")
LANE = Lane(chain_id=ChainId(1), wallet=WALLET)
NOW = 1_000


def block(number: int, fork: int = 0) -> BlockRef:
    return BlockRef(number=number, hash=BlockHash(f"0x{fork:02x}{number:062x}"))


def tx_hash(number: int) -> TxHash:
    return TxHash(f"0x{number:064x}")


def receipt(at: BlockRef, *, of: int = 1, succeeded: bool = True) -> Receipt:
    return Receipt(
        tx_hash=tx_hash(of),
        block=at,
        succeeded=succeeded,
        gas_used=21_000,
        effective_gas_price_wei=1,
        sender=WALLET,
        to=WALLET,
        logs=(),
    )


def slot(state: TxState, *, at: BlockRef | None = None, kinds: tuple[AttemptKind, ...] = (AttemptKind.REAL,)) -> OpenTx:
    mined = state in (TxState.MINED, TxState.CONFIRMED)
    tx = Tx(
        id=TxId(1),
        intent_id=IntentId("p/0"),
        lane=LANE,
        nonce=5,
        gas_limit=21_000,
        state=state,
        outcome=Outcome.SUCCEEDED if mined else Outcome.NONE,
        block=at,
        mined_hash=tx_hash(1) if mined else None,
        created_ms=0,
        updated_ms=0,
    )
    intent = Intent(
        id=IntentId("p/0"),
        plan_id=PlanId("p"),
        position=0,
        lane=LANE,
        call=CallRequest(to=WALLET),
        payload_hash="0x",
        state=IntentState.PLACED,
    )
    attempts = tuple(
        Attempt(
            hash=tx_hash(number),
            tx_id=tx.id,
            kind=kind,
            raw=b"",
            fees=Fees(max_fee_wei=1, priority_fee_wei=1),
            gas_limit=21_000,
            state=AttemptState.SENT,
            created_ms=0,
        )
        for number, kind in enumerate(kinds, start=1)
    )
    return OpenTx(tx=tx, intent=intent, attempts=attempts)


def look(
    *receipts: Receipt,
    head: int = 100,
    depth: int = 2,
    final: int | None = 90,
    used: int = 0,
    used_finally: int = 0,
    fork_from: int = 1_000,
) -> Look:
    """Blocks from `fork_from` on carry other hashes than `block(number)`."""
    canonical = {number: block(number, 0 if number < fork_from else 1) for number in range(head + 1)}
    header = Header(
        number=head,
        hash=canonical[head].hash,
        parent_hash=canonical[head - 1].hash,
        timestamp_s=0,
        base_fee_wei=1,
        gas_limit=30_000_000,
    )
    return Look(
        head=header,
        confirmed_depth=depth,
        final_height=final,
        receipts={told.tx_hash: told for told in receipts},
        canonical=canonical,
        used_at_target={LANE: used},
        used_finally={LANE: used_finally},
    )


def changes(slot: OpenTx, look: Look) -> list[Change]:
    return [step.change for step in decide(slot, look, NOW).steps]


@pytest.mark.parametrize("state", [TxState.SIGNED, TxState.BROADCAST])
def test_a_receipt_in_a_canonical_block_mines_the_slot(state: TxState) -> None:
    (step,) = decide(slot(state), look(receipt(block(100))), NOW).steps
    assert (step.change, step.tx.state, step.tx.outcome) == (Change.MINED, TxState.MINED, Outcome.SUCCEEDED)
    assert (step.tx.block, step.tx.mined_hash) == (block(100), tx_hash(1))


def test_depth_counts_the_mined_block() -> None:
    sent = slot(TxState.BROADCAST)
    assert changes(sent, look(receipt(block(100)), depth=1)) == [Change.MINED, Change.CONFIRMED]
    assert changes(sent, look(receipt(block(100)), depth=2)) == [Change.MINED]
    assert changes(sent, look(receipt(block(99)), depth=2)) == [Change.MINED, Change.CONFIRMED]


def test_an_old_receipt_passes_through_every_state() -> None:
    assert changes(slot(TxState.BROADCAST), look(receipt(block(90)))) == [Change.MINED, Change.CONFIRMED, Change.FINAL]


def test_final_needs_the_height_and_nothing_is_final_without_one() -> None:
    confirmed = slot(TxState.CONFIRMED, at=block(91))
    assert changes(confirmed, look(final=90)) == []
    assert changes(confirmed, look(final=91)) == [Change.FINAL]
    assert changes(confirmed, look(final=None)) == []


def test_a_revert_and_a_cancel_are_outcomes() -> None:
    (reverted,) = decide(slot(TxState.BROADCAST), look(receipt(block(100), succeeded=False)), NOW).steps
    assert reverted.tx.outcome is Outcome.REVERTED
    both = slot(TxState.BROADCAST, kinds=(AttemptKind.REAL, AttemptKind.CANCEL))
    (cancelled,) = decide(both, look(receipt(block(100), of=2)), NOW).steps
    assert cancelled.tx.outcome is Outcome.CANCELLED
    (lost,) = decide(both, look(receipt(block(100), of=1)), NOW).steps
    assert lost.tx.outcome is Outcome.SUCCEEDED


def test_a_receipt_in_a_block_that_is_not_canonical_is_not_believed() -> None:
    decision = decide(slot(TxState.BROADCAST), look(receipt(block(100)), fork_from=99), NOW)
    assert (decision.steps, decision.unclear) == ((), True)


def test_a_receipt_from_after_the_head_is_left_for_the_next_look() -> None:
    decision = decide(slot(TxState.BROADCAST), look(receipt(block(101))), NOW)
    assert (decision.steps, decision.unclear) == ((), False)


def test_without_a_receipt_and_without_a_used_nonce_nothing_is_said() -> None:
    decision = decide(slot(TxState.BROADCAST), look(used=5), NOW)
    assert (decision.steps, decision.unclear, decision.overtaken) == ((), False, False)


def test_a_nonce_used_by_the_target_without_a_receipt_keeps_the_cursor_back() -> None:
    decision = decide(slot(TxState.BROADCAST), look(used=6, used_finally=5), NOW)
    assert (decision.steps, decision.unclear, decision.overtaken) == ((), True, False)


def test_a_nonce_used_in_a_final_block_without_a_receipt_is_overtaken() -> None:
    assert decide(slot(TxState.BROADCAST), look(used=6, used_finally=6), NOW).overtaken


def test_a_receipt_of_ours_is_never_overtaken() -> None:
    decision = decide(slot(TxState.BROADCAST), look(receipt(block(101)), used=6, used_finally=6), NOW)
    assert not decision.overtaken


@pytest.mark.parametrize("state", [TxState.MINED, TxState.CONFIRMED])
def test_a_block_that_left_the_chain_takes_the_slot_back(state: TxState) -> None:
    taken = slot(state, at=block(100))
    (step,) = decide(taken, look(fork_from=99), NOW).steps
    assert step.change is Change.REORGED
    assert step.tx == taken.tx  # as it was before


def test_mined_again_in_another_block_is_a_reorg_and_a_new_block() -> None:
    steps = decide(slot(TxState.MINED, at=block(99)), look(receipt(block(100, 1)), fork_from=99, depth=3), NOW).steps
    assert [step.change for step in steps] == [Change.REORGED, Change.MINED]
    assert steps[1].tx.block == block(100, 1)


def test_a_mined_slot_is_confirmed_only_with_the_receipt_of_its_block() -> None:
    mined = slot(TxState.MINED, at=block(99))
    assert changes(mined, look(receipt(block(99)))) == [Change.CONFIRMED]
    for told in (look(), look(receipt(block(98)))):
        decision = decide(mined, told, NOW)
        assert (decision.steps, decision.unclear) == ((), True)


def test_a_node_behind_the_block_we_know_says_nothing() -> None:
    decision = decide(slot(TxState.MINED, at=block(101)), look(), NOW)
    assert (decision.steps, decision.unclear) == ((), True)


def test_a_slot_without_attempts_waits() -> None:
    reserved = replace(slot(TxState.RESERVED), attempts=())
    assert changes(reserved, look()) == []
