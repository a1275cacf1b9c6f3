"""Pools and trades to put into a database."""

from chains.types import ZERO_ADDRESS, ChainId, TxHash, address_from_bytes
from contracts.assets import load_assets
from contracts.deployments import Venue
from contracts.pools import PoolKey
from service.markets.history.model import FollowedPool, Trade, trade_id

ETHEREUM = ChainId(1)
ASSETS = load_assets(ETHEREUM)
WETH, USDC, DAI = (ASSETS.by_symbol(symbol).token_address for symbol in ("WETH", "USDC", "DAI"))
POOL = address_from_bytes(b"\x01" * 20)
OTHER_POOL = address_from_bytes(b"\x02" * 20)
NOT_A_POOL = ZERO_ADDRESS
START_S = 1_767_225_600
"""A midnight."""


def key(fee_pips: int = 500) -> PoolKey:
    return PoolKey.of(Venue.UNISWAP_V3, (WETH, USDC), fee_pips=fee_pips)


def trade(
    pool: FollowedPool,
    block: int,
    log_index: int = 0,
    *,
    amounts: tuple[int, int] = (3_000 * 10**6, 10**18),
    zero_for_one: bool = True,
    time_s: int | None = None,
) -> Trade:
    """A trade in a block, one block a 12 seconds since midnight."""
    return Trade(
        id=trade_id(block, log_index),
        pair_id=pool.pair_id,
        pool_id=pool.id,
        time_ms=(START_S + 12 * block if time_s is None else time_s) * 1000,
        tx_hash=TxHash("0x" + "11" * 32),
        zero_for_one=zero_for_one,
        amount0=amounts[0],
        amount1=amounts[1],
    )
