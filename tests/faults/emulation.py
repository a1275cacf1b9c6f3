"""Rules of real nodes that Anvil does not have, so that what works here works there.

Anvil 1.7.1 takes a replacement for one wei more and ignores the tip, has no tip floor and no fee cap, and forgets
the transactions of blocks that a reorg removed. Texts are those of the clients' sources:
go-ethereum core/txpool/errors.go, core/txpool/validation.go and internal/ethapi/api.go; bor has geth's.
"""

from dataclasses import dataclass
from typing import Final

from tests.faults.falsify import Answer, Ask
from tests.faults.observed import Recorder, SeenTx

WEI_IN_ETHER: Final = 10**18
GETH_REFUSAL: Final = -32000
DEEPEST_REORG: Final = 256
"""Blocks: past Polygon's deepest historical reorg."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulation:
    """Which rules are on. All off is Anvil as it is."""

    replacement_bump_percent: int | None = None
    """geth's PriceBump: both fees of a replacement rise by so much, rounded up."""
    tip_floor_wei: int | None = None
    """Polygon's pools: 25 gwei."""
    tx_fee_cap_wei: int | None = None
    """geth's RPCTxFeeCap: max fee x gas limit, 1 ether by default."""
    already_known_text: str | None = None
    """What a second sending of the same bytes is answered with, in place of Anvil's own wording."""
    reinject_orphans: bool = False
    """Transactions of blocks that a reorg removed return to the pool, as geth does."""


GETH: Final = Emulation(
    replacement_bump_percent=10,
    tx_fee_cap_wei=WEI_IN_ETHER,
    already_known_text="already known",
    reinject_orphans=True,
)
BOR: Final = Emulation(
    replacement_bump_percent=10,
    tip_floor_wei=25 * 10**9,
    already_known_text="already known",
    reinject_orphans=True,
)


async def refusal(rules: Emulation, tx: SeenTx, *, recorder: Recorder, ask: Ask) -> Answer | None:
    """What the emulated node answers instead of Anvil, if it refuses."""
    cost_wei = tx.max_fee_wei * tx.gas_limit
    if rules.tx_fee_cap_wei is not None and cost_wei > rules.tx_fee_cap_wei:
        cost, cap = (_ether(amount) for amount in (cost_wei, rules.tx_fee_cap_wei))
        return _refused(f"tx fee ({cost} ether) exceeds the configured cap ({cap} ether)")
    floor = rules.tip_floor_wei
    if floor is not None and tx.priority_fee_wei < floor:
        return _refused(
            f"transaction gas price below minimum: gas tip cap {tx.priority_fee_wei}, minimum needed {floor}"
        )
    if rules.replacement_bump_percent is not None:
        for other in recorder.rivals(tx):
            if await _is_pending(other, ask) and not _bumped(other, tx, percent=rules.replacement_bump_percent):
                return _refused("replacement transaction underpriced")
    return None


class Orphans:
    """Puts transactions back that a reorg threw out. It must have seen them mined: `observe` after each block."""

    def __init__(self) -> None:
        self._mined: dict[str, int] = {}
        self._buried: set[str] = set()
        self._head: str | None = None

    async def observe(self, recorder: Recorder, ask: Ask) -> list[str]:
        """Hashes of what was sent again."""
        head = (await ask("eth_getBlockByNumber", ["latest", False])).get("result") or {}
        if head.get("hash") == self._head:
            return []
        self._head = head.get("hash")
        self._bury(int(head.get("number", "0x0"), 16))
        again = []
        for tx in recorder.accepted():
            if tx.hash in self._buried:
                continue
            found = (await ask("eth_getTransactionByHash", [tx.hash])).get("result")
            if found is not None and found.get("blockHash") is not None:
                self._mined[tx.hash] = int(found["blockNumber"], 16)
            elif found is None and self._mined.pop(tx.hash, None) is not None:
                answer = await ask("eth_sendRawTransaction", [tx.raw])
                # A refusal is what a real pool would do too: its nonce was taken on the new branch.
                again += [tx.hash] if "result" in answer else []
        return again

    def _bury(self, head: int) -> None:
        """Else each block would cost a look-up for every transaction ever sent."""
        deep = {tx_hash for tx_hash, number in self._mined.items() if head - number > DEEPEST_REORG}
        self._buried |= deep
        for tx_hash in deep:
            del self._mined[tx_hash]


async def _is_pending(tx: SeenTx, ask: Ask) -> bool:
    found = (await ask("eth_getTransactionByHash", [tx.hash])).get("result")
    return found is not None and found.get("blockHash") is None


def _bumped(old: SeenTx, new: SeenTx, *, percent: int) -> bool:
    def enough(before: int, after: int) -> bool:
        return after * 100 >= before * (100 + percent)

    return enough(old.max_fee_wei, new.max_fee_wei) and enough(old.priority_fee_wei, new.priority_fee_wei)


def _ether(wei: int) -> str:
    """Two digits after the point, as geth prints it."""
    cents = wei * 100 // WEI_IN_ETHER
    return f"{cents // 100}.{cents % 100:02d}"


def _refused(text: str) -> Answer:
    return {"error": {"code": GETH_REFUSAL, "message": text}}
