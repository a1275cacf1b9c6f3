"""What a withdrawal would be now, from the chain and without writing: its call, its gas, its fee, what it takes.

    net     the destination receives the amount; the fee is paid on top
    gross   of the native asset: the amount less the fee set aside arrives, and no attempt ever costs more than was set
            aside, so that the amount is the most that leaves; what is not used of it stays in the wallet
    all     all that is free: of the native asset as gross, of a token the balance

Guarantees: the gas limit is fixed here and at most `MAX_TRANSFER_GAS`, so that a recipient cannot burn more than that,
whatever it does once the transaction is mined; a transfer that would fail now is refused with its reason; amounts are
of one block, less what is reserved.
Not guaranteed: that it would still work when it is mined; it is simulated again before it is signed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from chains.errors import ExecutionReverted, RpcRefused
from chains.fees import after_bumps
from chains.tx.simulation import padded_gas
from chains.types import Address, CallRequest, Header
from chains.units import format_units
from contracts import erc20
from contracts.assets import Asset, AssetId
from contracts.errors import TokenRefused
from service.build import ChainRuntime, Services
from service.errors import ApiError
from service.journal import reservations
from service.markets.fees import expected_price_wei
from service.markets.usd import asset_worth
from service.plans.accepting import Funds
from service.plans.funds import needs, witnessed_balances
from service.plans.refusals import not_enough
from service.withdrawals.model import AmountIs, leaves_at_most, takes_fee_off

MAX_TRANSFER_GAS: Final = 500_000
"""Several times what tokens with hooks and smart wallets use to receive; 0.01 of the native asset at 20 gwei."""
GROSS_BUMPS: Final = 2
"""How often a transaction whose fee is within its amount can be made dearer when fees are as they were: by 21 %."""

_NO_GAS_IS_ENOUGH: Final = ("out of gas", "outofgas", "gas required exceeds")
"""What nodes say of a call that uses up whatever it gets: Anvil and Nethermind, reth, geth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A parsed withdrawal request; `amount` in base units, None of ALL."""

    asset: Asset
    amount: int | None
    amount_is: AmountIs
    destination: Address
    client_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """`amount` arrives; `max_fee_wei` is set aside for gas, and no attempt may cost more where `is_bounded`; `fee_wei`
    is what it would cost at the fees of now. `free` is what the wallet has less what is reserved, by asset."""

    call: CallRequest
    amount: int
    leaves: int
    gas_limit: int
    fee_wei: int
    max_fee_wei: int
    is_bounded: bool
    usd: int | None
    """What leaves, in micro-dollars; None: not known, or nothing asks for it."""
    funds: Funds
    free: Mapping[AssetId, int]
    header: Header


async def prepare(
    services: Services, runtime: ChainRuntime, *, wallet_id: int, wallet: Address, asked: Asked, with_usd: bool
) -> Prepared:
    """Ask the chain. What is not covered is found by whoever holds the funds, or compares.

    Raises:
        ApiError: invalid_parameters, insufficient_balance or insufficient_gas where it is asked for more than is there,
            amount_too_small, would_revert, transfer_too_costly.
        ChainError, BalanceUnknown: the chain cannot be asked now.
    """
    asset, native = asked.asset, runtime.assets.native
    if asked.amount_is is AmountIs.GROSS and not asset.is_native:
        raise ApiError(
            "invalid_parameters",
            f"gas is paid in {native.symbol}, so that nothing is taken off {asset.symbol}: ask for it as net",
        )
    head = await runtime.client.head()
    balances = await witnessed_balances(runtime, wallet, [asset, native], block=head.ref)
    chain_id = runtime.config.chain_id
    holds = await services.db.read(lambda c: reservations.holds(c, wallet_id, chain_id))
    held = reservations.still_held(holds, at=head.number)
    free = {asset_id: max(0, raw - held.get(asset_id, 0)) for asset_id, raw in balances.items()}
    wanted = free[asset.id] if asked.amount is None else asked.amount
    # Before the gas is estimated: a transfer of what is not there reverts with a wording of the token's own.
    if wanted > balances[asset.id] or wanted == 0:
        raise not_enough(runtime, asset.id, wanted=wanted, free=free[asset.id])
    gas_limit = await _gas(runtime, wallet, asset=asset, to=asked.destination, amount=wanted)
    fees = await runtime.fees.suggested(runtime.client, block=head.ref)
    takes_off = takes_fee_off(asset.id, asked.amount_is)
    policy = runtime.config.fees
    most = min(after_bumps(fees.max_fee_wei, GROSS_BUMPS), policy.max_fee_cap_wei) if takes_off else fees.max_fee_wei
    max_fee_wei = gas_limit * most
    amount = wanted - max_fee_wei if takes_off else wanted
    if amount <= 0:
        text = (
            f"{format_units(max_fee_wei, asset.decimals)} {asset.symbol} are set aside for the fee, and nothing is left"
        )
        raise ApiError("amount_too_small", text)
    leaves = leaves_at_most(asset.id, amount, amount_is=asked.amount_is, max_fee_wei=max_fee_wei)
    usd = None
    if with_usd:
        now_s = services.clock.now_ms() // 1000
        usd = await asset_worth(runtime, asset, leaves, header=head, now_s=now_s)
    price_wei = expected_price_wei(fees, base_fee_wei=head.base_fee_wei)
    return Prepared(
        call=erc20.transfer_call(asset, asked.destination, amount=amount),
        amount=amount,
        leaves=leaves,
        gas_limit=gas_limit,
        fee_wei=gas_limit * price_wei,
        max_fee_wei=max_fee_wei,
        is_bounded=takes_off,
        usd=usd,
        funds=Funds(wanted=needs((asset.id, amount), (native.id, max_fee_wei)), balances=balances, height=head.number),
        free=free,
        header=head,
    )


async def _gas(runtime: ChainRuntime, wallet: Address, *, asset: Asset, to: Address, amount: int) -> int:
    """The gas limit. The transfer is executed for it, so that one that would be refused is found here."""
    call = erc20.transfer_call(asset, to, amount=amount)
    try:
        estimate = await runtime.client.estimate_gas(call, sender=wallet)
        if not asset.is_native:
            # Some tokens answer false where others revert.
            erc20.check_success(await runtime.client.call(call, sender=wallet))
    except ExecutionReverted as exc:
        reason = exc.reason or "no reason given"
        raise ApiError("would_revert", f"the transfer would fail on the chain: {reason}") from exc
    except RpcRefused as exc:
        if not any(known in exc.node_message.lower() for known in _NO_GAS_IS_ENOUGH):
            raise
        raise ApiError("transfer_too_costly", "receiving takes more gas than a transaction may have") from exc
    except TokenRefused as exc:
        raise ApiError("would_revert", f"the transfer would move nothing: {exc}") from exc
    limit = padded_gas(estimate, data=call.data)
    if limit > MAX_TRANSFER_GAS:
        text = f"receiving would take up to {limit} gas, and a withdrawal may use {MAX_TRANSFER_GAS} at most"
        raise ApiError("transfer_too_costly", text)
    return limit
