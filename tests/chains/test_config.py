"""Chains as data: what comes configured, what an operator may add, and what is refused with a reason."""

from pathlib import Path

import pytest

from chains.config import FeePolicy, FinalityPolicy, InvalidChainConfig, SendingPolicy, find_chain, load_chains
from chains.node_errors import SendVerdict

BASE = """
[base]
chain_id = 8453
name = "Base"
native_symbol = "ETH"
native_slip44 = 60
wrapped_native = "0x4200000000000000000000000000000000000006"
block_time_ms = 2000
aliases = ["basechain"]
[base.fees]
max_fee_cap_wei = "100000000000"
priority_floor_wei = "1000000"
priority_cap_wei = "1000000000"
max_tx_cost_wei = "10000000000000000"
[base.finality]
confirmed_depth = 5
use_finalized_tag = true
min_final_depth = 10
"""


def load(tmp_path: Path, text: str) -> object:
    file = tmp_path / "chains.toml"
    file.write_text(text)
    return load_chains(file)


def test_ethereum_and_polygon_come_configured() -> None:
    chains = load_chains()
    ethereum, polygon = chains["ethereum"], chains["polygon"]
    assert (ethereum.chain_id, ethereum.native_symbol, ethereum.finality.confirmed_depth) == (1, "ETH", 2)
    assert (polygon.chain_id, polygon.native_symbol, polygon.poa) == (137, "POL", True)
    assert polygon.fees.priority_floor_wei == 30 * 10**9
    assert polygon.finality == FinalityPolicy(confirmed_depth=16, use_finalized_tag=True, min_final_depth=256)


def test_a_chain_is_found_by_key_or_alias() -> None:
    chains = load_chains()
    assert find_chain(chains, "matic") is chains["polygon"]
    assert find_chain(chains, "ethereum") is chains["ethereum"]
    assert find_chain(chains, "solana") is None


def test_an_operator_adds_a_chain(tmp_path: Path) -> None:
    file = tmp_path / "more.toml"
    file.write_text(BASE)
    chains = load_chains(file)
    assert set(chains) == {"ethereum", "polygon", "base"}
    assert chains["base"].poa is False
    assert chains["base"].sending == SendingPolicy()


def test_an_operator_overrides_one_value_and_keeps_the_others(tmp_path: Path) -> None:
    file = tmp_path / "over.toml"
    file.write_text('[ethereum.fees]\nmax_fee_cap_wei = "90000000000"\n')
    chains = load_chains(file)
    assert chains["ethereum"].fees.max_fee_cap_wei == 90 * 10**9
    assert chains["ethereum"].fees.priority_floor_wei == load_chains()["ethereum"].fees.priority_floor_wei


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("chain_id = 8453", "", r"\[base\] chain_id: missing"),
        ("chain_id = 8453", "chain_id = 1", "is also that of"),
        ("chain_id = 8453", "chain_id = true", "whole number"),
        ("chain_id = 8453", "chain_id = 0", "at least 1"),
        ('aliases = ["basechain"]', 'aliases = ["eth"]', "also used by"),
        ('aliases = ["basechain"]', 'aliases = ["Two Words"]', "not a chain name"),
        ('"100000000000"', "100000000000", "wei as text"),
        ('"100000000000"', '"1e11"', "wei as text"),
        ('"1000000"', '"9000000000"', "priority_floor_wei <= priority_cap_wei"),
        ("0x4200000000000000000000000000000000000006", "0x42", "40 hex digits"),
        ("confirmed_depth = 5", "confirmed_depth = 0", "at least 1"),
        ("confirmed_depth = 5", "confirmed_depth = 50", "min_final_depth"),
        ("use_finalized_tag = true", 'use_finalized_tag = "yes"', "true or false"),
        ("min_final_depth = 10", "min_final_depth = 10\nreorg_depth = 3", "reorg_depth: unknown key"),
        ("block_time_ms = 2000", "block_time_ms = 2000\nfinalty = 3", "finalty: unknown key"),
        ("[base.finality]", "[base.finality", "not TOML"),
        ("[base]\n", "[Base]\n", "lower-case"),
        ("[base.finality]", "[base.sending]\nmax_in_flight = 0\n[base.finality]", "at least 1"),
        ("[base.finality]", "[base.sending]\nbump_after_blocks = 0\n[base.finality]", "at least 1"),
        ("[base.finality]", "[base.sending]\nmax_bumps = 21\n[base.finality]", "0 to 20"),
        ("[base.finality]", "[base.sending]\nbumps = 2\n[base.finality]", "bumps: unknown key"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, before: str, after: str, says: str) -> None:
    assert before in BASE
    with pytest.raises(InvalidChainConfig, match=says):
        load(tmp_path, BASE.replace(before, after))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidChainConfig, match=r"nowhere\.toml cannot be read"):
        load_chains(tmp_path / "nowhere.toml")


def test_a_value_outside_a_table_is_not_a_chain(tmp_path: Path) -> None:
    with pytest.raises(InvalidChainConfig, match="not a chain table"):
        load(tmp_path, "chain_id = 5")


def test_caps_of_zero_are_refused() -> None:
    with pytest.raises(InvalidChainConfig, match="at least 1"):
        FeePolicy(max_fee_cap_wei=0, priority_floor_wei=0, priority_cap_wei=0, max_tx_cost_wei=1)


def test_an_operators_phrases_for_refusals_are_read(tmp_path: Path) -> None:
    file = tmp_path / "more.toml"
    file.write_text('[polygon.node_errors]\nalready_known = ["tx sits in the cache"]\n')
    polygon = load_chains(file)["polygon"]
    assert polygon.node_errors.classify_send(-32000, "Tx sits in the cache") is SendVerdict.ALREADY_KNOWN


@pytest.mark.parametrize(
    "line", ['permanent = ["chain is closed"]', 'underpriced = "a text"', "underpriced = [1]", 'underpriced = ["*"]']
)
def test_phrases_that_cannot_be_used_are_refused_with_their_place(tmp_path: Path, line: str) -> None:
    with pytest.raises(InvalidChainConfig, match=r"\[polygon.node_errors\]"):
        load(tmp_path, f"[polygon.node_errors]\n{line}\n")
