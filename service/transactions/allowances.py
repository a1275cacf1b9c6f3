"""What others may take of a wallet's listed tokens, at one block.

Looked at are the registry's routers, Permit2, the contracts that calls of this wallet were to approve, and whom the
client names. Guarantees: one block; an allowance that cannot be read is unknown, never zero.
Not guaranteed: that there is no other spender. An approval that was given elsewhere, before or beside this service, is
found only by reading the token's logs since its beginning, which no node serves at once; name such a spender.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from chains.types import Address, Header
from contracts import erc20
from contracts.assets import Asset
from contracts.deployments import MULTICALL3
from contracts.multicall import Ok, aggregate
from contracts.permit2 import PERMIT2
from service.build import ChainRuntime, Services
from service.journal.needs import WalletRow
from service.orders.storage import sells_already
from service.transactions import storage

UNLIMITED_FROM: Final = 1 << 127
"""Base units; no listed token has as many, and some write 2^128 - 1 where others write 2^256 - 1."""
PERMIT2_NAME: Final = "permit2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """`raw` base units of the asset may be taken by the spender; None: it could not be read.

    `is_needed`: an open order or call counts on it, so that it is not revoked now.
    """

    asset: Asset
    spender: Address
    raw: int | None
    is_needed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowances:
    """All that are not zero, or unknown; `spenders` were looked at, with their names in the registry."""

    found: Sequence[Allowance]
    spenders: Mapping[Address, str | None]
    header: Header


async def read_allowances(
    services: Services, runtime: ChainRuntime, wallet: WalletRow, *, named: Sequence[Address]
) -> Allowances:
    """At the head. Raises: ChainError."""
    chain_id = runtime.config.chain_id
    approved = await services.db.read(lambda c: storage.approved_spenders(c, wallet.id, chain_id=chain_id))
    spenders = _spenders(runtime, [*approved, *named])
    tokens = [asset for asset in runtime.assets if not asset.is_native]
    pairs = [(token, spender) for token in tokens for spender in spenders]
    header = await runtime.client.head()
    results = await aggregate(
        runtime.client,
        [erc20.allowance(token.token_address, wallet.address, spender=spender) for token, spender in pairs],
        multicall=runtime.deployments.address(chain_id, MULTICALL3),
        block=header.ref,
    )
    amounts = [result.value if isinstance(result, Ok) else None for result in results]
    standing = [(token, spender, raw) for (token, spender), raw in zip(pairs, amounts, strict=True) if raw != 0]
    routers = runtime.deployments.spenders(chain_id)

    def needed(c: Connection, token: Asset, spender: Address) -> bool:
        by_order = spender in routers and sells_already(c, wallet.id, asset_id=token.id)
        return by_order or storage.approves_already(c, wallet.id, asset_id=token.id, spender=spender)

    def judged(c: Connection) -> list[Allowance]:
        return [
            Allowance(asset=token, spender=spender, raw=raw, is_needed=needed(c, token, spender))
            for token, spender, raw in standing
        ]

    return Allowances(found=await services.db.read(judged), spenders=spenders, header=header)


def _spenders(runtime: ChainRuntime, more: Sequence[Address]) -> dict[Address, str | None]:
    """In a fixed order, each once: the registry's, Permit2, others."""
    names = {address: name for name, address in runtime.deployments.contracts(runtime.config.chain_id).items()}
    routers = [router.address for router in runtime.deployments.routers(runtime.config.chain_id)]
    found: dict[Address, str | None] = {router: names.get(router) for router in routers}
    found[PERMIT2] = PERMIT2_NAME
    for spender in more:
        found.setdefault(spender, names.get(spender))
    return found
