"""What somebody with a stolen key sends: to every route of the OpenAPI page, plausible bodies and hostile ones.

Generated from the page, so that a route of tomorrow is attacked too.
"""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx

from chains.types import Address, address_from_bytes
from service.app import OPENAPI_PATH
from tests.e2e.harness import Stack
from tests.service.documented import Documented, example_of, operations

EVE: Final = address_from_bytes(bytes.fromhex("e7e0e7e0e7e0e7e0e7e0e7e0e7e0e7e0e7e0e7e0"))
"""The thief's address."""
CHOSEN: Final = 14
"""Bodies of one route in one round, out of all that are made; which ones differs from round to round."""
_ADDRESSES: Final = ("address", "recipient", "to", "spender", "contract", "destination", "beneficiary", "wallet")
_HOSTILE: Final[Mapping[str, Sequence[Any]]] = {
    "amount": ("0.01", "0.5", "100", "1000000", "-1", "1e18", "0", "115792089237316195423570985008687907853"),
    "asset": ("ETH", "WETH", "USDC", "USDT"),
    "market": ("ETHUSDC", "WETHUSDC", "USDCUSDT", "ETHUSDT", "EVEUSDC"),
    "price": ("0.01", "1000000", "2500", "0"),
    "bps": (0, 300, 10_000),
    "side": ("buy", "sell"),
    "function": ("transfer(address,uint256)", "approve(address,uint256)", "multicall(bytes[])"),
    "args": ([EVE, "1000000"], [EVE, str(2**256 - 1)]),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One request."""

    method: str
    target: str
    body: bytes


async def routes_of(stack: Stack) -> Sequence[Documented]:
    page = (await stack.client.get(OPENAPI_PATH)).json()
    return list(operations(page))


def volley(routes: Sequence[Documented], *, seed: int, chain: str = "ethereum") -> Iterator[Shot]:
    """A round over all routes."""
    # Repeatable: nothing is guessed here but a test's own variety.
    chance = random.Random(seed)
    for one in routes:
        bodies = [json.dumps(found).encode() for found in _bodies(one, chance)] or [b""]
        for number, body in enumerate(chance.sample(bodies, min(CHOSEN, len(bodies)))):
            known = {found["name"]: example_of(found["schema"], one.page) for found in one.parameters}
            known |= {
                name: str(chance.randrange(1, 12)) for name in one.ids if name.endswith("_id") and number % 2 == 0
            }
            yield Shot(method=one.method, target=one.target(known | {"chain": chain}), body=body)


async def fire(stack: Stack, shot: Shot, *, key: str) -> httpx.Response:
    headers = stack.headers(shot.method, shot.target, shot.body, key=key)
    if shot.body:
        headers["content-type"] = "application/json"
    return await stack.client.request(shot.method, shot.target, content=shot.body, headers=headers)


def _bodies(one: Documented, chance: random.Random) -> Iterator[dict[str, Any]]:
    for plain in one.bodies():
        fresh = {**plain, **_new_ids(plain, chance)}
        yield fresh
        yield fresh | {name: EVE for name in fresh if name in _ADDRESSES}
        yield fresh | {chance.choice(_ADDRESSES): EVE}
        for name in fresh:
            for part, values in _HOSTILE.items():
                if name == part or name.endswith(f"_{part}"):
                    yield from (fresh | {name: value} for value in values)
            if isinstance(fresh[name], dict):
                inner = fresh[name]
                yield fresh | {name: inner | {"recipient": EVE}}


def _new_ids(body: Mapping[str, Any], chance: random.Random) -> dict[str, str]:
    return {name: f"eve-{chance.randrange(10**12)}" for name in body if name.startswith("client_")}


async def holdings_of(stack: Stack, address: Address, chain: str = "ethereum") -> dict[str, int]:
    """Base units of every listed asset, by symbol."""
    assets = stack.chain(chain).assets
    return {asset.symbol: await stack.balance_of(address, asset.symbol, chain) for asset in assets}
