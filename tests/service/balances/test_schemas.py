"""The answers as documents: examples that are true to the model, and reports as clients read them."""

from typing import Any

import pytest

from chains.types import ChainId
from contracts.assets import AssetId, load_assets
from service.balances.schemas import BalancesAnswer, ReconciliationAnswer, reconciliation_answer
from service.journal.reconcile import ChainReport, Row, Unknown, Verdict
from service.markets.schemas import Document
from tests.service.books_seed import address_of, block_at

USDC = load_assets(ChainId(1)).by_symbol("USDC")


def row(**values: Any) -> Row:
    known: dict[str, Any] = {
        "asset_id": USDC.id,
        "asset": USDC,
        "opening": 1_000_000_000,
        "journal": -250_250_000,
        "expected": 749_750_000,
        "chain": 749_750_000,
        "unexplained": 0,
        "verdict": Verdict.OK,
    }
    return Row(**{**known, **values})


def answer(*rows: Row, why: Unknown | None = None) -> ReconciliationAnswer:
    report = ChainReport(key="ethereum", cursor=block_at(7), rows=rows, why=why)
    return reconciliation_answer(report, wallet=address_of(1))


@pytest.mark.parametrize("model", [BalancesAnswer, ReconciliationAnswer])
def test_the_examples_of_the_api_page_are_answers_that_can_be_given(model: type[Document]) -> None:
    extra: Any = model.model_config["json_schema_extra"]
    for example in extra["examples"]:
        assert model.model_validate(example).model_dump() == example


def test_a_report_is_shown_in_whole_units_with_its_signs() -> None:
    shown = answer(row()).assets[0]
    assert (shown.opening, shown.journal, shown.expected, shown.chain) == ("1000", "-250.25", "749.75", "749.75")
    assert (shown.asset, shown.asset_id, shown.unexplained, shown.verdict) == ("USDC", USDC.id, "0", "ok")


def test_an_amount_that_nobody_booked_is_shown() -> None:
    shown = answer(row(chain=849_750_000, unexplained=100_000_000, verdict=Verdict.UNEXPLAINED))
    assert shown.verdict == "unexplained"
    assert shown.assets[0].unexplained == "100"


def test_an_asset_that_is_no_longer_listed_shows_no_amounts_and_says_why() -> None:
    gone = row(
        asset_id=AssetId("eip155:1/erc20:gone"),
        asset=None,
        chain=None,
        unexplained=None,
        verdict=Verdict.UNKNOWN,
        why=Unknown.NOT_LISTED,
    )
    shown = answer(row(), gone)
    assert shown.verdict == "unknown"
    assert (shown.assets[1].asset, shown.assets[1].opening, shown.assets[1].why) == (None, None, "not_listed")


def test_a_chain_that_could_not_be_read_says_why() -> None:
    unread = row(chain=None, unexplained=None, verdict=Verdict.UNKNOWN, why=Unknown.STATE_UNAVAILABLE)
    shown = answer(unread, why=Unknown.STATE_UNAVAILABLE)
    assert (shown.verdict, shown.why, shown.block and shown.block.number) == ("unknown", "state_unavailable", 7)
    assert shown.assets[0].chain is None
