"""Sending to a node that is still writing down the block before."""

from typing import Any, cast

import pytest

from scripts.devnet.calls import NONCE_TRIES, submit_raw
from scripts.devnet.rpc import DevRpc, RpcError

SENDER = "0x00000000219ab540356cBB839Cbe05303d7705Fa"


class Refusing:
    """Refuses the first transactions with one message, then takes them."""

    def __init__(self, message: str, *, times: int) -> None:
        self.message = message
        self.left = times
        self.asked = 0

    def __call__(self, method: str, *params: Any) -> str:
        self.asked += 1
        if self.left == 0:
            return "0xhash"
        self.left -= 1
        raise RpcError(method, code=-32003, message=self.message)


def submit(node: Refusing) -> str:
    return submit_raw(cast("DevRpc", node), None, data=b"", sender=SENDER)


def test_a_nonce_that_is_behind_its_receipt_is_asked_for_again() -> None:
    assert submit(Refusing("nonce too low", times=2)) == "0xhash"


@pytest.mark.parametrize(
    ("message", "asked"), [("nonce too low", NONCE_TRIES), ("insufficient funds", 1)], ids=["for ever", "other"]
)
def test_any_other_refusal_and_one_that_stays_are_raised(message: str, asked: int) -> None:
    node = Refusing(message, times=NONCE_TRIES)
    with pytest.raises(RpcError, match=message):
        submit(node)
    assert node.asked == asked
