"""What `cambist config check` finds: the effective settings, masked, and who answers at each endpoint, by its name."""

import asyncio
from typing import Any

from chains.client import EvmClient
from chains.config import ChainConfig, load_chains
from chains.errors import ChainError
from chains.rpc.addresses import EndpointAddress
from service.settings import Settings


async def check_settings(settings: Settings) -> dict[str, Any]:
    """`settings` as text by name, `chains` with each endpoint's name and what it answered."""
    configs = load_chains(settings.chains_file)
    rows = await asyncio.gather(
        *(_check(key, one, configs.get(key)) for key, endpoints in settings.rpc.items() for one in endpoints)
    )
    # Dumped by the settings' own rules: secrets are masked there, once.
    shown = {name: str(value) for name, value in settings.model_dump(mode="json", exclude={"rpc"}).items()}
    return {"settings": shown, "chains": list(rows)}


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
