"""Suggested fees of a chain, asked of the node once a block at most, for quotes and orders of that block.

Guarantees: the caps of the chain hold, or FeeCapExceeded says so; what is remembered is of the block asked about.
Not guaranteed: that the next block costs as much. The engine prices each attempt anew when it signs.
"""

from chains import fees as fee_rules
from chains.client import EvmClient
from chains.types import BlockRef, Fees


class FeeBoard:
    """One chain's newest suggestion."""

    def __init__(self) -> None:
        self._block: BlockRef | None = None
        self._fees: Fees | None = None

    async def suggested(self, client: EvmClient, *, block: BlockRef) -> Fees:
        """What a transaction of the next block would offer.

        Raises:
            FeeCapExceeded: the chain asks more than its configured caps.
            ChainError: the node did not answer.
        """
        if self._fees is None or self._block != block:
            history = await client.fee_history(fee_rules.HISTORY_BLOCKS, [fee_rules.TIP_PERCENTILE])
            self._fees, self._block = fee_rules.suggest(history, client.config.fees), block
        return self._fees


def expected_price_wei(fees: Fees, *, base_fee_wei: int) -> int:
    """What a gas is likely to cost in the next block: its base fee may be an eighth higher (EIP-1559)."""
    return min(fees.max_fee_wei, base_fee_wei + (base_fee_wei >> 3) + fees.priority_fee_wei)
