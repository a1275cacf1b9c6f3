"""What is for ever, by the word of several endpoints: which claims there are, and which are borne out."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from chains.client import EvmClient
from chains.config import load_chains
from chains.errors import RpcError, RpcRefused
from chains.rpc.quorum import QuorumNotReached
from chains.tx.model import Outcome, TxId, TxState
from chains.tx.verdicts import Change, decide
from chains.tx.witness import NO_DOUBTS, Doubts, claims, doubts, is_overtaken
from chains.types import Receipt, TxHash
from tests.chains.tx.test_verdicts import NOW, block, look, receipt, slot, tx_hash

MINED_AT = block(90)
FOREIGN = TxHash("0x" + "ff" * 32)


def told(found: Receipt) -> dict[str, Any]:
    """A receipt as a node says it."""
    return {
        "transactionHash": found.tx_hash,
        "blockHash": found.block.hash,
        "blockNumber": hex(found.block.number),
        "status": hex(found.succeeded),
        "gasUsed": "0x5208",
        "effectiveGasPrice": "0x1",
        "from": found.sender.lower(),
        "to": None,
        "logs": [],
    }


class Endpoints:
    """A `Transport` that answers what several endpoints agree on."""

    name = "endpoints"

    def __init__(
        self,
        *,
        receipt: Receipt | None = None,
        nonce: int = 0,
        agree: bool = True,
        holds: TxHash = FOREIGN,
        has_old_states: bool = True,
    ) -> None:
        """`nonce` is the wallet's from block 90 on, in which is the transaction that it `holds`."""
        self._receipt = receipt
        self._nonce = nonce
        self._agree = agree
        self._holds = holds
        self._has_old_states = has_old_states

    async def request(self, method: str, params: Sequence[Any]) -> Any:
        [answer] = await self.batch([(method, params)])
        if isinstance(answer, RpcError):
            raise answer
        return answer

    async def batch(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any | RpcError]:
        return [self._answer(method, params) for method, params in calls]

    async def close(self) -> None: ...

    def _answer(self, method: str, params: Sequence[Any]) -> Any:
        if not self._agree:
            return QuorumNotReached(endpoint=self.name, method=method, need=2, agreed=1, asked=2)
        if method == "eth_getTransactionCount":
            height = int(params[1], 16)
            if height < 95 and not self._has_old_states:
                return RpcRefused("missing trie node", endpoint=self.name, method=method, code=-32000)
            return hex(self._nonce if height >= MINED_AT.number else 0)
        if method == "eth_getBlockByNumber":
            return {"transactions": [self._holds] if int(params[0], 16) == MINED_AT.number else []}
        return None if self._receipt is None else told(self._receipt)


def witness(**says: Any) -> EvmClient:
    return EvmClient(load_chains()["ethereum"], Endpoints(**says))


def test_a_confirmed_slot_claims_its_block_and_outcome_once_that_is_deep_enough() -> None:
    confirmed = slot(TxState.CONFIRMED, at=MINED_AT)
    [claim] = claims([confirmed], {}, 90)
    assert (claim.hash, claim.block, claim.succeeded) == (tx_hash(1), MINED_AT, True)
    assert claims([confirmed], {}, 89) == []
    assert claims([confirmed], {}, None) == []
    reverted = replace(confirmed, tx=replace(confirmed.tx, outcome=Outcome.REVERTED))
    assert [claim.succeeded for claim in claims([reverted], {}, 90)] == [False]


def test_a_slot_that_becomes_final_in_one_look_claims_the_receipt_just_read() -> None:
    found = receipt(MINED_AT, succeeded=False)
    [claim] = claims([slot(TxState.BROADCAST)], {found.tx_hash: found}, 95)
    assert (claim.block, claim.succeeded) == (MINED_AT, False)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (receipt(MINED_AT), NO_DOUBTS),
        (receipt(MINED_AT, succeeded=False), Doubts(refuted=frozenset({TxId(1)}))),
        (receipt(block(90, fork=7)), Doubts(refuted=frozenset({TxId(1)}))),
        (None, Doubts(refuted=frozenset({TxId(1)}))),
    ],
    ids=["the same", "another outcome", "another block", "no receipt"],
)
async def test_a_claim_is_borne_out_by_the_same_receipt_only(found: Receipt | None, expected: Doubts) -> None:
    made = claims([slot(TxState.CONFIRMED, at=MINED_AT)], {}, 95)
    assert await doubts(witness(receipt=found), made) == expected


@pytest.mark.parametrize("height", [90, 99])
async def test_a_receipt_that_is_not_told_refutes_nothing_while_the_block_may_hold_the_transaction(height: int) -> None:
    made = [replace(one, block=block(height)) for one in claims([slot(TxState.CONFIRMED, at=MINED_AT)], {}, 95)]
    found = await doubts(witness(receipt=None, holds=tx_hash(1)), made)
    if height == MINED_AT.number:
        assert found == Doubts(open=frozenset({TxId(1)}))
    else:
        assert found == Doubts(refuted=frozenset({TxId(1)}))


async def test_endpoints_that_do_not_agree_leave_a_claim_open_and_refute_nothing() -> None:
    made = claims([slot(TxState.CONFIRMED, at=MINED_AT)], {}, 95)
    assert await doubts(witness(agree=False), made) == Doubts(open=frozenset({made[0].tx_id}))


async def test_a_single_endpoint_is_its_own_witness() -> None:
    assert await doubts(None, claims([slot(TxState.CONFIRMED, at=MINED_AT)], {}, 95)) == NO_DOUBTS
    assert await is_overtaken(witness(nonce=6), None, slot(TxState.BROADCAST), final_height=95)


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        ({"nonce": 6}, True),
        ({"nonce": 5}, False),
        ({"nonce": 6, "receipt": receipt(MINED_AT)}, False),
        ({"agree": False}, False),
        ({"nonce": 6, "holds": tx_hash(1)}, False),
        ({"nonce": 6, "has_old_states": False}, True),
    ],
    ids=["used by another", "not used", "a receipt after all", "no agreement", "ours without a receipt", "pruned"],
)
async def test_a_nonce_is_lost_to_others_only_by_the_word_of_all(says: dict[str, Any], expected: bool) -> None:
    open_slot = slot(TxState.BROADCAST)
    assert await is_overtaken(witness(), witness(**says), open_slot, final_height=95) is expected
    assert await is_overtaken(witness(**says), None, open_slot, final_height=95) is expected


@pytest.mark.parametrize("doubt", [Doubts(open=frozenset({TxId(1)})), Doubts(refuted=frozenset({TxId(1)}))])
def test_a_doubted_slot_stays_confirmed_however_deep_it_is(doubt: Doubts) -> None:
    deep = look(head=200, final=150)
    confirmed = slot(TxState.CONFIRMED, at=MINED_AT)
    assert [step.change for step in decide(confirmed, deep, NOW).steps] == [Change.FINAL]
    assert decide(confirmed, replace(deep, doubts=doubt), NOW).steps == ()
