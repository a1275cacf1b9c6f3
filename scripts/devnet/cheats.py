"""What only a test chain allows: money from nowhere, feeds set by hand, acting as anyone.

Guarantees: the `fund_*` functions send no transaction and mine no block, so that they work in every mining mode;
they add to what is there. They therefore leave no Transfer log, and a read at an older block does not see them.
Works on forks of the local chains and of real networks.
"""

from __future__ import annotations

import time

from scripts.devnet.artifacts import Toolbox
from scripts.devnet.calls import Contract
from scripts.devnet.catalogue import CHAINS, ChainSpec
from scripts.devnet.placing import TREASURY, Builder, InPlace, Place
from scripts.devnet.rpc import DevRpc


class FundingFailed(Exception):
    """The node could not give an account a token."""


def fund_native(rpc: DevRpc, address: str, wei: int) -> None:
    """Add native coins to an account."""
    balance = int(rpc("eth_getBalance", address, "latest"), 16)
    rpc("anvil_setBalance", address, hex(balance + wei))


def fund_token(rpc: DevRpc, chain: str, symbol: str, address: str, raw: int) -> None:  # the agreed call
    """Add a listed token (label of the catalogue: `USDC`, `USDCE`, ...) to an account, in base units.

    New wrapped coins are backed by as much native coin, so that they can be unwrapped. Total supplies of other
    tokens do not change.

    Raises:
        KeyError: no such chain or token.
        FundingFailed: the node did not find where the token keeps its balances.
    """
    spec = CHAINS[chain]
    token = spec.tokens[symbol]
    contract = Contract(rpc, token.address)
    wanted = contract.view("balanceOf(address)(uint256)", address) + raw
    rpc("anvil_dealERC20", address, token.address, hex(wanted))
    got = contract.view("balanceOf(address)(uint256)", address)
    if got != wanted:
        raise FundingFailed(f"{address} should hold {wanted} of {symbol} on {chain} but holds {got}")
    if symbol == spec.wrapped:
        fund_native(rpc, token.address, raw)


def impersonate(rpc: DevRpc, address: str) -> None:
    """Let `eth_sendTransaction` act as an account, with gas to do so. No signature is made anywhere."""
    rpc("anvil_impersonateAccount", address)
    fund_native(rpc, address, 10**24)


def sync_clock(rpc: DevRpc) -> None:
    """Bring the chain's clock to the present and mine one block.

    After `evm_revert` Anvil goes on from the reverted block's time, and falls behind with every revert.
    """
    rpc("evm_setTime", hex(int(time.time())))
    rpc("evm_mine")


def feed_answer(rpc: DevRpc, spec: ChainSpec, base: str) -> int:
    """Latest USD price of a feed, 8 decimals."""
    answer: int = Contract(rpc, spec.feeds[base].address).view("latestAnswer()(int256)")
    return answer


def set_feed(rpc: DevRpc, spec: ChainSpec, *, base: str, answer: int) -> None:
    """A new round of a feed, by a transaction of the treasury (impersonated by the caller).

    On a fork of a real network `install_mock_aggregators` comes first.
    """
    aggregator = Contract(rpc, spec.feeds[base].address).view("aggregator()(address)")
    Contract(rpc, aggregator).send("updateAnswer(int256)", answer, sender=TREASURY)


def refresh_feeds(rpc: DevRpc, spec: ChainSpec) -> None:
    """A new round of every feed with its present answer, one transaction each: nobody's oracles answer here.

    Needs automine, or it waits for a block that does not come. Polygon's feeds are stale after minutes.
    """
    impersonate(rpc, TREASURY)
    for base in spec.feeds:
        set_feed(rpc, spec, base=base, answer=feed_answer(rpc, spec, base))
    rpc("anvil_stopImpersonatingAccount", TREASURY)


def install_mock_aggregators(rpc: DevRpc, spec: ChainSpec, *, toolbox: Toolbox) -> None:
    """On a fork of a real network: replace what answers behind each proxy by the mock, at its present answer."""
    impersonate(rpc, TREASURY)
    builder = Builder(rpc, toolbox.contracts)
    for base, feed in spec.feeds.items():
        proxy = Contract(rpc, feed.address)
        builder.place(
            Place(
                name=f"{base}/USD aggregator",
                artifact="MockV3Aggregator",
                address=proxy.view("aggregator()(address)"),
                how=InPlace(),
                types=("uint8", "int256"),
                arguments=(proxy.view("decimals()(uint8)"), feed_answer(rpc, spec, base)),
            )
        )
