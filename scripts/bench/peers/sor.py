"""Uniswap's own @uniswap/smart-order-router beside ours, on the same node: installed by npm, run by Node.js.

It needs a quoter of mixed routes and a multicall that the devnet has no use for: `place_helpers` puts them where the
library expects them on Ethereum, from the artifacts that npm installs with it. Guarantees: the project needs neither
Node.js nor the package; where they cannot be had, `PeerUnavailable` says why. Its subgraph, gas price and token lists
are answered in its own process, so that its time is not that of a service of somebody else.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from contracts.assets import Asset, AssetList
from contracts.routes import Exact
from contracts.routing.model import GraphPool
from contracts.uniswap_v2.pool import V2Pool
from scripts.bench.peers.environment import INSTALL_TIMEOUT_S, PeerUnavailable
from scripts.bench.routingmarket import ETH_USD
from scripts.devnet.artifacts import cache_folder
from scripts.devnet.calls import send_raw, unhexed
from scripts.devnet.catalogue import ETHEREUM
from scripts.devnet.placing import TREASURY
from scripts.devnet.rpc import DevRpc

PACKAGE: Final = "@uniswap/smart-order-router"
VERSION: Final = "4.31.10"
_DONE: Final = "installed"
_MULTICALL: Final = "0x1F98415757620B543A52E61c46B32eB19261F984"
_QUOTER: Final = "0x5e55C9e631FAE526cd4B0526C4818D6e0a9eF0e3"
_MIXED_QUOTER: Final = "0x84E44095eeBfEC7793Cd7d5b57B7e401D7f1cA2E"
"""Where sdk-core and smart-order-router look for them on chain 1."""
_LENS: Final = "node_modules/@uniswap/{package}/artifacts/contracts/lens/{name}.sol/{name}.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class SorLeg:
    """One route of its answer: pools in order, and the leg's fixed amount."""

    pools: tuple[str, ...]
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SorAnswer:
    """`legs` is empty where it found no route. `quote` is the other side's amount, as it says."""

    legs: tuple[SorLeg, ...]
    quote: int
    ms: float
    requests: int


class SmartOrderRouter:
    """Its process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def tell(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """One line there, one back. Raises: PeerUnavailable: the process ended."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise TypeError("the process was started with pipes")
        stdin.write(json.dumps(message) + "\n")
        stdin.flush()
        for line in stdout:
            if line.startswith("@"):
                found: dict[str, Any] = json.loads(line[1:])
                return found
        raise PeerUnavailable("the process of smart-order-router ended")

    def route(self, sold: Asset, bought: Asset, *, amount: int, exact: Exact, gas_price_wei: int) -> SorAnswer:
        """Raises: PeerUnavailable: it failed; the text is its error."""
        answer = self.tell(
            {
                "sold": sold.token_address,
                "bought": bought.token_address,
                "amount": str(amount),
                "exact": exact,
                "gasPriceWei": str(gas_price_wei),
            }
        )
        if "error" in answer:
            raise PeerUnavailable(answer["error"])
        legs = tuple(SorLeg(pools=tuple(leg["pools"]), amount=int(leg["amount"])) for leg in answer.get("legs") or ())
        return SorAnswer(legs=legs, quote=int(answer.get("quote", 0)), ms=answer["ms"], requests=answer["requests"])


def ensure_installed() -> Path:
    """The folder in which npm installed it. Raises: PeerUnavailable."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        raise PeerUnavailable("there is no Node.js with npm on this machine")
    folder = cache_folder().parent / "peers" / f"smart-order-router-{VERSION}"
    if (folder / _DONE).exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "package.json").write_text(json.dumps({"name": "peer", "version": "1.0.0", "private": True}))
    command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", f"{PACKAGE}@{VERSION}"]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, cwd=folder)
    except (subprocess.SubprocessError, OSError) as failed:
        shutil.rmtree(folder, ignore_errors=True)
        said = str(getattr(failed, "stderr", None) or failed)
        raise PeerUnavailable(said.strip().splitlines()[-1]) from failed
    (folder / _DONE).touch()
    return folder


def place_helpers(rpc: DevRpc, folder: Path) -> None:
    """Its multicall and its quoters, with the factories and the wrapped token of the chain."""
    v3, v2 = ETHEREUM.contracts["UniswapV3Factory"], ETHEREUM.contracts["UniswapV2Factory"]
    weth = ETHEREUM.tokens["WETH"].address
    for address, package, name, arguments in (
        (_MULTICALL, "v3-periphery", "UniswapInterfaceMulticall", ()),
        (_QUOTER, "swap-router-contracts", "QuoterV2", (v3, weth)),
        (_MIXED_QUOTER, "swap-router-contracts", "MixedRouteQuoterV1", (v3, v2, weth)),
    ):
        bytecode = json.loads((folder / _LENS.format(package=package, name=name)).read_text())["bytecode"]
        words = b"".join(unhexed(each).rjust(32, b"\0") for each in arguments)
        receipt = send_raw(rpc, None, data=unhexed(bytecode) + words, sender=TREASURY)
        rpc("anvil_setCode", address, rpc("eth_getCode", receipt["contractAddress"], "latest"))


@contextmanager
def smart_order_router(
    url: str, assets: AssetList, pools: Sequence[GraphPool], *, depths_eth: Mapping[str, float]
) -> Iterator[SmartOrderRouter]:
    """Its process with these pools, and what each is worth, as a subgraph would say. Raises: PeerUnavailable."""
    folder = ensure_installed()
    rpc = DevRpc(url)
    try:
        place_helpers(rpc, folder)
    finally:
        rpc.close()
    worker = Path(__file__).parent / "sor_worker.cjs"
    command = [shutil.which("node") or "node", str(worker), str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            router = SmartOrderRouter(process)
            ready = router.tell(
                {
                    "url": url,
                    "tokens": [
                        {"address": each.token_address, "decimals": each.decimals, "symbol": each.symbol}
                        for each in assets
                        if not each.is_native
                    ],
                    "v2": [_subgraph(pool, depths_eth) for pool in pools if isinstance(pool.state, V2Pool)],
                    "v3": [_subgraph(pool, depths_eth) for pool in pools if not isinstance(pool.state, V2Pool)],
                    "protocols": ["V2", "V3", "MIXED"],
                }
            )
            if "error" in ready:
                raise PeerUnavailable(ready["error"])
            yield router
        finally:
            process.kill()


def _subgraph(pool: GraphPool, depths_eth: Mapping[str, float]) -> dict[str, Any]:
    """A pool as a subgraph lists it; by what they are worth it chooses which pools to look at."""
    key, address, worth = pool.key, pool.address.lower(), depths_eth[pool.address]
    tokens = {"token0": {"id": key.token0.lower()}, "token1": {"id": key.token1.lower()}}
    usd = worth * ETH_USD
    if isinstance(pool.state, V2Pool):
        return {"id": address, **tokens, "supply": worth, "reserve": worth, "reserveUSD": usd}
    liquidity, tier = str(pool.state.liquidity), str(key.fee_pips)
    return {"id": address, **tokens, "feeTier": tier, "liquidity": liquidity, "tvlETH": worth, "tvlUSD": usd}
