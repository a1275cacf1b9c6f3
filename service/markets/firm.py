"""A quote that was tried: the very transaction that an order would send, simulated from the caller's wallet.

Guarantees: approvals included, on the state of the quote's block; `firm` only if exactly the quoted amounts moved.
Not guaranteed: funds that other orders hold, which placing looks at, or that the block stays the newest.
"""

from dataclasses import dataclass
from typing import Final

from chains.tx.store import Clock
from chains.types import Address, CallRequest
from contracts import erc20
from contracts.abi import load_abi
from contracts.assets import Asset
from contracts.call import Call, call_one, execute
from contracts.deployments import MULTICALL3
from contracts.swaps import SwapCall, compile_route
from service.errors import ApiError
from service.markets.needs import QuotedChain
from service.markets.quotes import PricedTrade
from service.plans.refusals import not_enough

MIN_DEADLINE_S: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What the simulated trade moved, base units, and the gas that it used (the swap's own)."""

    sold: int
    bought: int
    gas_used: int


def compiled(chain: QuotedChain, priced: PricedTrade, *, wallet: Address, deadline_s: int) -> SwapCall:
    """The transaction of the priced trade, with its limits. Raises: UnsafeSwap."""
    return compile_route(
        priced.quote,
        deployments=chain.deployments,
        assets=chain.assets,
        recipient=wallet,
        max_in=priced.limits.max_sold,
        min_out=priced.limits.min_bought,
        deadline_s=deadline_s,
    )


async def tried(chain: QuotedChain, priced: PricedTrade, *, wallet: Address, clock: Clock) -> Tried:
    """Simulate the trade after the quote's block.

    Raises:
        ApiError: insufficient_balance, insufficient_gas; would_revert, with the chain's reason.
        ChainError: the node did not answer, or cannot simulate.
    """
    header = priced.header
    deadline_s = max(clock.now_ms() // 1000, header.timestamp_s) + MIN_DEADLINE_S + chain.config.block_time_ms // 1000
    swap = compiled(chain, priced, wallet=wallet, deadline_s=deadline_s)
    sold, bought = priced.trade.sold, priced.trade.bought
    looks = [_balance(chain, asset, wallet) for asset in (sold, bought)]
    spend = swap.spend
    held = await execute(chain.client, looks[0], block=header.ref)
    if held < spend.raw:
        raise not_enough(chain, spend.asset.id, wanted=spend.raw, free=held)
    approvals = await _approvals(chain, swap, wallet=wallet, priced=priced)
    calls = [*_requests(looks), *approvals, swap.call, *_requests(looks)]
    results = await chain.client.simulate(calls, sender=wallet, block=header)
    for result in results:
        if not result.succeeded:
            raise ApiError("would_revert", f"the trade would fail on the chain: {result.reason or 'no reason given'}")
    before = [look.decode(result.output) for look, result in zip(looks, results[:2], strict=True)]
    after = [look.decode(result.output) for look, result in zip(looks, results[-2:], strict=True)]
    return Tried(sold=before[0] - after[0], bought=after[1] - before[1], gas_used=results[-3].gas_used)


def is_firm(priced: PricedTrade, tried_out: Tried) -> bool:
    """Whether exactly what was quoted moved."""
    return (tried_out.sold, tried_out.bought) == (priced.quote.amount_in, priced.quote.amount_out)


def _balance(chain: QuotedChain, asset: Asset, wallet: Address) -> Call[int]:
    if asset.is_native:
        multicall = chain.deployments.address(chain.config.chain_id, MULTICALL3)
        return call_one(multicall, load_abi("multicall3").function("getEthBalance"), wallet)
    return erc20.balance_of(asset.token_address, wallet)


def _requests(calls: list[Call[int]]) -> list[CallRequest]:
    return [call.request for call in calls]


async def _approvals(
    chain: QuotedChain, swap: SwapCall, *, wallet: Address, priced: PricedTrade
) -> tuple[CallRequest, ...]:
    asset, needed = swap.spend.asset, swap.spend.raw
    if asset.is_native:
        return ()
    allowance = erc20.allowance(asset.token_address, wallet, spender=swap.spender)
    current = await execute(chain.client, allowance, block=priced.header.ref)
    return erc20.approvals(asset, swap.spender, current=current, needed=needed)
