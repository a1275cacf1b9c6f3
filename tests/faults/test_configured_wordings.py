"""An operator's phrases for refusals, from the chains file to the engine of the running service."""

from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import select

from chains.config import InvalidChainConfig
from chains.tx.model import TxState
from service.build import build
from service.db import models as m
from tests.e2e.harness import BOB, Stack, client_of
from tests.faults.proxy import FaultProxy
from tests.faults.rules import NodeError, Phase, Rule

E18: Final = 10**18
SAID: Final = "Sequencer 7: bundle parked until slot 90"
PHRASE: Final = "sequencer * bundle parked"

pytestmark = pytest.mark.chain


async def with_phrases(stack: Stack, tmp_path: Path, text: str) -> Stack:
    """The installation started anew with that chains file."""
    file = tmp_path / "chains.toml"
    file.write_text(text)
    await stack.services.close()
    services = await build(stack.services.settings.model_copy(update={"chains_file": file}))
    services.keyring.add(stack.signing_key)
    await services.chains["ethereum"].engine.recover()
    return replace(stack, services=services, client=client_of(services))


@pytest.mark.parametrize(
    ("chains", "state"),
    [
        (f'[ethereum.node_errors]\nalready_known = ["{PHRASE}"]\n', TxState.BROADCAST),
        ("", TxState.SIGNED),
    ],
    ids=["configured", "unknown"],
)
async def test_a_configured_phrase_decides_what_a_refusal_means(
    stack: Stack, proxy: FaultProxy, tmp_path: Path, chains: str, state: TxState
) -> None:
    again = await with_phrases(stack, tmp_path, chains)
    try:
        proxy.add(
            Rule(
                action=NodeError(code=-32000, text=SAID),
                method="eth_sendRawTransaction",
                phase=Phase.AFTER,
                times=1,
            )
        )
        body = {"asset": "ETH", "amount": "0.25", "address": BOB, "client_withdrawal_id": "w"}
        answer = await again.post("/v1/ethereum/withdrawals", body, key="withdraw")
        assert answer.status_code == 202, answer.text
        await again.chain().engine.step()
        found = await again.services.db.read(lambda c: c.execute(select(m.txs.c.state)).scalar_one())
        assert found == state
        # Either way it is the same transaction that is mined, once.
        assert (await again.settle(f"/v1/withdrawals/{answer.json()['id']}"))["state"] in ("confirmed", "final")
        assert len({tx.hash for tx in proxy.recorder.txs}) == 1
    finally:
        await again.client.aclose()
        await again.services.close()


async def test_a_phrase_that_would_end_transactions_is_refused_at_the_start(stack: Stack, tmp_path: Path) -> None:
    with pytest.raises(InvalidChainConfig, match=r"\[ethereum.node_errors\] permanent"):
        await with_phrases(stack, tmp_path, f'[ethereum.node_errors]\npermanent = ["{PHRASE}"]\n')
