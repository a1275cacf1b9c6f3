"""Whether plans would succeed now, one after the other, and how much gas each step may use.

Guarantees: nothing is taken or written. A plan is called failing only when the state it was tried on holds no earlier
step of the same lane that is still unmined, be it sent already or simulated before it; otherwise the answer is "not
yet". Not guaranteed: that what succeeds now
succeeds when mined; a trade carries its own limit on-chain.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from chains.client import EvmClient, SimResult
from chains.errors import ExecutionReverted, MethodUnavailable, RpcRefused
from chains.node_errors import SendVerdict, classify
from chains.tx.model import Intent
from chains.tx.reasons import RejectCode
from chains.types import Header
from chains.units import mul_div_up

MAX_TX_GAS: Final = 2**24
"""EIP-7825: no transaction may ask for more, and none of ours comes near."""
TRANSFER_GAS: Final = 21_000
"""What a plain transfer to an account without code uses, exactly."""
_EXTRA_GAS: Final = 10_000
"""On top of the half: a cold storage access more (EIP-2929), for calls so small that their half is little."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Feasible:
    """Gas limits of the first intents: of all where the node simulates a sequence, of one where it cannot."""

    gas_limits: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failing:
    """The plan would fail on the latest block."""

    code: RejectCode
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotYet:
    """It cannot be told before the lane's unmined steps are mined."""


Verdict = Feasible | Failing | NotYet


class Simulator:
    """Simulates on one chain; remembers when the node turns out not to have `eth_simulateV1`."""

    def __init__(self, client: EvmClient) -> None:
        self._client = client
        self._has_sequences = True

    async def simulate(
        self, plans: Sequence[Sequence[Intent]], *, head: Header, lane_is_idle: bool
    ) -> Sequence[Verdict]:
        """Verdicts of the first plans, in order, each on the state that the plans before it leave; at least one.

        They end with the first plan that is not feasible, and that one is called failing only if it is the first of
        all. `lane_is_idle`: nothing of the lane is unmined, so that the latest block is the state the first plan meets.
        """
        if self._has_sequences:
            try:
                return await self._sequence(plans, head=head, lane_is_idle=lane_is_idle)
            except MethodUnavailable:
                self._has_sequences = False
                log.warning(
                    "%s has no eth_simulateV1: steps of a plan are mined one by one", self._client.transport.name
                )
        return [await self._single(plans[0][0], head=head) if lane_is_idle else NotYet()]

    # -- private ------------------------------------------------------------------------------------------

    async def _sequence(
        self, plans: Sequence[Sequence[Intent]], *, head: Header, lane_is_idle: bool
    ) -> Sequence[Verdict]:
        calls = [intent.call for plan in plans for intent in plan]
        try:
            results = await self._client.simulate(
                calls, sender=plans[0][0].lane.wallet, block=head if lane_is_idle else "pending"
            )
        except MethodUnavailable:
            raise
        except RpcRefused as exc:
            if len(plans) > 1:
                # Of all or of one of them (more native value than there is, more gas than the node gives): fewer say.
                return await self._sequence(plans[: len(plans) // 2], head=head, lane_is_idle=lane_is_idle)
            return [_refusal(exc) if lane_is_idle else NotYet()]
        verdicts: list[Verdict] = []
        for plan in plans:
            own, results = results[: len(plan)], results[len(plan) :]
            verdict = _verdict(plan, own, head)
            if not isinstance(verdict, Feasible) and (verdicts or not lane_is_idle):
                return [*verdicts, NotYet()]
            verdicts.append(verdict)
            if not isinstance(verdict, Feasible):
                break
        return verdicts

    async def _single(self, intent: Intent, *, head: Header) -> Verdict:
        try:
            gas = await self._client.estimate_gas(intent.call, sender=intent.lane.wallet)
        except ExecutionReverted as exc:
            return Failing(
                code=RejectCode.SIMULATION_REVERTED, text=f"step {intent.position + 1}: {exc.reason or 'reverted'}"
            )
        except RpcRefused as exc:
            return _refusal(exc)
        return _limits([intent], [SimResult(succeeded=True, gas_used=gas, output=b"")], head)


def _verdict(plan: Sequence[Intent], results: Sequence[SimResult], head: Header) -> Verdict:
    for intent, result in zip(plan, results, strict=True):
        if not result.succeeded:
            text = f"step {intent.position + 1} of {plan[-1].position + 1}: {result.reason}"
            return Failing(code=RejectCode.SIMULATION_REVERTED, text=text)
    return _limits(plan, results, head)


def _limits(intents: Sequence[Intent], results: Sequence[SimResult], head: Header) -> Verdict:
    most = min(head.gas_limit, MAX_TX_GAS)
    limits = [
        intent.gas_limit if intent.gas_limit is not None else gas_limit_for(intent, result.gas_used, most)
        for intent, result in zip(intents, results, strict=True)
    ]
    if any(limit > most or result.gas_used > limit for limit, result in zip(limits, results, strict=True)):
        return Failing(code=RejectCode.SIMULATION_REFUSED, text=f"a step needs more gas than is possible ({most})")
    return Feasible(gas_limits=tuple(limits))


def gas_limit_for(intent: Intent, gas_used: int, most: int) -> int:
    """One and a half times what was used, and a little.

    What is used is told after refunds, of which there may be a fifth (EIP-3529), so a quarter more may be needed on the
    way; a call keeps a 64th of its gas from what it calls (EIP-150); and the state moves until the block is made.
    """
    return max(gas_used, min(padded_gas(gas_used, data=intent.call.data), most))


def padded_gas(gas_used: int, *, data: bytes | None = None) -> int:
    """The gas limit of a call that was seen to use so much; who sets funds aside for one sets aside this much gas.

    Native coins that go to an account without code (`data` empty) take `TRANSFER_GAS`, neither more nor less.
    """
    if data == b"" and gas_used == TRANSFER_GAS:
        return TRANSFER_GAS
    return mul_div_up(gas_used, 3, 2) + _EXTRA_GAS


def _refusal(refused: RpcRefused) -> Failing:
    """The node's refusal to execute, as a verdict. Raises it again when it says nothing about the plan."""
    verdict = classify(refused.code, refused.node_message, refused.data)
    if verdict is SendVerdict.INSUFFICIENT_FUNDS:
        return Failing(code=RejectCode.INSUFFICIENT_FUNDS, text=refused.node_message)
    if verdict is SendVerdict.PERMANENT:
        return Failing(code=RejectCode.SIMULATION_REFUSED, text=refused.node_message)
    if verdict is SendVerdict.REVERTED:
        return Failing(code=RejectCode.SIMULATION_REVERTED, text=refused.node_message)
    raise refused
