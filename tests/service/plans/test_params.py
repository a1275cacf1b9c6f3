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
        params_hash("order", {"a": None, "b": 1}),
    }
    assert len(hashes) == 5


def test_a_parameter_that_a_later_version_adds_changes_no_hash_unless_it_is_given() -> None:
    before = params_hash("order", {"a": 1})
    assert params_hash("order", {"a": 1, "venue": None}) == before
    assert params_hash("order", {"a": 1, "venue": "uniswap_v2"}) != before


def test_the_hash_is_the_same_for_ever() -> None:
    kept = "0xdd0c400bdf4e3b8545008ffe5f36a6f4f0a8d6b8b4add3b862f3cd91810f1227"
    assert params_hash("order", {"chain_id": 1, "market": "ETHUSDC", "base_amount": 10**18, "venue": None}) == kept


def test_amounts_above_what_json_keeps_exact_differ() -> None:
    assert params_hash("order", {"a": 2**255}) != params_hash("order", {"a": 2**255 + 1})


def test_what_is_sent_and_what_pays_the_gas_add_up_for_the_same_asset() -> None:
    assert needs((USDC, 5), (ETH, 2)) == {USDC: 5, ETH: 2}
    assert needs((ETH, 5), (ETH, 2)) == {ETH: 7}
