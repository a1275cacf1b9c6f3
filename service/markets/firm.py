"""What a priced trade would move if it were sent now: the very transaction, simulated from the wallet that sends it.

Guarantees: approvals included, on the state of the quote's block; what is told is what balances show, not what pools or
tokens say. Not guaranteed: funds that other orders hold, which placing looks at, or that the block stays the newest.
"""

from chains.errors import ExecutionReverted
from chains.tx.store import Clock
from chains.types import Address, CallRequest
from contracts import erc20
from contracts.arrival import Moved, moved
from contracts.call import execute
from contracts.deployments import MULTICALL3
from contracts.swaps import SwapCall, compile_route
from service.errors import ApiError
from service.markets.needs import QuotedChain
from service.markets.quotes import PricedTrade
from service.plans.funds import balances_at
from service.plans.refusals import not_enough


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


async def router_allowance(chain: QuotedChain, priced: PricedTrade, swap: SwapCall, *, wallet: Address) -> int:
    """What the router may take of the sold asset at the quote's block; 0 for the native one. Raises: ChainError."""
    asset = swap.spend.asset
    if asset.is_native:
        return 0
    return await execute(
        chain.client, erc20.allowance(asset.token_address, wallet, spender=swap.spender), block=priced.header.ref
    )


async def simulated(
    chain: QuotedChain, priced: PricedTrade, swap: SwapCall, *, wallet: Address, allowance: int
) -> Moved:
    """The changes of the sold and of the bought asset, after the quote's block.

    Raises:
        ExecutionReverted: the trade, or an approval before it, fails.
        ChainError: the node did not answer, or cannot simulate.
    """
    spend = swap.spend
    before: tuple[CallRequest, ...] = ()
    if not spend.asset.is_native:
        before = erc20.approvals(spend.asset, swap.spender, current=allowance, needed=spend.raw)
    return await moved(
        chain.client,
        [*before, swap.call],
        wallet=wallet,
        assets=[priced.trade.sold, priced.trade.bought],
        multicall=chain.deployments.address(chain.config.chain_id, MULTICALL3),
        head=priced.header,
    )


async def is_firm(chain: QuotedChain, priced: PricedTrade, *, wallet: Address, clock: Clock, deadline_s: int) -> bool:
    """Whether exactly what was quoted would move in the next block.

    `deadline_s` is how long an order would wait, in seconds.

    Raises:
        ApiError: insufficient_balance, insufficient_gas; would_revert, with the chain's reason.
        ChainError: the node did not answer, or cannot simulate.
    """
    latest_s = max(clock.now_ms() // 1000, priced.header.timestamp_s) + deadline_s
    swap = compiled(chain, priced, wallet=wallet, deadline_s=latest_s)
    spend = swap.spend
    held = (await balances_at(chain, wallet, [spend.asset], block=priced.header.ref))[spend.asset.id]
    if held < spend.raw:
        raise not_enough(chain, spend.asset.id, wanted=spend.raw, free=held)
    allowance = await router_allowance(chain, priced, swap, wallet=wallet)
    try:
        found = await simulated(chain, priced, swap, wallet=wallet, allowance=allowance)
    except ExecutionReverted as exc:
        raise ApiError("would_revert", f"the trade would fail on the chain: {exc.reason or 'no reason given'}") from exc
    return found.changes == (-priced.quote.amount_in, priced.quote.amount_out)


def refuse_taxed(priced: PricedTrade, found: Moved) -> None:
    """That what arrives is within the limit, and no more leaves: a router judges by what pools pay.

    Raises: ApiError: taxed_transfer.
    """
    sold, bought = -found.changes[0], found.changes[1]
    if bought < priced.limits.min_bought or sold > priced.limits.max_sold:
        raise ApiError(
            "taxed_transfer",
            f"{priced.trade.bought.symbol} or {priced.trade.sold.symbol} keeps a part of what is transferred:"
            " less would arrive than the pools pay out",
        )
