"""The table of node wordings: a real message for every row, and the order that keeps contract texts out of it."""

import json
import re
import time
from pathlib import Path
from typing import Final

import pytest

from chains.node_errors import MAX_PHRASES, WORDINGS, InvalidPhrase, NodeErrors, SendVerdict, classify

V = SendVerdict

MESSAGES: list[tuple[SendVerdict, str]] = [
    (V.REVERTED, "execution reverted: fwd: nonce too low"),
    (V.REVERTED, "execution reverted: ERC20: transfer amount exceeds balance"),
    (V.REVERTED, "execution reverted: insufficient funds for gas"),
    (V.REVERTED, "Transaction reverted: already known"),
    (V.REVERTED, "VM Exception: Execution reverted"),
    (V.ALREADY_KNOWN, "already known"),
    (V.ALREADY_KNOWN, "known transaction: 0xabcdef"),
    (V.ALREADY_KNOWN, "Known transaction"),
    (V.ALREADY_KNOWN, "AlreadyKnown"),
    (V.ALREADY_KNOWN, "transaction already imported"),
    (V.ALREADY_KNOWN, "Transaction with the same hash was already imported."),
    (V.ALREADY_KNOWN, "tx already exists in cache"),
    (V.REPLACE_UNDERPRICED, "OwnNonceAlreadyUsed"),
    (V.REPLACE_UNDERPRICED, "replacement transaction underpriced"),
    (V.REPLACE_UNDERPRICED, "Replacement transaction underpriced"),
    (V.REPLACE_UNDERPRICED, "future transaction tries to replace pending"),
    (V.NONCE_TOO_LOW, "nonce too low"),
    (V.NONCE_TOO_LOW, "nonce too low: address 0xAb, tx: 4 state: 5"),
    (V.NONCE_TOO_LOW, "OldNonce, Current nonce: 5, nonce of rejected tx: 4"),
    (V.NONCE_TOO_LOW, "nonce has already been used"),
    (V.NONCE_TOO_LOW, "invalid transaction nonce"),
    (V.NONCE_TOO_HIGH, "nonce too high: address 0xAb, tx: 638 state: 5"),
    (V.NONCE_TOO_HIGH, "NonceGap, Future nonce. Expected nonce: 5"),
    (V.NONCE_TOO_HIGH, "nonce too far in the future"),
    (V.NONCE_TOO_HIGH, "tx nonce exceeds next nonce"),
    (V.NONCE_TOO_HIGH, "nonce out of range"),
    (V.POOL_LIMIT, "txpool is full"),
    (V.POOL_LIMIT, "account limit exceeded: pooled 64 txs"),
    (V.POOL_LIMIT, "in-flight transaction limit reached for delegated accounts"),
    (V.POOL_LIMIT, "gapped-nonce tx from delegated accounts"),
    (V.POOL_LIMIT, "address already reserved"),
    (V.POOL_LIMIT, "Too Many Requests"),
    (V.PERMANENT, "max priority fee per gas higher than max fee per gas: address 0xAb"),
    (V.UNDERPRICED, "transaction underpriced"),
    (V.UNDERPRICED, "transaction gas price below minimum: gas tip cap 1000, minimum needed 25000000000"),
    (V.UNDERPRICED, "transaction underpriced: gas tip cap 1, minimum needed 25000000000"),
    (V.UNDERPRICED, "max fee per gas less than block base fee: address 0xAb"),
    (V.UNDERPRICED, "FeeTooLow, MaxFeePerGas too low"),
    (V.UNDERPRICED, "FeeTooLowToCompete"),
    (V.UNDERPRICED, "Gas price below configured minimum gas price"),
    (V.UNDERPRICED, "gas price too low"),
    (V.FEE_CAP_NODE, "tx fee (1.10 ether) exceeds the configured cap (1.00 ether)"),
    (V.FEE_CAP_NODE, "Transaction fee cap exceeded"),
    (V.INSUFFICIENT_FUNDS, "insufficient funds for gas * price + value: balance 0, tx cost 1, overshot 1"),
    (V.INSUFFICIENT_FUNDS, "Insufficient funds for gas * price + value"),
    (V.INSUFFICIENT_FUNDS, "insufficient funds for transfer"),
    (V.INSUFFICIENT_FUNDS, "transaction would cause overdraft"),
    (V.INSUFFICIENT_FUNDS, "gas required exceeds allowance (0)"),
    (V.INSUFFICIENT_FUNDS, "InsufficientFunds, Account balance: 0"),
    (V.INSUFFICIENT_FUNDS, "Upfront cost exceeds account balance"),
    (V.PERMANENT, "exceeds block gas limit"),
    (V.PERMANENT, "intrinsic gas too low: gas 100, minimum needed 21000"),
    (V.PERMANENT, "intrinsic gas too high -- tx.gas_limit > env.block.gas_limit"),
    (V.PERMANENT, "oversized data: transaction size 200000, limit 131072"),
    (V.PERMANENT, "invalid sender"),
    (V.PERMANENT, "negative value"),
    (V.PERMANENT, "gas uint64 overflow"),
    (V.PERMANENT, "insufficient gas for floor data gas cost: gas 1, minimum needed 2"),
    (V.PERMANENT, "max initcode size exceeded"),
    (V.PERMANENT, "only replay-protected (EIP-155) transactions allowed over RPC"),
    (V.PERMANENT, "invalid chain id for signer: have 1 want 137"),
    (V.PERMANENT, "SenderIsContract"),
    (V.PERMANENT, "GasLimitExceeded"),
    (V.PERMANENT, "Invalid"),
    (V.PERMANENT, "Intrinsic gas exceeds gas limit"),
    (V.UNKNOWN, "unknown transaction"),
    (V.UNKNOWN, "header not found"),
    (V.UNKNOWN, "transaction indexing is in progress"),
    (V.UNKNOWN, "Internal error"),
    (V.UNKNOWN, "<html><body>503 Service Temporarily Unavailable</body></html>"),
    (V.UNKNOWN, ""),
]


