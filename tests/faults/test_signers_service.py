"""The whole service with a key that it does not have: a Web3Signer over HTTPS with a client certificate."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import select

from chains.signing.signer import UnlockedKey
from chains.tx.model import TxState
from scripts.devnet.network import LocalChain
from service.build import build
from service.control.acts import perform
from service.control.protocol import ActFailed
from service.control.server import this_operator
from service.db import models as m
from tests.chains.signing.remote import PASSWORD, Certificates, SigningService, make_certificates, signing_service
from tests.e2e.harness import BOB, Stack, client_of, running
from tests.faults.proxy import FaultProxy
from tests.faults.remote import ThreadedProxy

E18: Final = 10**18
FUNDS: Final = {"ethereum": {"ETH": 10 * E18}}
PATH: Final = "/v1/ethereum/withdrawals"

pytestmark = pytest.mark.chain


@pytest.fixture
def proxy(fresh_ethereum: LocalChain) -> Any:
    with ThreadedProxy(FaultProxy(fresh_ethereum.rpc_url)) as made:
        yield made


@pytest.fixture
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
async def local(fresh_ethereum: LocalChain, proxy: FaultProxy, tmp_path: Path) -> AsyncIterator[Stack]:
    """A service whose wallet has its key in this process."""
    behind = replace(fresh_ethereum, rpc_url=proxy.url)
    async with running(tmp_path, {"ethereum": behind}, funds=FUNDS) as made:
        made.rpcs["ethereum"]("evm_setAutomine", False)
        made.rpcs["ethereum"]("anvil_setCode", BOB, "0x")
        yield made


@asynccontextmanager
async def remotely(stack: Stack, signer: SigningService, certificates: Certificates) -> AsyncIterator[Stack]:
    """The same installation, started anew without a key of its own, with that signer for its key's address."""
    password = certificates.ca.with_name("password")
    password.touch(mode=0o600)
    password.write_text(PASSWORD)
    vault = {
        "kind": "web3signer",
        "url": signer.url,
        "addresses": [signer.key.address],
        "client_certificate": str(certificates.client),
        "client_key": str(certificates.client_key),
        "client_key_password_file": str(password),
        "ca_certificate": str(certificates.ca),
        "timeout_s": 1,
    }
    await stack.services.close()
    settings = stack.services.settings
    services = await build(type(settings).model_validate({**dict(settings), "signers": {"vault": vault}}))
    try:
        for runtime in services.chains.values():
            await runtime.engine.recover()
        async with client_of(services) as client:
            yield replace(stack, services=services, client=client)
    finally:
        await services.close()


def pay(client_id: str) -> dict[str, str]:
    return {"asset": "ETH", "amount": "0.25", "address": BOB, "client_withdrawal_id": client_id}


async def slots(stack: Stack) -> list[tuple[int, str]]:
    return await stack.services.db.read(
        lambda c: [(row.nonce, row.state) for row in c.execute(select(m.txs.c.nonce, m.txs.c.state))]
    )


async def test_F23_a_signer_that_times_out_after_signing_leaves_the_nonce_with_its_row(
    local: Stack, proxy: FaultProxy, certificates: Certificates
) -> None:
    async with (
        signing_service(certificates, local.signing_key) as signer,
        remotely(local, signer, certificates) as stack,
    ):
        asked_before_the_answer = 2

        async def slow(request: dict[str, Any]) -> dict[str, Any]:
            answer = signer.honest(request)  # it has signed; only we do not hear of it
            if len(signer.requests) <= asked_before_the_answer:
                await asyncio.sleep(30)
            return answer

        signer.answer = slow
        before = await stack.balance_of(BOB, "ETH")
        answer = await stack.post(PATH, pay("w"), key="withdraw")
        assert answer.status_code == 202, answer.text
        for _ in range(asked_before_the_answer):
            await stack.chain().engine.step()
            assert await slots(stack) == [(0, TxState.RESERVED)]
            assert not proxy.recorder.txs
        found = await stack.settle(f"/v1/withdrawals/{answer.json()['id']}")
        assert found["state"] in ("confirmed", "final")
        assert await stack.balance_of(BOB, "ETH") - before == 25 * E18 // 100
        assert {int(one["params"][0]["nonce"], 16) for one in signer.requests} == {0}
        assert [(tx.nonce, tx.effect.sender) for tx in proxy.recorder.txs] == [(0, stack.wallet.address)]
        await stack.check_books()


