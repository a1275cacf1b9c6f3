"""What `cambist config check` finds: the effective settings, masked, who answers at each endpoint, and what signs.

Guarantees: endpoints and signers are shown by name, never by address; every wallet that a signer is set for is asked
for. Nothing is signed.
"""

import asyncio
from typing import Any

from chains.client import EvmClient
from chains.config import ChainConfig, load_chains
from chains.errors import ChainError, SigningError
from chains.rpc.addresses import EndpointAddress
from chains.signing.signer import RemoteSigner
from chains.types import Address
from service.settings import Settings
from service.signer_settings import SignerSettings
from service.workers.signers import SignerUnusable, open_remote


async def check_settings(settings: Settings) -> dict[str, Any]:
    """`settings` as text by name, `chains` with each endpoint and what it answered, `signers` with each of their
    wallets and whether the signer has its key."""
    configs = load_chains(settings.chains_file)
    rows = await asyncio.gather(
        *(_check(key, one, configs.get(key)) for key, endpoints in settings.rpc.items() for one in endpoints)
    )
    # Dumped by the settings' own rules: secrets are masked there, once.
    apart = {"rpc", "signers"}
    shown = {name: str(value) for name, value in settings.model_dump(mode="json", exclude=apart).items()}
    signers = await asyncio.gather(*(_check_signer(name, one) for name, one in settings.signers.items()))
    return {"settings": shown, "chains": list(rows), "signers": [row for rows in signers for row in rows]}


async def _check(key: str, endpoint: EndpointAddress, config: ChainConfig | None) -> dict[str, Any]:
    # Host, path and query of an address may each be its key.
    row: dict[str, Any] = {"chain": key, "endpoint": endpoint.name, "ok": False}
    if config is None:
        return row | {"result": "no chain of this name is described; see chains_file"}
    if endpoint.send_only:
        return row | {"ok": True, "result": "gets signed transactions only, and is not asked"}
    transport = endpoint.config().transport
    client = EvmClient(config, transport)
    try:
        await client.verify_chain()
        head = await client.head()
    except ChainError as exc:
        return row | {"result": str(exc)}
    finally:
        await transport.close()
    return row | {"ok": True, "result": f"chain {config.chain_id}, block {head.number}"}


async def _check_signer(name: str, settings: SignerSettings) -> list[dict[str, Any]]:
    try:
        remote = await asyncio.to_thread(open_remote, name, settings)
    except SignerUnusable as exc:
        return [_signer_row(name, settings, address, str(exc)) for address in settings.addresses]
    try:
        return [
            _signer_row(name, settings, address, await _failure(remote.signer, address))
            for address in settings.addresses
        ]
    finally:
        await remote.signer.close()


async def _failure(signer: RemoteSigner, address: Address) -> str | None:
    try:
        await signer.prove(address)
    except SigningError as exc:
        return str(exc)
    return None


def _signer_row(name: str, settings: SignerSettings, address: Address, failure: str | None) -> dict[str, Any]:
    result = "it has the key" if failure is None else failure
    return {"signer": name, "kind": settings.kind, "address": address, "ok": failure is None, "result": result}
