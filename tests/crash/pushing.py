"""Somebody else who moves the price of a fork's pools, to a point: the swaps stop there, whatever they were given.

Guarantees: pushing again changes nothing; a fork's pools can be put back to where they were, to the unit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from scripts.devnet.calls import Contract, call_data, hexed
from scripts.devnet.catalogue import CHAINS
from scripts.devnet.cheats import fund_token, impersonate
from scripts.devnet.rpc import DevRpc

PUSHER: Final = "0x00000000219ab540356cBB839Cbe05303d7705Fa"
FEES: Final = (500, 3000)
"""Of the V3 pools of the wrapped native asset and USDC, on both chains."""
PLENTY: Final = {"USDC": 10**14, "wrapped": 10**26}
TIP_WEI: Final = 100 * 10**9
MOST_FEE_WEI: Final = 5_000 * 10**9
GAS: Final = 3_000_000
SLOT0: Final = "slot0()(uint160,int24,uint16,uint16,uint16,uint8,bool)"
SWAP: Final = "exactInputSingle((address,address,uint24,address,uint256,uint256,uint160))"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolAt:
    """A pool with a square root price (Q64.96)."""

    pool: str
    fee: int
    sqrt_price: int


def begin(rpc: DevRpc, chain: str) -> Sequence[PoolAt]:
    """Give the pusher what it takes, and say where the pools are. Needs automine."""
    spec = CHAINS[chain]
    impersonate(rpc, PUSHER)
    for symbol, raw in ((spec.wrapped, PLENTY["wrapped"]), ("USDC", PLENTY["USDC"])):
        fund_token(rpc, chain, symbol, PUSHER, raw)
        token = Contract(rpc, spec.tokens[symbol].address)
        token.send("approve(address,uint256)", spec.contracts["SwapRouter02"], 2**255, sender=PUSHER)
    factory = Contract(rpc, spec.contracts["UniswapV3Factory"])
    tokens = (spec.tokens[spec.wrapped].address, spec.tokens["USDC"].address)
    found = []
    for fee in FEES:
        pool = factory.view("getPool(address,address,uint24)(address)", *tokens, fee)
        found.append(PoolAt(pool=pool, fee=fee, sqrt_price=_sqrt_price(rpc, pool)))
    return found


def moved(pools: Sequence[PoolAt], chain: str, *, bps: int) -> Sequence[PoolAt]:
    """Where they are once the wrapped native asset costs so much more, or less."""
    half = bps if _wrapped_is_first(chain) else -bps
    # The square root of 1 + x is nearly 1 + x / 2.
    return [PoolAt(pool=one.pool, fee=one.fee, sqrt_price=one.sqrt_price * (20_000 + half) // 20_000) for one in pools]


def push(rpc: DevRpc, chain: str, wanted: Sequence[PoolAt]) -> int:
    """Send a swap for each pool that is not there yet, unless some are on their way; how many."""
    if rpc("eth_getTransactionCount", PUSHER, "pending") != rpc("eth_getTransactionCount", PUSHER, "latest"):
        return 0
    spec = CHAINS[chain]
    ends = ("USDC", spec.wrapped) if not _wrapped_is_first(chain) else (spec.wrapped, "USDC")
    sent = 0
    for one in wanted:
        now = _sqrt_price(rpc, one.pool)
        if now == one.sqrt_price:
            continue
        sold, bought = ends if one.sqrt_price < now else (ends[1], ends[0])
        route = (
            spec.tokens[sold].address,
            spec.tokens[bought].address,
            one.fee,
            PUSHER,
            PLENTY["USDC" if sold == "USDC" else "wrapped"] // 100,
            0,
            one.sqrt_price,
        )
        _send(rpc, spec.contracts["SwapRouter02"], call_data(SWAP, route))
        sent += 1
    return sent


def _send(rpc: DevRpc, to: str, data: bytes) -> None:
    request: dict[str, Any] = {
        "from": PUSHER,
        "to": to,
        "data": hexed(data),
        "gas": hex(GAS),
        "maxFeePerGas": hex(MOST_FEE_WEI),
        "maxPriorityFeePerGas": hex(TIP_WEI),
    }
    rpc("eth_sendTransaction", request)


def _sqrt_price(rpc: DevRpc, pool: str) -> int:
    return int(Contract(rpc, pool).view(SLOT0)[0])


def _wrapped_is_first(chain: str) -> bool:
    spec = CHAINS[chain]
    return int(spec.tokens[spec.wrapped].address, 16) < int(spec.tokens["USDC"].address, 16)
