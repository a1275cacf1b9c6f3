"""Functions, arguments and results of contract calls as clients write them."""

from typing import Any

import pytest

from chains.types import Address
from contracts.abi import Param, decode_output, encode_call
from service.markets.abi_text import InvalidCall, arguments, parse_function, parse_sent_function, result

ALICE = "0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045"


@pytest.mark.parametrize(
    "text",
    [
        "balanceOf(address)(uint256)",
        "function balanceOf(address owner) external view returns (uint256 balance)",
        "function balanceOf(address owner) view returns (uint balance);",
        "  balanceOf ( address ) ( uint )  ",
    ],
)
def test_every_way_of_writing_a_signature_gives_the_same_selector(text: str) -> None:
    function = parse_function(text)
    assert function.signature == "balanceOf(address)"
    assert function.selector.hex() == "70a08231"
    assert [param.type for param in function.outputs] == ["uint256"]


def test_a_signature_with_tuples_and_arrays_is_read() -> None:
    function = parse_function(
        "function quote((address tokenIn, uint24 fee) params, bytes32[2] keys, tuple(int128 a)[] rows)"
        " pure returns (uint256[] amounts)"
    )
    assert function.signature == "quote((address,uint24),bytes32[2],(int128)[])"


def test_a_json_abi_entry_is_read() -> None:
    entry = {
        "type": "function",
        "name": "balanceOf",
        "stateMutability": "view",
        "inputs": [{"name": "owner", "type": "address"}],
        "outputs": [{"name": "", "type": "uint256"}],
    }
    assert parse_function(entry).selector.hex() == "70a08231"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "balanceOf",
        "balanceOf(address",
        "balanceOf(address))",
        "balanceOf(address)(uint256) nonsense",
        "balanceOf(address) maybe returns (uint256)",
        "balanceOf(adress)(uint256)",
        "balanceOf(address)(uint256); drop()",
        "f(" + "(" * 20 + "uint256" + ")" * 20 + ")",
        "f(uint256" + ",uint256" * 400 + ")",
        "(address)",
        "f(,uint256)",
        "f(uint257)",
    ],
)
def test_a_malformed_signature_is_refused(text: str) -> None:
    with pytest.raises(InvalidCall):
        parse_function(text)


@pytest.mark.parametrize(
    "function",
    [
        "function approve(address a, uint256 b) payable returns (bool)",
        {"name": "approve", "stateMutability": "nonpayable", "inputs": [], "outputs": []},
    ],
)
def test_a_function_that_changes_state_is_refused(function: Any) -> None:
    with pytest.raises(InvalidCall, match="not view"):
        parse_function(function)


def test_arguments_are_read_by_their_types() -> None:
    function = parse_function("f(uint256,int8,bool,address,bytes,string,uint256[],(address a,uint24 b))()")
    values = ["10", "-5", True, ALICE, "0x0a", "hello", ["1", "2"], {"a": ALICE, "b": "500"}]
    got = arguments(function, values)
    assert got == [10, -5, True, ALICE, b"\x0a", "hello", [1, 2], (ALICE, 500)]
    assert encode_call(function, *got)[:4] == function.selector


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("uint256", 10),
        ("uint256", "1e18"),
        ("uint256", "0x10"),
        ("uint256", " 1"),
        ("uint256", True),
        ("bool", "true"),
        ("address", ALICE.lower().replace("d8", "D8", 1)),
        ("address", "vitalik.eth"),
        ("address", None),
        ("bytes32", "0xabc"),
        ("bytes", "abcd"),
        ("string", 5),
        ("uint256[]", "1"),
        ("(address a,uint24 b)", {"a": ALICE}),
        ("(address a,uint24 b)", [ALICE]),
    ],
)
def test_an_argument_of_another_kind_is_refused(type_: str, value: Any) -> None:
    with pytest.raises(InvalidCall, match="argument 0"):
        arguments(parse_function(f"f({type_})()"), [value])


def test_a_wrong_number_of_arguments_is_refused() -> None:
    with pytest.raises(InvalidCall, match="takes 1 arguments"):
        arguments(parse_function("balanceOf(address)(uint256)"), [])


def test_results_carry_integers_as_text_and_named_tuples_as_objects() -> None:
    function = parse_function("f()(uint256,bool,bytes4,address,string,int24[],(uint8 a,address b),(uint8,uint8))")
    back = parse_function("g(uint256,bool,bytes4,address,string,int24[],(uint8 a,address b),(uint8,uint8))()")
    values = (2**255, True, b"\x01\x02\x03\x04", ALICE, "hi", (-1, 2), (7, ALICE), (1, 2))
    decoded = decode_output(function, encode_call(back, *values)[4:])
    shown = [result(param, value) for param, value in zip(function.outputs, decoded, strict=True)]
    assert shown == [
        str(2**255), True, "0x01020304", ALICE, "hi", ["-1", "2"], {"a": "7", "b": ALICE}, ["1", "2"]
    ]  # fmt: skip


def test_an_address_result_is_checksummed() -> None:
    assert result(Param(name="", type="address"), Address(ALICE)) == ALICE


def test_a_function_that_only_reads_is_not_sent() -> None:
    assert parse_sent_function("deposit(uint256)").selector.hex() == "b6b55f25"
    assert parse_sent_function("function deposit(uint256 assets) external payable").selector.hex() == "b6b55f25"
    for text in ("slot0() view", {"name": "f", "inputs": [], "constant": True}):
        with pytest.raises(InvalidCall):
            parse_sent_function(text)
