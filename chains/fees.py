"""EIP-1559 fees: suggestion, bump and caps, in integers only.

Formulas: max fee = tip + 2 x next base fee (op-service/txmgr; survives six full blocks, 1.125^6 = 2.03). A bump
is ceil(110 %) of both fields (geth legacypool PriceBump 10), applied after the tip's floor so that clamping cannot
undo it (hop-protocol/hop#307).

Guarantees: the tip is never below the chain's floor nor above its cap, the max fee never above the cap, and
`max_fee_wei >= priority_fee_wei`. Not guaranteed: inclusion.
"""

from dataclasses import dataclass
from typing import Final

from chains.config import FeePolicy
from chains.errors import FeeCapExceeded
from chains.types import Fees
from chains.units import mul_div_up

HISTORY_BLOCKS: Final = 20
"""Four minutes of Ethereum, 40 s of Polygon: enough to smooth one odd block."""
TIP_PERCENTILE: Final = 50
"""Half of the gas in each block paid this tip or less."""
BASE_FEE_FACTOR: Final = 2
BUMP_PERCENT: Final = 110


@dataclass(frozen=True, slots=True, kw_only=True)
class FeeHistory:
    """`eth_feeHistory`: base fees of the blocks asked and, last, of the next one; a row of tips a block."""

    base_fees_wei: tuple[int, ...]
    rewards_wei: tuple[tuple[int, ...], ...]

    @property
    def next_base_fee_wei(self) -> int:
        return self.base_fees_wei[-1] if self.base_fees_wei else 0


def suggest(history: FeeHistory, policy: FeePolicy) -> Fees:
    """Fees for a new transaction: the median over blocks of the first percentile asked, within the policy.

    The tip gives way before the cap is hit: it shrinks to the floor when base fee + tip would be above the cap.

    Raises:
        FeeCapExceeded: even base fee + floor tip is above the cap, so nothing could be mined.
    """
    base = history.next_base_fee_wei
    needed = base + policy.priority_floor_wei
    if needed > policy.max_fee_cap_wei:
        raise FeeCapExceeded(needed_wei=needed, cap_wei=policy.max_fee_cap_wei)
    tip = _clamp(_median([row[0] for row in history.rewards_wei if row]), policy)
    tip = min(tip, policy.max_fee_cap_wei - base)
    return Fees(max_fee_wei=min(tip + BASE_FEE_FACTOR * base, policy.max_fee_cap_wei), priority_fee_wei=tip)


def bump(previous: Fees, fresh: Fees, policy: FeePolicy) -> Fees:
    """Fees for a replacement: both fields at least ceil(110 %) of the previous, or the fresh ones if higher.

    Raises:
        FeeCapExceeded: the replacement that nodes would accept is above the caps; the attempt stays as it is.
    """
    tip = max(_bumped(previous.priority_fee_wei), _clamp(fresh.priority_fee_wei, policy))
    max_fee = max(_bumped(previous.max_fee_wei), fresh.max_fee_wei, tip)
    if max_fee > policy.max_fee_cap_wei:
        # The fresh wish may be cut to the cap, the 10 % rule may not.
        if _bumped(previous.max_fee_wei) > policy.max_fee_cap_wei or tip > policy.max_fee_cap_wei:
            raise FeeCapExceeded(needed_wei=max(_bumped(previous.max_fee_wei), tip), cap_wei=policy.max_fee_cap_wei)
        max_fee = policy.max_fee_cap_wei
    if tip > policy.priority_cap_wei:
        raise FeeCapExceeded(needed_wei=tip, cap_wei=policy.priority_cap_wei)
    return Fees(max_fee_wei=max_fee, priority_fee_wei=tip)


def replace_within(
    previous: Fees, fresh: Fees, *, gas_limit: int, policy: FeePolicy, max_cost_wei: int | None = None
) -> Fees:
    """`bump`, with the headroom of the max fee cut where gas limit x max fee is above the cost cap, the policy's or
    `max_cost_wei` where that is lower.

    Raises:
        FeeCapExceeded: what nodes would take for a replacement is above a cap; the attempt stays as it is.
    """
    fees = bump(previous, fresh, policy)
    most = _most_a_gas(gas_limit, policy, max_cost_wei)
    if fees.max_fee_wei <= most:
        return fees
    needed = max(_bumped(previous.max_fee_wei), fees.priority_fee_wei)
    if needed > most:
        raise FeeCapExceeded(needed_wei=needed, cap_wei=most)
    return Fees(max_fee_wei=most, priority_fee_wei=fees.priority_fee_wei)


def within_cost_cap(
    fees: Fees, *, gas_limit: int, base_fee_wei: int, policy: FeePolicy, max_cost_wei: int | None = None
) -> Fees:
    """The fees, with the headroom of the max fee cut where gas limit x max fee is above the cost cap, the policy's or
    `max_cost_wei` where that is lower.

    Raises:
        FeeCapExceeded: cut that far, not even the next base fee + tip would be covered.
    """
    most = _most_a_gas(gas_limit, policy, max_cost_wei)
    needed = base_fee_wei + fees.priority_fee_wei
    if needed > most:
        raise FeeCapExceeded(needed_wei=needed, cap_wei=most)
    return Fees(max_fee_wei=min(fees.max_fee_wei, most), priority_fee_wei=fees.priority_fee_wei)


def _most_a_gas(gas_limit: int, policy: FeePolicy, max_cost_wei: int | None) -> int:
    most = policy.max_tx_cost_wei if max_cost_wei is None else min(policy.max_tx_cost_wei, max_cost_wei)
    return most // gas_limit


def after_bumps(max_fee_wei: int, times: int) -> int:
    """What a max fee must at least be after it was replaced so many times."""
    for _ in range(times):
        max_fee_wei = _bumped(max_fee_wei)
    return max_fee_wei


def _clamp(tip: int, policy: FeePolicy) -> int:
    return min(max(tip, policy.priority_floor_wei), policy.priority_cap_wei)


def _bumped(wei: int) -> int:
    return mul_div_up(wei, BUMP_PERCENT, 100)


def _median(values: list[int]) -> int:
    """The lower median: it is a tip that somebody paid, and needs no division."""
    return sorted(values)[(len(values) - 1) // 2] if values else 0
