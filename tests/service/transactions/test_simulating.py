"""What a simulation of a call is judged by, and that what it does not tell is never taken for nothing."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from chains.client import SimLog, SimResult
from chains.errors import MethodUnavailable
from chains.types import Address, BlockHash, CallRequest, Header, address_bytes
from contracts.abi import load_abi
from service.errors import ApiError
from service.transactions.simulating import Allowed, Outcome, refusal, simulate
from tests.service.trading_seed import ASSETS, BOB, CONFIG, DEPLOYMENTS, USDC
from tests.service.transactions.seed import AMOUNT, VAULT

WALLET = Address("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
HEAD = Header(
    number=7, hash=BlockHash("0x" + "11" * 32), parent_hash=BlockHash("0x" + "22" * 32), timestamp_s=1, base_fee_wei=1,
    gas_limit=30_000_000,
)  # fmt: skip
ALLOWED = Allowed(contract=VAULT, most={USDC.id: AMOUNT}, approvals={USDC.id: AMOUNT})
CALL = CallRequest(to=VAULT, data=bytes(4))


def approved(spender: Address, amount: int) -> SimLog:
    words = (bytes(12) + address_bytes(one) for one in (WALLET, spender))
    topics = (load_abi("erc20").event("Approval").topic, *words)
    return SimLog(address=USDC.token_address, topics=topics, data=amount.to_bytes(32, "big"))


@dataclass(slots=True, kw_only=True)
class Node:
    """A wallet with 100 USDC, of which the call takes `taken`."""

    taken: int = 0
    logs: tuple[SimLog, ...] | None = ()
    allowance: int = 0
    fails: bool = False
    unreadable: bool = False
    config: Any = CONFIG
    assets: Any = ASSETS
    deployments: Any = DEPLOYMENTS
    asked: list[CallRequest] = field(default_factory=list)

    @property
    def client(self) -> Any:
        return self

    async def simulate(self, calls: list[CallRequest], **_: Any) -> list[SimResult]:
        self.asked += calls
        reads = [call for call in calls if call != CALL]
        before, after = reads[: len(reads) // 2], reads[len(reads) // 2 :]
        done = SimResult(succeeded=not self.fails, gas_used=50_000, output=b"", reason="no", logs=self.logs)
        return [*(self._balance(one, 0) for one in before), done, *(self._balance(one, self.taken) for one in after)]

    async def call(self, request: CallRequest, **_: Any) -> bytes:
        return self.allowance.to_bytes(32, "big")

    def _balance(self, read: CallRequest, taken: int) -> SimResult:
        raw = 100_000_000 - taken if read.to == USDC.token_address else 5
        ok = not (self.unreadable and read.to == USDC.token_address)
        return SimResult(succeeded=ok, gas_used=1, output=raw.to_bytes(32, "big"), logs=())


async def tried(node: Node) -> Outcome:
    return await simulate(node, WALLET, [CALL], allowed=ALLOWED, head=HEAD)


async def judged(node: Node) -> ApiError | None:
    return refusal(await tried(node), allowed=ALLOWED, assets=ASSETS)


async def test_what_leaves_within_what_is_declared_is_fine() -> None:
    outcome = await tried(Node(taken=AMOUNT))
    assert outcome.changes == {USDC.id: -AMOUNT}
    assert outcome.gas_limit > 50_000
    assert refusal(outcome, allowed=ALLOWED, assets=ASSETS) is None
    assert await judged(Node(taken=-1)) is None


async def test_one_base_unit_more_is_refused() -> None:
    refused = await judged(Node(taken=AMOUNT + 1))
    assert refused is not None
    assert (refused.code, refused.message) == ("out_too_large", "25.000001 USDC would leave, and 25 may")


@pytest.mark.parametrize(
    ("log", "allowance", "ok"),
    [
        (approved(VAULT, AMOUNT), 0, True),
        (approved(VAULT, AMOUNT + 1), 0, False),
        (approved(BOB, 1), 0, False),
        (approved(BOB, 2**256 - 1), 0, False),
        # It stood before, and went down: the token tells of that too.
        (approved(BOB, 5), 6, True),
        (approved(BOB, 0), 0, True),
    ],
)
async def test_an_allowance_beyond_what_is_declared_is_refused(log: SimLog, allowance: int, ok: bool) -> None:
    refused = await judged(Node(logs=(log,), allowance=allowance))
    assert (refused is None) == ok


@pytest.mark.parametrize(
    ("node", "code"),
    [
        (Node(logs=None), "simulation_unavailable"),
        (Node(fails=True), "would_revert"),
        (Node(unreadable=True), "balance_unknown"),
    ],
)
async def test_what_a_simulation_does_not_tell_is_an_error(node: Node, code: str) -> None:
    with pytest.raises(ApiError) as refused:
        await tried(node)
    assert refused.value.code == code


async def test_a_node_without_simulation_gets_no_calls() -> None:
    class Old(Node):
        async def simulate(self, calls: list[CallRequest], **_: Any) -> list[SimResult]:
            raise MethodUnavailable("no such method", endpoint="one", method="eth_simulateV1", code=-32601)

    with pytest.raises(ApiError) as refused:
        await tried(Old())
    assert refused.value.code == "simulation_unavailable"
