"""Wraps, unwraps and revoked allowances: nothing leaves the wallet but gas.

Guarantees: a wrap and an unwrap are one for one, to the wei; a revocation approves exactly zero, so that it only
narrows; each was executed by the node without effect before it is accepted.
"""

from collections.abc import Mapping

from chains.errors import ExecutionReverted
from chains.tx.simulation import padded_gas
from chains.types import Address, CallRequest, InvalidAddress, parse_address
from contracts import erc20, weth
from contracts.assets import Asset, AssetId
from contracts.call import execute
from service.auth.callers import Caller
from service.build import ChainRuntime
from service.errors import ApiError
from service.plans.accepting import Funds
from service.plans.funds import balances_at, needs
from service.plans.refusals import not_enough
from service.transactions.model import TransactionKind
from service.transactions.placement import Asked, Prepared


def wrap(runtime: ChainRuntime, *, amount: int, client_id: str) -> Asked:
    """Native coins into wrapped ones."""
    call = weth.wrap_call(runtime.assets.wrapped.token_address, amount)
    native = runtime.assets.native.id
    return Asked(kind=TransactionKind.WRAP, client_id=client_id, call=call, asset=native, amount=amount)


def unwrap(runtime: ChainRuntime, *, amount: int, client_id: str) -> Asked:
    """Wrapped coins into native ones."""
    wrapped = runtime.assets.wrapped
    call = weth.unwrap_call(wrapped.token_address, amount)
    return Asked(kind=TransactionKind.UNWRAP, client_id=client_id, call=call, asset=wrapped.id, amount=amount)


def revoke(asset: Asset, spender: Address, *, client_id: str) -> Asked:
    """The allowance of one (token, spender) set to zero. Raises: ApiError: the native asset has no allowances."""
    if asset.is_native:
        raise ApiError("invalid_parameters", f"{asset.symbol} is the native asset and has no allowances")
    call = erc20.approve_call(asset.token_address, spender, amount=0)
    return Asked(kind=TransactionKind.REVOKE, client_id=client_id, call=call, asset=asset.id, spender=spender)


def parse_spender(text: str) -> Address:
    """Raises: ApiError: invalid_address."""
    try:
        return parse_address(text)
    except InvalidAddress as exc:
        raise ApiError("invalid_address", str(exc)) from exc


async def prepare(runtime: ChainRuntime, caller: Caller, *, asked: Asked) -> Prepared:
    """What it takes, at the head.

    Raises:
        ApiError: insufficient_balance, insufficient_gas, allowance_is_zero, would_revert.
        ChainError, BalanceUnknown: the chain cannot be asked now.
    """
    head = await runtime.client.head()
    wallet, native = caller.wallet.address, runtime.assets.native
    given = _given(asked)
    wanted = [runtime.assets.by_id(asset_id) for asset_id in given]
    balances = await balances_at(runtime, wallet, [*wanted, native], block=head.ref)
    for asset_id, raw in given.items():
        if raw > balances[asset_id]:
            raise not_enough(runtime, asset_id, wanted=raw, free=balances[asset_id])
    if asked.kind is TransactionKind.REVOKE and asked.spender is not None:
        allowance = erc20.allowance(asked.call.to, wallet, spender=asked.spender)
        if await execute(runtime.client, allowance, block=head.ref) == 0:
            raise ApiError("allowance_is_zero", f"{asked.spender} may take nothing of it at block {head.number}")
    fees = await runtime.fees.suggested(runtime.client, block=head.ref)
    gas_wei = await _gas(runtime, wallet, asked.call) * fees.max_fee_wei
    funds = Funds(
        wanted=needs(*given.items(), (native.id, gas_wei)),
        balances=balances,
        height=head.number,
    )
    return Prepared(calls=[asked.call], funds=funds, gas_wei=gas_wei, usd=None)


def _given(asked: Asked) -> Mapping[AssetId, int]:
    return {} if asked.asset is None or asked.amount is None else {asked.asset: asked.amount}


async def _gas(runtime: ChainRuntime, wallet: Address, call: CallRequest) -> int:
    """Gas set aside. The estimate executes the call, so that one that fails is found here."""
    try:
        estimate = await runtime.client.estimate_gas(call, sender=wallet)
    except ExecutionReverted as exc:
        raise ApiError("would_revert", f"it would fail on the chain: {exc.reason or 'no reason given'}") from exc
    return padded_gas(estimate, data=call.data)
