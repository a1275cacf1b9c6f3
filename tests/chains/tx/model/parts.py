"""What a world is made of besides its chain and tables: how it is set up, its check before signing, what it watches."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from chains.config import ChainConfig, FeePolicy, FinalityPolicy, SendingPolicy, load_chains
from chains.errors import RpcError
from chains.rpc.transport import Transport
from chains.tx.model import Intent
from chains.tx.store import PreSignPaused, PreSignRefused
from chains.types import Address
from tests.chains.tx.model.chain import GWEI

ETHER: Final = 10**18
SINK: Final = Address("0x00000000000000000000000000000000DeaDBeef")
FUNDS_WEI: Final = 10 * ETHER
HOLD_LIMIT_WEI: Final = 20 * 10**6
"""What all reservations together may be; a plan holds the values of its steps, about a million wei each."""
FEES: Final = FeePolicy(
    max_fee_cap_wei=500 * GWEI, priority_floor_wei=GWEI // 10, priority_cap_wei=20 * GWEI, max_tx_cost_wei=ETHER // 50
)
RAISED_FEES: Final = replace(FEES, max_fee_cap_wei=2000 * GWEI, priority_cap_wei=80 * GWEI, max_tx_cost_wei=ETHER // 5)
SENDING: Final = SendingPolicy(bump_after_blocks=2, max_bumps=3, max_in_flight=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What stays the same for one example. `seed` draws only how long things take."""

    seed: int
    wallets: int = 1
    endpoints: int = 1
    confirmed_depth: int = 2
    final_depth: int = 4
    use_finalized_tag: bool = True
    has_simulation: bool = True
    others_sign: bool = False
    """Other programs use the wallets' keys."""
    deep_reorgs: bool = False
    """Reorgs may go below what is booked (never below what is final)."""


class Check:
    """`PreSignCheck` that refuses or pauses its next questions."""

    def __init__(self) -> None:
        self.refusals = 0
        self.is_paused = False

    async def check(self, intent: Intent) -> None:
        if self.is_paused:
            raise PreSignPaused("paused")
        if self.refusals:
            self.refusals -= 1
            raise PreSignRefused("not what was wanted")

    async def check_all(self, intents: Sequence[Intent]) -> Sequence[PreSignRefused | None]:
        answers: list[PreSignRefused | None] = []
        for intent in intents:
            try:
                await self.check(intent)
                answers.append(None)
            except PreSignRefused as refused:
                answers.append(refused)
        return answers


class Watched:
    """A transport that writes down which finalized blocks were shown (I12)."""

    def __init__(self, inner: Transport, wrong: list[str]) -> None:
        self.name = inner.name
        self._inner = inner
        self._wrong = wrong
        self._shown = 0

    async def request(self, method: str, params: Sequence[Any]) -> Any:
        answer = await self._inner.request(method, params)
        if method == "eth_getBlockByNumber" and params[0] == "finalized" and answer is not None:
            number = int(answer["number"], 16)
            if number < self._shown:
                self._wrong.append(f"I12: finalized block {number} was shown after {self._shown}")
            self._shown = max(self._shown, number)
        return answer

    async def batch(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any | RpcError]:
        return await self._inner.batch(calls)

    async def close(self) -> None:
        await self._inner.close()


def config_of(setup: Setup) -> ChainConfig:
    finality = FinalityPolicy(
        confirmed_depth=setup.confirmed_depth,
        use_finalized_tag=setup.use_finalized_tag,
        min_final_depth=setup.final_depth,
    )
    return replace(load_chains()["ethereum"], finality=finality, sending=SENDING, fees=FEES)