async def test_F23_a_signer_that_is_gone_when_the_process_starts_again_fills_its_nonce_later(
    local: Stack, proxy: FaultProxy, certificates: Certificates
) -> None:
    async with signing_service(certificates, local.signing_key) as signer:
        async with remotely(local, signer, certificates) as stack:
            signer.answer = lambda request: {"error": {"code": -32603, "message": "vault sealed"}}
            answer = await stack.post(PATH, pay("w"), key="withdraw")
            await stack.chain().engine.step()
            assert await slots(stack) == [(0, TxState.RESERVED)]
        async with remotely(stack, signer, certificates) as again:
            assert await slots(again) == [(0, TxState.RESERVED)]
            signer.answer = signer.honest
            found = await again.settle(f"/v1/withdrawals/{answer.json()['id']}")
            assert found["state"] in ("confirmed", "final")
            assert [tx.nonce for tx in proxy.recorder.txs] == [0]
            await again.check_books()


async def test_F23_a_signer_that_signs_something_else_holds_the_wallet_and_sends_nothing(
    local: Stack, proxy: FaultProxy, certificates: Certificates
) -> None:
    async with (
        signing_service(certificates, local.signing_key) as signer,
        remotely(local, signer, certificates) as stack,
    ):

        def other(request: dict[str, Any]) -> dict[str, Any]:
            [asked] = request["params"]
            return signer.honest({**request, "params": [{**asked, "value": hex(E18)}]})

        signer.answer = other
        await stack.post(PATH, pay("w"), key="withdraw")
        await stack.chain().engine.step()
        held = await stack.services.db.read(lambda c: c.execute(select(m.lanes.c.hold_reason)).scalar_one())
        assert held.startswith("signing_failed")
        assert not proxy.recorder.txs


async def test_a_wallet_whose_key_is_remote_is_registered_once_its_signer_has_said_so(
    local: Stack, certificates: Certificates
) -> None:
    vaulted = UnlockedKey(secrets.token_bytes(32))
    params = {"label": "vaulted", "address": vaulted.address}
    async with signing_service(certificates, vaulted) as signer, remotely(local, signer, certificates) as stack:
        answers: dict[str, dict[str, Any]] = {
            "signer_refused": {"result": []},
            "signer_unreachable": {"error": {"code": -32603, "message": "vault sealed"}},
        }
        signer.answer = lambda request: answers[code]
        for code in answers:
            with pytest.raises(ActFailed) as refused:
                await perform(stack.services, "wallet.register", params, this_operator())
            assert refused.value.code == code
        signer.answer = signer.honest
        registered = await perform(stack.services, "wallet.register", params, this_operator())
        assert (registered["signer"], registered["address"]) == ("vault", vaulted.address)
        listed = await perform(stack.services, "wallet.list", {}, this_operator())
        assert {one["label"]: (one["signer"], one["unlocked"]) for one in listed["wallets"]} == {
            "main": ("keystore", False),
            "vaulted": ("vault", True),
        }


async def test_a_key_that_a_signer_is_set_for_is_not_put_into_a_file(local: Stack, certificates: Certificates) -> None:
    key = secrets.token_bytes(32)
    async with (
        signing_service(certificates, UnlockedKey(key)) as signer,
        remotely(local, signer, certificates) as stack,
    ):
        params = {"label": "x", "kind": "private-key", "secret": key.hex(), "password": "long enough a password"}
        with pytest.raises(ActFailed) as refused:
            await perform(stack.services, "wallet.import", params, this_operator())
        assert refused.value.code == "signed_elsewhere"
        assert stack.services.keystore.list() == ()
