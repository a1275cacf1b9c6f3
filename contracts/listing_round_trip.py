"""Whether a token that was bought can be sold again: both swaps through the pinned routers, in one simulation.

A honeypot lets everyone buy and only its owner sell; a tax may be taken of routers and pools alone. So an account that
the token has never seen buys some for the native asset and sells all of it, as an order would, and what arrives each
time is compared with the quotes.

Guarantees: nothing is sent or signed; both quotes and the simulation are of one block.
Not guaranteed: the same for another account or at another time, see `contracts.listing_transfers`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from chains.client import EvmClient, SimResult
from chains.types import Address, CallRequest, Header
from contracts import erc20
from contracts.abi import encode_call, load_abi
from contracts.assets import Asset, AssetList
from contracts.deployments import MULTICALL3, Deployments
from contracts.errors import AmountTooSmall
from contracts.listing_transfers import probe_address, simulate_paid
from contracts.pools import PoolDirectory
from contracts.quoting import best_quote
from contracts.routing.model import RoutedSwap
from contracts.swaps import SwapCall, compile_route

SPENT_WEI: Final = (10**16, 10**18, 10**20)
"""Native units tried in turn, until one buys something: the token may be dear, or have no decimals."""
RETURNED_AT_LEAST_BPS: Final = 9_900
"""What selling must bring, of what the quote before the purchase said: the purchase itself made the token dearer, so
that an honest token brings a little more; routes through other pools may differ a little."""
DEADLINE_S: Final = 3_600


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTrip:
    """Base units of the token, and wei of the native asset. `failed` says which step did not happen, and why."""

    quoted_tokens: int
    bought_tokens: int
    quoted_wei: int
    returned_wei: int
    failed: str | None = None

    @property
    def is_honest(self) -> bool:
        """Both swaps happened, and brought what their quotes said."""
        return (
            self.failed is None
            and self.bought_tokens == self.quoted_tokens
            and self.returned_wei * 10_000 >= self.quoted_wei * RETURNED_AT_LEAST_BPS
        )


async def try_round_trip(
    client: EvmClient, token: Asset, *, assets: AssetList, deployments: Deployments, block: Header
) -> RoundTrip:
    """Buy and sell again. `assets` has the token in it already.

    Raises:
        QuoteError: no route from the native asset to the token or back, or none that buys anything.
        MethodUnavailable, RpcError: the node does not simulate, or did not answer.
    """
    pools = PoolDirectory(assets.chain_id)

    async def quote(sold: Asset, bought: Asset, *, amount: int) -> RoutedSwap:
        return await best_quote(
            client,
            assets=assets,
            deployments=deployments,
            sold=sold,
            bought=bought,
            amount=amount,
            exact="in",
            pools=pools,
            block=block.ref,
        )

    *smaller, largest = SPENT_WEI
    for spent in smaller:
        try:
            buying = await quote(assets.native, token, amount=spent)
            selling = await quote(token, assets.native, amount=buying.amount_out)
            break
        except AmountTooSmall:
            continue
    else:
        buying = await quote(assets.native, token, amount=largest)
        selling = await quote(token, assets.native, amount=buying.amount_out)

    trader, payee, reader = (
        probe_address(f"{role} of {token.token_address}") for role in ("trader", "payee", "reader")
    )

    def compiled(priced: RoutedSwap, *, recipient: Address) -> SwapCall:
        return compile_route(
            priced,
            deployments=deployments,
            assets=assets,
            recipient=recipient,
            max_in=priced.amount_in,
            min_out=1,
            deadline_s=block.timestamp_s + DEADLINE_S,
        )

    # The trader pays for gas in what the sale brings: it goes to somebody who pays for nothing.
    buy, sell = compiled(buying, recipient=trader), compiled(selling, recipient=payee)
    multicall = deployments.address(assets.chain_id, MULTICALL3)
    tokens = erc20.balance_of(token.token_address, trader).request
    native = CallRequest(to=multicall, data=encode_call(load_abi("multicall3").function("getEthBalance"), payee))
    approve = erc20.approve_call(token.token_address, sell.spender, amount=sell.spend.raw)
    results = await simulate_paid(
        client,
        [
            (trader, buy.call),
            (reader, tokens),
            (reader, native),
            (trader, approve),
            (trader, sell.call),
            (reader, native),
        ],
        block=block,
    )
    return _outcome(results, buying=buying, selling=selling)


def _outcome(results: Sequence[SimResult], *, buying: RoutedSwap, selling: RoutedSwap) -> RoundTrip:
    bought, tokens, native_before, approved, sold, native_after = results
    failed = next(
        (
            f"{step}: {result.reason or 'no reason given'}"
            for step, result in (("buying", bought), ("approving", approved), ("selling", sold))
            if not result.succeeded
        ),
        None,
    )
    return RoundTrip(
        quoted_tokens=buying.amount_out,
        bought_tokens=_number(tokens),
        quoted_wei=selling.amount_out,
        returned_wei=_number(native_after) - _number(native_before),
        failed=failed,
    )


def _number(result: SimResult) -> int:
    return int.from_bytes(result.output[:32], "big") if result.succeeded else 0
