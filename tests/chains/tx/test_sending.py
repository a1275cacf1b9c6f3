"""Stored bytes sent again on a slow endpoint: for how long one look at their slots counts."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from chains.client import EvmClient
from chains.config import load_chains
from chains.errors import RpcError
from chains.signing.signer import LocalSigner
from chains.tx.context import EngineParts
from chains.tx.leases import SoleLeases
from chains.tx.memory import MemoryState, MemoryUnitOfWork
from chains.tx.model import OpenTx
from chains.tx.sending import MAX_SENDS, SEND_FOR_S, Sender
from chains.types import TxHash
from tests.chains.rpc.scripted import ScriptedTransport
from tests.chains.tx.harness import HEADS, STORE, Check, Seen
from tests.chains.tx.store_contract import LANE, NOW, attempt_of, plan_of
from tests.clock import FakeClock

CONFIG = load_chains()["ethereum"]
SLOTS = 3 * MAX_SENDS + 1


class SlowClient(EvmClient):
    """Takes everything, and its time for each batch."""

    def __init__(self, clock: FakeClock, *, batch_s: float) -> None:
        super().__init__(CONFIG, ScriptedTransport("slow"))
        self.clock = clock
        self.batch_ms = int(batch_s * 1000)
        self.batches: list[int] = []

    async def send_raw_all(self, raws: Sequence[bytes]) -> list[TxHash | RpcError]:
        self.batches.append(len(raws))
        self.clock.advance_ms(self.batch_ms)
        return [TxHash("0x" + "00" * 32) for _ in raws]


async def many_signed(uow: MemoryUnitOfWork) -> Sequence[OpenTx]:
    def work(u: MemoryState) -> Sequence[OpenTx]:
        STORE.open_lane(u, LANE, 0)
        plan = plan_of("p", size=SLOTS)
        STORE.add_plan(u, plan)
        wanted = [(intent.id, 21_000) for intent in plan.intents]
        txs = STORE.reserve(u, LANE, wanted, first_nonce=0, now_ms=NOW)
        made = [replace(attempt_of(tx, 1), hash=TxHash("0x" + tx.nonce.to_bytes(32, "big").hex())) for tx in txs]
        STORE.save_attempts(u, made, NOW)
        return STORE.open_txs(u, LANE.chain_id)

    return await uow.run(work)


@pytest.mark.parametrize(("batch_s", "batches"), [(SEND_FOR_S, 1), (SEND_FOR_S / 2, 2), (0.0, 4)])
async def test_what_a_slow_endpoint_did_not_come_to_is_told_to_be_read_again(batch_s: float, batches: int) -> None:
    clock, uow = FakeClock(), MemoryUnitOfWork()
    client = SlowClient(clock, batch_s=batch_s)
    sender = Sender(
        EngineParts(
            client=client,
            config=CONFIG,
            signer=LocalSigner(()),
            store=STORE,
            heads=HEADS,
            uow=uow,
            leases=SoleLeases(),
            check=Check(),
            observer=Seen(),
            clock=clock,
        )
    )
    slots = await many_signed(uow)
    left = await sender.rebroadcast(slots, only_due=True)
    assert len(client.batches) == batches
    assert left == [slot.tx.id for slot in slots[batches * MAX_SENDS :]]
    # What was come to is not due any more; the rest is, and goes on where this ended.
    again = await sender.rebroadcast(slots, only_due=True)
    assert sum(client.batches) == min(SLOTS, 2 * batches * MAX_SENDS)
    assert again == [slot.tx.id for slot in slots[2 * batches * MAX_SENDS :]]
