"""An engine over the in-memory store, a fault proxy in front of a bare Anvil that calls itself Ethereum.

Everything goes through the proxy, the test's own cheats too, so that the recorder sees foreign sends as well.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from chains.tx.model import Attempt, Outcome, TxState
from chains.types import CallRequest
from scripts.devnet import artifacts
from scripts.devnet.anvil import run_anvil
from scripts.devnet.rpc import DevRpc
from tests.chains.tx.harness import SINK, Bench, bench_on, config_for
from tests.faults.proxy import FaultProxy
from tests.faults.remote import ThreadedProxy

SEND: Final = "eth_sendRawTransaction"
RECEIPT: Final = "eth_getTransactionReceipt"
GWEI: Final = 10**9
PAY: Final = CallRequest(to=SINK, value_wei=1_000)
CHAIN_IDS: Final = {"ethereum": 1, "polygon": 137}


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultBench:
    """`node` asks Anvil itself, past the proxy."""

    bench: Bench
    proxy: FaultProxy
    node: DevRpc

    def sent_nonces(self) -> list[int]:
        """Nonces of distinct transactions of the wallet that reached the proxy."""
        return sorted(tx.nonce for tx in self.proxy.recorder.txs if tx.effect.sender == self.bench.key.address)

    def paid(self) -> int:
        """What the sink has got, wei."""
        return int(self.node("eth_getBalance", SINK, "latest"), 16)

    async def attempts(self, name: str = "p") -> list[Attempt]:
        return [a for slot in await self.bench.open() if slot.intent.plan_id == name for a in slot.attempts]

    async def ends_well(self, name: str = "p", *, rounds: int = 8) -> None:
        """Blocks and steps until the plan is final, mined with success, each intent once."""
        for _ in range(rounds):
            await self.bench.step(blocks=1)
            if all(state is TxState.FINAL for state in await self.bench.state_of(name)):
                break
        txs = await self.bench.txs(name)
        assert txs
        assert [tx.state for tx in txs] == [TxState.FINAL] * len(txs)
        assert [tx.outcome for tx in txs] == [Outcome.SUCCEEDED] * len(txs)
        nonces = [tx.nonce for tx in txs]
        assert nonces == list(range(nonces[0], nonces[0] + len(nonces)))
        assert all(len(used) == 1 for used in self.proxy.recorder.effects().values())


@asynccontextmanager
async def fault_bench(chain: str = "ethereum", *, funds_wei: int = 10 * 10**18) -> AsyncIterator[FaultBench]:
    """Fresh node, proxy and wallet."""
    arguments = ["--chain-id", str(CHAIN_IDS[chain]), "--slots-in-an-epoch", "2", "--no-mining"]
    with (
        run_anvil(artifacts.ensure().anvil, f"fault-{chain}", arguments=arguments) as anvil,
        ThreadedProxy(FaultProxy(anvil.url)) as proxy,
    ):
        node = DevRpc(anvil.url)
        node("anvil_mine", 5)
        async with bench_on(proxy.url, config_for(chain), funds_wei=funds_wei) as bench:
            yield FaultBench(bench=bench, proxy=proxy, node=node)
        node.close()
