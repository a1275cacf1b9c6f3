"""What `cambist config check` finds: the effective settings, masked, and who answers at each chain's endpoint."""

import asyncio
from typing import Any
from urllib.parse import urlsplit

from chains.client import EvmClient
from chains.config import ChainConfig, load_chains
from chains.errors import ChainError
from chains.rpc.transport import HttpTransport, SecretUrl
from service.settings import Settings


async def check_settings(settings: Settings) -> dict[str, Any]:
    """`settings` as text by name, `chains` with the endpoint's host and what it answered."""
    configs = load_chains(settings.chains_file)
    rows = await asyncio.gather(*(_check(key, url, configs.get(key)) for key, url in settings.rpc.items()))
    # Dumped by the settings' own rules: secrets are masked there, once.
    shown = {name: str(value) for name, value in settings.model_dump(mode="json", exclude={"rpc"}).items()}
    return {"settings": shown, "chains": list(rows)}


async def _check(key: str, url: SecretUrl, config: ChainConfig | None) -> dict[str, Any]:
    # Path and query of an endpoint are often its key.
    row: dict[str, Any] = {"chain": key, "endpoint": urlsplit(url.reveal()).hostname or "?", "ok": False}
    if config is None:
        return row | {"result": "no chain of this name is described; see chains_file"}
    transport = HttpTransport(url, name=key)
    client = EvmClient(config, transport)
    try:
        await client.verify_chain()
        head = await client.head()
    except ChainError as exc:
        return row | {"result": str(exc)}
    finally:
        await transport.close()
    return row | {"ok": True, "result": f"chain {config.chain_id}, block {head.number}"}
