"""When a slot needs a new attempt, of which kind, and which of its attempts are sent again: decided without a chain."""

from dataclasses import replace

import pytest

from chains.config import SendingPolicy
from chains.tx.model import Attempt, AttemptKind, AttemptState, OpenTx, TxState, Wish
from chains.tx.replacing import bumps, highest_fees, is_priced_in, need_of, reprices
from chains.tx.sending import sendable
from chains.types import BlockHash, Fees, Header
from tests.chains.tx.test_verdicts import slot, tx_hash

POLICY = SendingPolicy(bump_after_blocks=4, max_bumps=3)
HEAD = Header(
    number=100,
    hash=BlockHash("0x" + "aa" * 32),
    parent_hash=BlockHash("0x" + "bb" * 32),
    timestamp_s=1_000,
    base_fee_wei=1,
    gas_limit=1,
)
REAL, CANCEL = AttemptKind.REAL, AttemptKind.CANCEL
SIGNED, SENT = AttemptState.SIGNED, AttemptState.SENT
CHEAP = "underpriced: transaction underpriced"


def waiting(*attempts: tuple[AttemptKind, AttemptState, str | None], wish: Wish | None = None) -> OpenTx:
    """A broadcast slot with these attempts, each dearer than the one before."""
    base = slot(TxState.BROADCAST)
    made: list[Attempt] = [
        replace(
            base.attempts[0],
            hash=tx_hash(number),
            kind=kind,
            state=state,
            node_answer=answer,
            fees=Fees(max_fee_wei=100 + number, priority_fee_wei=number),
        )
        for number, (kind, state, answer) in enumerate(attempts, start=1)
    ]
    tx = replace(base.tx, wish=wish, wish_reason=None if wish is None else "asked for by a test")
    return replace(base, tx=tx, attempts=tuple(made))


def need(of: OpenTx, *, blocks_old: int = 0) -> tuple[AttemptKind, bool] | None:
    found = need_of(of, head=HEAD, blocks_old=blocks_old, policy=POLICY)
    return None if found is None else (found.kind, found.asked)


@pytest.mark.parametrize(("blocks_old", "wanted"), [(3, None), (4, (REAL, False)), (40, (REAL, False))])
def test_a_sent_payload_is_made_dearer_once_it_has_waited_long_enough(blocks_old: int, wanted: object) -> None:
    assert need(waiting((REAL, SENT, None)), blocks_old=blocks_old) == wanted


def test_an_attempt_whose_outcome_is_unknown_is_sent_again_and_not_replaced() -> None:
    assert need(waiting((REAL, SIGNED, "unknown: no answer")), blocks_old=40) is None


@pytest.mark.parametrize("state", [SIGNED, SENT])
def test_without_gas_funds_nothing_is_made_dearer_but_a_cancel_is_made(state: AttemptState) -> None:
    unfunded = (REAL, state, "insufficient_funds: for gas")
    assert need(waiting(unfunded), blocks_old=40) is None
    assert need(waiting(unfunded, wish=Wish.CANCEL)) == (CANCEL, True)


@pytest.mark.parametrize("answer", [CHEAP, "replace_underpriced: replacement transaction underpriced"])
def test_an_attempt_that_is_called_too_cheap_is_repriced_at_once_and_twice_at_most(answer: str) -> None:
    refused = AttemptState.REFUSED
    assert need(waiting((REAL, SIGNED, answer))) == (REAL, True)
    assert need(waiting((REAL, refused, answer), (REAL, SIGNED, answer))) == (REAL, True)
    thrice = waiting((REAL, refused, answer), (REAL, refused, answer), (REAL, SIGNED, answer))
    assert need(thrice) is None
    assert need(thrice, blocks_old=4) == (REAL, False)
    assert (reprices(thrice), bumps(thrice)) == (2, 0)


def test_a_slot_without_bytes_or_with_a_block_needs_nothing() -> None:
    empty = slot(TxState.RESERVED, kinds=())
    assert need(empty, blocks_old=40) is None
    assert need(slot(TxState.MINED), blocks_old=40) is None


def test_a_wished_bump_does_not_wait() -> None:
    assert need(waiting((REAL, SENT, None), wish=Wish.BUMP)) == (REAL, True)


@pytest.mark.parametrize("state", [SIGNED, SENT])
def test_a_wished_cancel_closes_the_slot_at_once_even_if_nobody_has_the_bytes(state: AttemptState) -> None:
    assert need(waiting((REAL, state, None), wish=Wish.CANCEL)) == (CANCEL, True)


def test_a_cancel_that_was_made_is_made_dearer_like_anything_else() -> None:
    closing = waiting((REAL, SENT, None), (CANCEL, SENT, None), wish=Wish.CANCEL)
    assert need(closing) is None
    assert need(closing, blocks_old=4) == (CANCEL, False)


def test_a_passed_deadline_closes_by_the_time_of_the_block() -> None:
    sent = waiting((REAL, SENT, None))
    assert need(replace(sent, valid_until_ms=1_000_001)) is None
    assert need(replace(sent, valid_until_ms=1_000_000)) == (CANCEL, True)


def test_the_price_to_beat_is_the_highest_of_all_attempts_in_each_field() -> None:
    two = waiting((REAL, SENT, None), (REAL, SENT, None))
    low_cap = replace(two.attempts[1], fees=Fees(max_fee_wei=50, priority_fee_wei=9))
    assert highest_fees(replace(two, attempts=(two.attempts[0], low_cap))) == Fees(max_fee_wei=101, priority_fee_wei=9)


@pytest.mark.parametrize(
    ("base_wei", "tip_wei", "wanted"), [(100, 1, True), (101, 1, False), (10, 2, False)], ids=["in", "base", "tip"]
)
def test_an_attempt_waits_for_others_when_its_price_is_what_a_new_one_would_offer(
    base_wei: int, tip_wei: int, wanted: bool
) -> None:
    fresh = Fees(max_fee_wei=10_000, priority_fee_wei=tip_wei)
    assert is_priced_in(waiting((REAL, SENT, None)), fresh, base_wei) is wanted


# -- what is sent again -----------------------------------------------------------------------------------


def sent_again(of: OpenTx) -> list[int]:
    return [of.attempts.index(one.attempts[-1]) for one in sendable(of)]


def test_the_newest_attempt_is_sent_again() -> None:
    assert sent_again(waiting((REAL, SENT, None), (REAL, SENT, None))) == [1]


def test_after_a_replacement_was_refused_for_its_price_the_ones_before_it_are_sent_too() -> None:
    assert sent_again(waiting((REAL, SENT, None), (REAL, SIGNED, CHEAP))) == [0, 1]
    assert sent_again(waiting((REAL, SENT, None), (REAL, SIGNED, "unknown: x"))) == [1]


def test_a_payload_is_not_sent_again_beside_a_self_send_that_is_wanted() -> None:
    assert sent_again(waiting((REAL, SENT, None), (CANCEL, SIGNED, CHEAP))) == [1]
    assert sent_again(waiting((REAL, SENT, None), wish=Wish.CANCEL)) == []
