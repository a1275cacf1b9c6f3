"""What a mined transaction did to a wallet: signed changes of listed assets, from the receipt's logs.

    listed token       Transfer logs from and to the wallet; of the wrapped token also Deposit and Withdrawal (WETH9
                       emits no Transfer for those)
    native asset       the value sent or received by the call itself, plus what a recognized call makes a contract pay
                       out: an unwrap, a swap that ends in native coins, a router's refund of unused value

Guarantees: integers as the chain moved them, never as quoted; gas is not included (`receipt.fee_wei` is the sender's);
a transfer to oneself is no change; logs of unlisted contracts are ignored; a reverted transaction changed nothing.
Not guaranteed: native coins that an unrecognized contract pays out, or that strangers left lying in a router, which
its refund sweeps up: they leave no log. Reconciliation shows such a difference as unexplained.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from chains.types import Address, CallRequest, Log, Receipt, address_from_bytes
from contracts.abi import load_abi
from contracts.assets import Asset, AssetId, AssetList, TokenAmount
from contracts.decoding import Swap, decode_call
from contracts.deployments import Deployments
from contracts.errors import NoFill

_WORD: Final = 32
_PADDING: Final = 12
"""Bytes before the 20 of an address in a topic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetDelta:
    """A wallet has `raw` base units more (less, when negative) of the asset. Never zero."""

    asset: Asset
    raw: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """What a swap sold and bought, base units, both positive."""

    sold: TokenAmount
    bought: TokenAmount

    @property
    def sold_raw(self) -> int:
        return self.sold.raw

    @property
    def bought_raw(self) -> int:
        return self.bought.raw


def balance_changes(
    receipt: Receipt, *, call: CallRequest, wallet: Address, assets: AssetList, deployments: Deployments
) -> list[AssetDelta]:
    """Changes of `wallet` by the transaction that made `call`, in the order of the asset list; gas not included."""
    if not receipt.succeeded:
        return []
    events = _Events.of(assets)
    changes: dict[AssetId, int] = {}

    def add(asset: Asset, raw: int) -> None:
        changes[asset.id] = changes.get(asset.id, 0) + raw

    for log in receipt.logs:
        for asset, account, raw in events.token_moves(log):
            if account == wallet:
                add(asset, raw)
    add(assets.native, _native_change(receipt, call, wallet=wallet, assets=assets, deployments=deployments))
    return [AssetDelta(asset=asset, raw=changes[asset.id]) for asset in assets if changes.get(asset.id)]


def swap_fill(
    receipt: Receipt,
    *,
    call: CallRequest,
    wallet: Address,
    sold: Asset,
    bought: Asset,
    assets: AssetList,
    deployments: Deployments,
) -> Fill:
    """What the wallet sold and bought in a swap of its own.

    Raises:
        NoFill: the transaction reverted, or the wallet did not give one and get the other.
    """
    changes = balance_changes(receipt, call=call, wallet=wallet, assets=assets, deployments=deployments)
    moved = {change.asset.id: change.raw for change in changes}
    sold_raw, bought_raw = -moved.get(sold.id, 0), moved.get(bought.id, 0)
    if sold_raw <= 0 or bought_raw <= 0:
        raise NoFill(f"{receipt.tx_hash} did not sell {sold.symbol} for {bought.symbol}")
    return Fill(
        sold=TokenAmount(asset=sold, raw=sold_raw),
        bought=TokenAmount(asset=bought, raw=bought_raw),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Events:
    assets: AssetList
    transfer: bytes
    deposit: bytes
    withdrawal: bytes

    @classmethod
    def of(cls, assets: AssetList) -> "_Events":
        weth9 = load_abi("weth9")
        return cls(
            assets=assets,
            transfer=load_abi("erc20").event("Transfer").topic,
            deposit=weth9.event("Deposit").topic,
            withdrawal=weth9.event("Withdrawal").topic,
        )

    def token_moves(self, log: Log) -> Iterator[tuple[Asset, Address, int]]:
        """(token, account, signed base units) of each account whose token balance the log changes."""
        asset = self.assets.find_address(log.address)
        if asset is None or not log.topics or len(log.data) != _WORD:
            return
        raw = int.from_bytes(log.data, "big")
        match log.topics:
            case (self.transfer, source, target):
                yield asset, _account(source), -raw
                yield asset, _account(target), raw
            case (self.deposit, account) if asset == self.assets.wrapped:
                yield asset, _account(account), raw
            case (self.withdrawal, account) if asset == self.assets.wrapped:
                yield asset, _account(account), -raw
            case _:
                return

    def totals(self, receipt: Receipt, topic: bytes) -> Mapping[Address, int]:
        """Sum of the wrapped coins that each account deposited or withdrew in the transaction, unsigned."""
        totals: dict[Address, int] = {}
        for log in receipt.logs:
            if log.topics and log.topics[0] == topic:
                for _, account, raw in self.token_moves(log):
                    totals[account] = totals.get(account, 0) + abs(raw)
        return totals


def _native_change(
    receipt: Receipt, call: CallRequest, *, wallet: Address, assets: AssetList, deployments: Deployments
) -> int:
    change = 0
    if receipt.sender == wallet:
        change -= call.value_wei
    if call.to == wallet:
        change += call.value_wei
    events = _Events.of(assets)
    # WETH9 pays a withdrawal to the account that asks for it; what it takes for a deposit is in the call's value.
    withdrawn = events.totals(receipt, events.withdrawal)
    change += withdrawn.get(wallet, 0)
    decoded = decode_call(deployments, assets, assets.chain_id, call)
    if isinstance(decoded, Swap):
        if decoded.native_out and decoded.recipient == wallet:
            change += withdrawn.get(decoded.router, 0)
        if decoded.native_in and receipt.sender == wallet:
            # The router wraps what the pools take of the value and sends the rest back.
            change += call.value_wei - events.totals(receipt, events.deposit).get(decoded.router, 0)
    return change


def _account(topic: bytes) -> Address:
    return address_from_bytes(topic[_PADDING:])
