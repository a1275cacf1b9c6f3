"""The deposit address as a document."""

from typing import Any

from service.deposits.schemas import NOTE, DepositAddressAnswer


def test_the_example_of_the_api_page_is_an_answer_that_can_be_given() -> None:
    extra: Any = DepositAddressAnswer.model_config["json_schema_extra"]
    (example,) = extra["examples"]
    assert DepositAddressAnswer.model_validate(example).model_dump() == example


def test_the_answer_says_that_deposits_show_as_unexplained() -> None:
    assert "unexplained in the reconciliation" in NOTE
