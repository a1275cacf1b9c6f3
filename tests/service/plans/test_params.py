"""The fingerprint by which a repeated request is told from a conflicting one."""

from service.plans.funds import needs
from service.plans.params import params_hash
from tests.service.books_seed import ETH, USDC


def test_the_same_parameters_in_any_order_have_the_same_hash() -> None:
    assert params_hash("order", {"a": 1, "b": None}) == params_hash("order", {"b": None, "a": 1})


def test_every_difference_changes_the_hash() -> None:
    hashes = {
        params_hash("order", {"a": 1, "b": None}),
        params_hash("withdrawal", {"a": 1, "b": None}),
        params_hash("order", {"a": 2, "b": None}),
        params_hash("order", {"a": 1, "b": "x"}),
        params_hash("order", {"a": 1}),
        params_hash("order", {"a": None, "b": 1}),
    }
    assert len(hashes) == 6


def test_amounts_above_what_json_keeps_exact_differ() -> None:
    assert params_hash("order", {"a": 2**255}) != params_hash("order", {"a": 2**255 + 1})


def test_what_is_sent_and_what_pays_the_gas_add_up_for_the_same_asset() -> None:
    assert needs((USDC, 5), (ETH, 2)) == {USDC: 5, ETH: 2}
    assert needs((ETH, 5), (ETH, 2)) == {ETH: 7}
