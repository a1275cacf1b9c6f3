"""The assembler: words to bytes, places to offsets, and what is no program."""

import pytest

from contracts.balances.assembler import assemble


def test_words_become_bytes() -> None:
    assert assemble("PUSH1 0x40  DUP2 SWAP1 ADD ; a comment with PUSH1 in it\n RETURN").hex() == "60408190" + "01f3"
    assert assemble("PUSH20 0xEeeeeEeeeEeEeeEeEeEeeEEEeeeeEeeeeeeeEEeE").hex() == "73" + "ee" * 20
    assert assemble("PUSH2 258  DUP16 SWAP16").hex() == "6101028f9f"


def test_a_place_is_pushed_as_two_bytes_before_or_behind() -> None:
    assert assemble("start: JUMPDEST PUSH end JUMPI PUSH start JUMP end:").hex() == "5b61000957" + "61000056"


@pytest.mark.parametrize(
    "listing",
    ["NOSUCH", "PUSH1 256", "PUSH1", "PUSH33 1", "DUP17", "SWAP0", "PUSH nowhere", "here: here:", "PUSH1 x", "PUSH"],
)
def test_what_is_no_program_is_refused(listing: str) -> None:
    with pytest.raises(ValueError, match=r"'|twice"):
        assemble(listing)
