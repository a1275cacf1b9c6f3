"""What the deposit-address route answers."""

from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from chains.config import ChainConfig
from chains.types import Address
from contracts.assets import AssetList

NOTE: Final = (
    "Send only the assets listed here, on this chain only. Deposits are not recognized as such yet: what arrives is"
    " part of the balance at once, can be traded and withdrawn, and shows as unexplained in the reconciliation."
)


class DepositAsset(BaseModel):
    """A listed asset that the address accepts. `address` is the token's contract, null for the native asset."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    asset: str = Field(description="Symbol, unique among the chain's listed assets.")
    asset_id: str = Field(description="CAIP-19 id.")
    name: str
    decimals: int
    address: str | None


class DepositAddressAnswer(BaseModel):
    """Where the key's wallet receives on one chain."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "chain": "ethereum",
                    "chain_id": 1,
                    "address": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
                    "assets": [
                        {
                            "asset": "ETH",
                            "asset_id": "eip155:1/slip44:60",
                            "name": "Ether",
                            "decimals": 18,
                            "address": None,
                        }
                    ],
                    "note": NOTE,
                }
            ]
        },
    )

    chain: str
    chain_id: int
    address: str
    assets: list[DepositAsset]
    note: str


def deposit_address_answer(wallet: Address, config: ChainConfig, assets: AssetList) -> DepositAddressAnswer:
    """The answer to `GET /v1/{chain}/deposit-address`."""
    return DepositAddressAnswer(
        chain=config.key,
        chain_id=config.chain_id,
        address=wallet,
        assets=[
            DepositAsset(
                asset=asset.symbol, asset_id=asset.id, name=asset.name, decimals=asset.decimals, address=asset.address
            )
            for asset in assets
        ],
        note=NOTE,
    )
