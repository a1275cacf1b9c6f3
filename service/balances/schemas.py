"""What the routes of balances answer. Amounts are decimal text in whole units; `raw` is text in base units."""

from typing import Final, Literal

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from chains.units import format_units
from contracts.assets import Asset
from service.balances.reading import Balance, Balances
from service.journal.reconcile import ChainReport, Row
from service.markets.schemas import Block, Document

_WALLET: Final = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
_BLOCK: Final[JsonDict] = {
    "number": 23_900_000,
    "hash": "0x5f0d2d6f4a4b1f8f1d3a6a52e0c6e1a9a2c9b7a8f0e1d2c3b4a5968778695a4b",
}
_USDC: Final[JsonDict] = {
    "asset": "USDC",
    "asset_id": "eip155:1/erc20:0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48",
    "name": "USD Coin",
    "decimals": 6,
}


class BooksBlock(Document):
    """The block up to which everything is booked; the comparison is made there."""

    number: int
    hash: str


class BalanceItem(Document):
    """One listed asset. With status `unknown` its amounts are null: it could not be read, which is not zero."""

    asset: str = Field(description="Symbol, unique among the chain's listed assets.")
    asset_id: str = Field(description="CAIP-19 id.")
    name: str
    decimals: int
    status: Literal["ok", "unknown"]
    total: str | None = Field(description="What the wallet has on the chain.")
    available: str | None = Field(description="total less reserved, never negative.")
    reserved: str = Field(description="What accepted orders and withdrawals may still need, gas included.")
    raw: str | None = Field(description="total in base units.")


class BalancesAnswer(Document):
    """All listed assets of the key's wallet on one chain, at one block."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "chain": "ethereum",
                    "wallet": _WALLET,
                    "block": {**_BLOCK, "age_ms": 4_210},
                    "balances": [
                        {
                            **_USDC,
                            "status": "ok",
                            "total": "2500.5",
                            "available": "2400.5",
                            "reserved": "100",
                            "raw": "2500500000",
                        },
                    ],
                }
            ]
        }
    )

    chain: str
    wallet: str
    block: Block
    balances: list[BalanceItem]


class ReconciliationItem(Document):
    """One asset: opening + journal = expected; chain - expected = unexplained. Signed where it can be negative."""

    asset: str | None = Field(description="Symbol; null for an asset that is no longer listed.")
    asset_id: str
    verdict: Literal["ok", "unexplained", "unknown"]
    why: str | None = Field(description="Why it is unknown, as a stable word.")
    opening: str | None
    journal: str | None
    expected: str | None
    chain: str | None
    unexplained: str | None = Field(description="What came in (or, negative, went) without being booked.")


class ReconciliationAnswer(Document):
    """The books of the key's wallet against one chain, at the block up to which everything is booked."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "chain": "ethereum",
                    "wallet": _WALLET,
                    "block": _BLOCK,
                    "verdict": "unexplained",
                    "why": None,
                    "assets": [
                        {
                            "asset": "USDC",
                            "asset_id": _USDC["asset_id"],
                            "verdict": "unexplained",
                            "why": None,
                            "opening": "1000",
                            "journal": "-250.25",
                            "expected": "749.75",
                            "chain": "849.75",
                            "unexplained": "100",
                        }
                    ],
                }
            ]
        }
    )

    chain: str
    wallet: str
    block: BooksBlock | None = Field(description="Null while the wallet's books are not open on this chain.")
    verdict: Literal["ok", "unexplained", "unknown"]
    why: str | None = Field(description="Why the whole chain is unknown, as a stable word.")
    assets: list[ReconciliationItem]


def balances_answer(balances: Balances, *, chain: str, wallet: str, block: Block) -> BalancesAnswer:
    """The answer to `GET /v1/{chain}/balances`; `block` is that of `balances`, with its age."""
    return BalancesAnswer(
        chain=chain,
        wallet=wallet,
        block=block,
        balances=[_item(row) for row in balances.rows],
    )


def reconciliation_answer(report: ChainReport, *, wallet: str) -> ReconciliationAnswer:
    """The answer to `GET /v1/{chain}/reconciliation`."""
    return ReconciliationAnswer(
        chain=report.key,
        wallet=wallet,
        block=None if report.cursor is None else BooksBlock(number=report.cursor.number, hash=report.cursor.hash),
        verdict=report.verdict.value,
        why=None if report.why is None else report.why.value,
        assets=[_reconciled(row) for row in report.rows],
    )


def _item(row: Balance) -> BalanceItem:
    asset = row.asset
    return BalanceItem(
        asset=asset.symbol,
        asset_id=asset.id,
        name=asset.name,
        decimals=asset.decimals,
        status="unknown" if row.total is None else "ok",
        total=_text(row.total, asset),
        available=_text(row.available, asset),
        reserved=format_units(row.reserved, asset.decimals),
        raw=None if row.total is None else str(row.total),
    )


def _reconciled(row: Row) -> ReconciliationItem:
    return ReconciliationItem(
        asset=None if row.asset is None else row.asset.symbol,
        asset_id=row.asset_id,
        verdict=row.verdict.value,
        why=None if row.why is None else row.why.value,
        opening=_text(row.opening, row.asset),
        journal=_text(row.journal, row.asset),
        expected=_text(row.expected, row.asset),
        chain=_text(row.chain, row.asset),
        unexplained=_text(row.unexplained, row.asset),
    )


def _text(raw: int | None, asset: Asset | None) -> str | None:
    # Without its decimals (an asset that is no longer listed) no amount can be written in whole units.
    return None if raw is None or asset is None else format_units(raw, asset.decimals)
