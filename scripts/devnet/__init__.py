"""Local Ethereum and Polygon with the protocols' own bytecode, for the demo and the tests.

See docs/devnet.md. `python -m scripts.devnet --help` for the command line.
"""

from scripts.devnet.cheats import fund_native, fund_token
from scripts.devnet.network import Devnet, LocalChain, start_devnet
from scripts.devnet.rpc import DevRpc, RpcError

__all__ = ["DevRpc", "Devnet", "LocalChain", "RpcError", "fund_native", "fund_token", "start_devnet"]
