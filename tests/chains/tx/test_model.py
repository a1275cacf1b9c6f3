"""The transition tables, edge by edge, and what a payload hash binds."""

from dataclasses import replace

import pytest

from chains.tx.model import (
    CLOSED_TX_STATES,
    INTENT_TRANSITIONS,
    TX_TRANSITIONS,
    IllegalTransition,
    IntentState,
    Lane,
    TxState,
    check_intent_transition,
    check_transition,
    payload_hash,
)
from chains.types import Address, CallRequest, ChainId

T = TxState
LEGAL = {
    (T.RESERVED, T.SIGNED),
    (T.RESERVED, T.SUPERSEDED),
    (T.SIGNED, T.BROADCAST),
    (T.SIGNED, T.MINED),
    (T.SIGNED, T.SUPERSEDED),
    (T.BROADCAST, T.MINED),
    (T.BROADCAST, T.SUPERSEDED),
    (T.MINED, T.CONFIRMED),
    (T.MINED, T.BROADCAST),
    (T.CONFIRMED, T.FINAL),
    (T.CONFIRMED, T.BROADCAST),
}
I = IntentState  # noqa: E741
LEGAL_INTENTS = {(I.ACCEPTED, I.QUEUED), (I.ACCEPTED, I.REJECTED), (I.QUEUED, I.PLACED), (I.QUEUED, I.REJECTED)}

LANE = Lane(chain_id=ChainId(1), wallet=Address("0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2"))
CALL = CallRequest(to=Address("0x0d500B1d8E8eF31E21C99d1Db9A6444d3ADf1270"), data=b"\x01\x02", value_wei=3)


@pytest.mark.parametrize("before", TxState)
@pytest.mark.parametrize("after", TxState)
def test_a_slot_takes_the_listed_edges_and_no_others(before: TxState, after: TxState) -> None:
    if (before, after) in LEGAL:
        check_transition(before, after)
    else:
        with pytest.raises(IllegalTransition):
            check_transition(before, after)


@pytest.mark.parametrize("before", IntentState)
@pytest.mark.parametrize("after", IntentState)
def test_an_intent_takes_the_listed_edges_and_no_others(before: IntentState, after: IntentState) -> None:
    if (before, after) in LEGAL_INTENTS:
        check_intent_transition(before, after)
    else:
        with pytest.raises(IllegalTransition):
            check_intent_transition(before, after)


def test_every_state_is_in_the_tables_and_closed_ones_have_no_way_out() -> None:
    assert set(TX_TRANSITIONS) == set(TxState)
    assert set(INTENT_TRANSITIONS) == set(IntentState)
    assert {state for state in TxState if not TX_TRANSITIONS[state]} == CLOSED_TX_STATES


def test_the_payload_hash_binds_every_part() -> None:
    hashes = {
        payload_hash(LANE, CALL),
        payload_hash(replace(LANE, chain_id=ChainId(137)), CALL),
        payload_hash(replace(LANE, wallet=CALL.to), CALL),
        payload_hash(LANE, replace(CALL, to=LANE.wallet)),
        payload_hash(LANE, replace(CALL, value_wei=4)),
        payload_hash(LANE, replace(CALL, data=b"\x01\x02\x00")),
        payload_hash(LANE, replace(CALL, data=b"")),
    }
    assert len(hashes) == 7


def test_the_payload_hash_is_the_same_for_ever() -> None:
    assert payload_hash(LANE, CALL) == "0x2dd52237077fa576f82b9af66c277038a46b5c8e7b5108eb10674191319e9ee9"
