"""Someone else who trades on the same pools."""

from typing import Final

from scripts.devnet.calls import call_data, hexed
from scripts.devnet.catalogue import CHAINS
from scripts.devnet.cheats import fund_native, fund_token, impersonate
from scripts.devnet.rpc import DevRpc
from scripts.devnet.trades import FOREVER

WHALE: Final = "0x00000000219ab540356cBB839Cbe05303d7705Fa"
WETH_SOLD: Final = 3_000 * 10**18
TIP: Final = hex(100 * 10**9)
"""Far above what the service offers, so that the whale comes first in the block."""


def dump_ether(rpc: DevRpc) -> None:
    """Sell so much ether into every WETH/USDC pool that no bound of slippage survives it."""
    spec = CHAINS["ethereum"]
    impersonate(rpc, WHALE)
    fund_native(rpc, WHALE, 10**24)
    fund_token(rpc, "ethereum", "WETH", WHALE, 10 * WETH_SOLD)
    weth, usdc = spec.tokens["WETH"].address, spec.tokens["USDC"].address
    routers = (spec.contracts["SwapRouter02"], spec.contracts["UniswapV2Router02"])
    for router in routers:
        _send(rpc, weth, call_data("approve(address,uint256)", router, 2**255))
    for fee in (500, 3000):
        route = (weth, usdc, fee, WHALE, WETH_SOLD, 0, 0)
        data = call_data("exactInputSingle((address,address,uint24,address,uint256,uint256,uint160))", route)
        _send(rpc, routers[0], data)
    swap = "swapExactTokensForTokens(uint256,uint256,address[],address,uint256)"
    _send(rpc, routers[1], call_data(swap, WETH_SOLD, 0, [weth, usdc], WHALE, FOREVER))


def _send(rpc: DevRpc, to: str, data: bytes) -> None:
    rpc(
        "eth_sendTransaction",
        {
            "from": WHALE,
            "to": to,
            "data": hexed(data),
            "gas": hex(3_000_000),
            "maxFeePerGas": hex(1_000 * 10**9),
            "maxPriorityFeePerGas": TIP,
        },
    )


def ready_to_push(rpc: DevRpc) -> None:
    """Somebody with plenty of both sides, who may trade on the V3 pools."""
    spec = CHAINS["ethereum"]
    impersonate(rpc, WHALE)
    fund_native(rpc, WHALE, 10**24)
    fund_token(rpc, "ethereum", "WETH", WHALE, 10 * WETH_SOLD)
    fund_token(rpc, "ethereum", "USDC", WHALE, 10**14)
    for token in ("WETH", "USDC"):
        approve = call_data("approve(address,uint256)", spec.contracts["SwapRouter02"], 2**255)
        _send(rpc, spec.tokens[token].address, approve)


def push(rpc: DevRpc, *, sold: str, raw: int) -> None:
    """Sell so much of WETH or USDC for the other, on the pools of 500 and 3000."""
    spec = CHAINS["ethereum"]
    bought = "USDC" if sold == "WETH" else "WETH"
    for fee in (500, 3000):
        route = (spec.tokens[sold].address, spec.tokens[bought].address, fee, WHALE, raw, 0, 0)
        data = call_data("exactInputSingle((address,address,uint24,address,uint256,uint256,uint160))", route)
        _send(rpc, spec.contracts["SwapRouter02"], data)
