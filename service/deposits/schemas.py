"""What the deposit-address route answers."""

from typing import Final

from pydantic import ConfigDict

from service.markets.schemas import AssetOut, Document

NOTE: Final = (
    "Send only the assets listed here, on this chain only. Deposits are not recognized as such yet: what arrives is"
    " part of the balance at once, can be traded and withdrawn, and shows as unexplained in the reconciliation."
)


class DepositAddressAnswer(Document):
    """Where the key's wallet receives on one chain, and the listed assets that it accepts there."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "chain": "ethereum",
                    "chain_id": 1,
                    "address": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
                    "assets": [
                        {
                            "id": "eip155:1/slip44:60",
                            "symbol": "ETH",
                            "name": "Ether",
                            "decimals": 18,
                            "address": None,
                        }
                    ],
                    "note": NOTE,
                }
            ]
        }
    )

    chain: str
    chain_id: int
    address: str
    assets: list[AssetOut]
    note: str