CORPUS: Final = json.loads((Path(__file__).parent / "data" / "node_errors.json").read_text())
"""Texts of clients' sources and of hosted endpoints, each with where it is from and the class it must get."""


@pytest.mark.parametrize(("verdict", "message"), MESSAGES, ids=[message[:40] or "empty" for _, message in MESSAGES])
def test_a_message_gets_its_verdict(verdict: SendVerdict, message: str) -> None:
    assert classify(-32000, message) is verdict


@pytest.mark.parametrize("row", WORDINGS, ids=lambda row: row.pattern)
def test_every_row_is_met_by_a_real_message_and_names_its_client(row: object) -> None:
    pattern, verdict, client = row.pattern, row.verdict, row.client  # type: ignore[attr-defined]
    assert client
    met = [*MESSAGES, *((SendVerdict(entry["class"]), entry["text"]) for entry in CORPUS)]
    assert any(verdict is known and re.search(pattern, message.lower()) for known, message in met)


@pytest.mark.parametrize("entry", CORPUS, ids=lambda entry: f"{entry['client']}: {entry['text'][:50]}")
def test_every_text_of_the_corpus_gets_its_class(entry: dict[str, str | int]) -> None:
    assert classify(int(entry["code"]), str(entry["text"])) is SendVerdict(str(entry["class"]))


@pytest.mark.parametrize("entry", CORPUS, ids=lambda entry: f"{entry['client']}: {entry['text'][:50]}")
def test_no_text_of_a_contract_is_taken_for_a_nodes(entry: dict[str, str | int]) -> None:
    assert classify(3, str(entry["text"])) is V.REVERTED
    assert classify(-32000, f"execution reverted: {entry['text']}") is V.REVERTED


def test_the_corpus_is_large_and_says_where_each_text_is_from() -> None:
    assert len(CORPUS) >= 150
    assert all(entry["client"] and entry["source"] for entry in CORPUS)
    assert len({(entry["client"], entry["text"], entry["code"]) for entry in CORPUS}) == len(CORPUS)
    assert {entry["class"] for entry in CORPUS} == {verdict.value for verdict in SendVerdict}


def test_the_code_of_a_revert_outweighs_any_text() -> None:
    assert classify(3, "nonce too low") is V.REVERTED


def test_a_limit_code_speaks_where_the_text_is_not_known() -> None:
    assert classify(-32005, "daily credits are gone") is V.POOL_LIMIT
    assert classify(None, "daily credits are gone") is V.UNKNOWN


def test_wording_that_a_gateway_put_into_data_is_read_there() -> None:
    assert classify(-32010, "Internal error", "AlreadyKnown") is V.ALREADY_KNOWN
    assert classify(-32010, "Internal error", "0xdeadbeef") is V.UNKNOWN
    assert classify(-32010, "Internal error", {"reason": "AlreadyKnown"}) is V.UNKNOWN


# -- an operator's phrases ------------------------------------------------------------------------------------


def test_a_phrase_names_a_text_that_no_row_knows_and_only_for_sends() -> None:
    text = "Tx sits in the  mempool CACHE (0xab), again"
    errors = NodeErrors.of({"already_known": ["tx sits in * cache * again"], "pool_limit": ["shard is busy"]})
    assert classify(-32000, text) is V.UNKNOWN
    assert errors.classify_send(-32000, text) is V.ALREADY_KNOWN
    assert errors.classify_send(-32603, "Internal error", "the shard is busy") is V.POOL_LIMIT
    assert errors.classify_send(-32000, "again, a cache: tx sits in") is V.UNKNOWN
    assert errors.classify_send(-32005, "no words") is V.POOL_LIMIT


def test_a_phrase_does_not_overrule_the_table_or_a_contracts_revert() -> None:
    errors = NodeErrors.of({"already_known": ["nonce too low", "sequencer says hi"]})
    assert errors.classify_send(-32000, "nonce too low") is V.NONCE_TOO_LOW
    assert errors.classify_send(-32000, "execution reverted: sequencer says hi") is V.REVERTED
    assert errors.classify_send(3, "sequencer says hi") is V.REVERTED


@pytest.mark.parametrize("name", ["permanent", "reverted", "unknown", "PERMANENT", "final", ""])
def test_a_phrase_cannot_end_a_transaction(name: str) -> None:
    with pytest.raises(InvalidPhrase, match="may mean already_known"):
        NodeErrors.of({name: ["this chain is closed"]})


@pytest.mark.parametrize("phrase", ["", "*", "error", "a * b * c", "x" * 201, "tab\there in it"])
def test_a_phrase_that_is_too_short_too_long_or_not_printable_is_refused(phrase: str) -> None:
    with pytest.raises(InvalidPhrase):
        NodeErrors.of({"underpriced": [phrase]})


def test_too_many_phrases_are_refused() -> None:
    with pytest.raises(InvalidPhrase, match="at most"):
        NodeErrors.of({"underpriced": [f"phrase number {n}" for n in range(MAX_PHRASES + 1)]})


def test_the_worst_phrase_takes_no_time_on_the_worst_text() -> None:
    errors = NodeErrors.of({"underpriced": ["*".join(["a" * 6] * 28)] * MAX_PHRASES})
    # Of this thread's own work: what others do on the machine is none of it.
    started_s = time.thread_time()
    assert errors.classify_send(-32000, "a" * 160 + "b" * 440) is V.UNKNOWN
    assert time.thread_time() - started_s < 1
