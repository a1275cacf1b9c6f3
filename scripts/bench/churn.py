"""Blocks in which everything happens to pools that can: swaps, mints, burns, donations, new pools; and reorgs of them.

Guarantees: automine is off, one call is one block; the same seed does the same on a chain built alike. Not guaranteed:
that each transaction succeeds; what a reorg took away (a position, a purse) makes later ones revert, which is part of
the churn.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from scripts.bench.quotepools import DECREASE, INCREASED, enrich
from scripts.devnet.calls import call_data, hexed, submit_raw
from scripts.devnet.catalogue import CHAINS, ChainSpec, Pool, Venue
from scripts.devnet.flow import OrderFlow
from scripts.devnet.liquidity import FOREVER, MINT, TICK_SPACING, V2_ROUTERS, pool_address, worth
from scripts.devnet.network import LocalChain
from scripts.devnet.placing import TREASURY
from scripts.devnet.rpc import DevRpc, RpcError

GAS: Final = 1_500_000
NEW_POOL_GAS: Final = 8_000_000
MOST_SWAPS: Final = 4
"""In a block, order flow alone."""
POSITIONS_KEPT: Final = 40
CREATE: Final = "createAndInitializePoolIfNecessary(address,address,uint24,uint160)"
ADD_V2: Final = "addLiquidity(address,address,uint256,uint256,uint256,uint256,address,uint256)"


class Churn:
    """One chain's. `counts` says what was sent."""

    def __init__(self, chain: LocalChain, *, seed: int, positions: int = 8) -> None:
        self.rpc: Final = DevRpc(chain.rpc_url)
        self.counts: Final[Counter[str]] = Counter()
        self._spec: Final[ChainSpec] = CHAINS[chain.name]
        self._rng: Final = random.Random(seed)
        self._pools: Final = [*self._spec.pools, *enrich(self.rpc, chain.name, self._rng, positions=positions)]
        self._addresses: Final = {pool: pool_address(self.rpc, self._spec, pool=pool) for pool in self._pools}
        self._minted: list[str] = []
        self._positions: list[tuple[int, int]] = []
        """Token id and liquidity."""
        self.rpc("evm_setAutomine", False)
        # The flow looks at this when it is made, to know whether to wait for receipts.
        self._flow: Final = OrderFlow([chain], seed=seed)
        self._flow.prepare()

    def close(self) -> None:
        self._flow.close()
        self.rpc.close()

    def block(self) -> None:
        """Send some of everything, and make a block of it."""
        for _ in range(self._rng.randint(0, MOST_SWAPS)):
            self.counts["swaps"] += len(self._flow.step())
        for name, chance, act in (
            ("mints", 0.35, self._mint),
            ("burns", 0.3, self._burn),
            ("donations", 0.1, self._donate),
            ("V2 additions", 0.1, self._add_v2),
            ("new pools", 0.02, self._new_pool),
        ):
            if self._rng.random() < chance and act():
                self.counts[name] += 1
        self._mine()

    @contextmanager
    def reorg(self) -> Iterator[None]:
        """The blocks made inside are gone at the end, as if they had never been; who makes others then has a reorg.

        `anvil_reorg` of Anvil 1.7.1 is of no use here: storage that was zero before the blocks it takes away keeps
        what they wrote (measured: a tick initialised in a block that was replaced), which no chain does.
        """
        positions = list(self._positions)
        snapshot = self.rpc("evm_snapshot")
        yield
        if not self.rpc("evm_revert", snapshot):
            raise RuntimeError("the snapshot is gone")
        self._minted, self._positions = [], positions
        self.counts["reorgs"] += 1

    # -- private ------------------------------------------------------------------------------------------

    def _mine(self) -> None:
        self.rpc("evm_mine")
        self.counts["blocks"] += 1
        for receipt in self.rpc.batch([("eth_getTransactionReceipt", each) for each in self._minted]):
            for log in [] if receipt is None else receipt["logs"]:
                if log["topics"][0] == INCREASED:
                    self._positions.append((int(log["topics"][1], 16), int(log["data"][2:66], 16)))
        self._minted = []
        self._positions = self._positions[-POSITIONS_KEPT:]

    def _send(self, target: str, data: bytes, *, gas: int = GAS) -> str | None:
        try:
            return submit_raw(self.rpc, target, data=data, sender=TREASURY, gas=gas)
        except RpcError:
            self.counts["refused"] += 1
            return None

    def _mint(self) -> bool:
        pool = self._rng.choice([pool for pool in self._pools if pool.venue is Venue.UNISWAP_V3])
        spacing = TICK_SPACING[pool.fee]
        answer: Any = self.rpc("eth_call", {"to": self._addresses[pool], "data": hexed(call_data("slot0()"))}, "latest")
        tick = int.from_bytes(bytes.fromhex(answer[66:130]), "big", signed=True)
        around = [(tick + self._rng.randint(-3_000, 3_000)) // spacing * spacing for _ in range(2)]
        lower, upper = min(around), max(around) + spacing
        tokens = self._tokens(pool.base, pool.quote)
        amounts = [worth(self._spec, each, usd=self._rng.randint(1, 50_000)) for each in tokens]
        position = (
            *(self._spec.tokens[each].address for each in tokens),
            *(pool.fee, lower, upper, *amounts, 0, 0, TREASURY, FOREVER),
        )
        sent = self._send(self._spec.contracts["NonfungiblePositionManager"], call_data(MINT, position))
        if sent is not None:
            self._minted.append(sent)
        return sent is not None

    def _burn(self) -> bool:
        """Half or all of a position; a collection of fees at times, which burns nothing."""
        if not self._positions:
            return False
        token_id, liquidity = self._rng.choice(self._positions)
        part = liquidity // self._rng.choice((1, 2, 3))
        data = call_data(DECREASE, (token_id, part, 0, 0, FOREVER))
        if self._rng.random() < 0.2:
            data = call_data("collect((uint256,address,uint128,uint128))", (token_id, TREASURY, 2**127, 2**127))
        return self._send(self._spec.contracts["NonfungiblePositionManager"], data) is not None

    def _donate(self) -> bool:
        """Tokens sent to a V2 pair, which then takes them into its reserves: a Sync without a swap."""
        pool = self._rng.choice([pool for pool in self._pools if pool.venue is not Venue.UNISWAP_V3])
        raw = worth(self._spec, pool.quote, usd=self._rng.randint(1, 1_000))
        pair = self._addresses[pool]
        given = self._send(self._spec.tokens[pool.quote].address, call_data("transfer(address,uint256)", pair, raw))
        return given is not None and self._send(pair, call_data("sync()")) is not None

    def _add_v2(self) -> bool:
        pool = self._rng.choice([pool for pool in self._pools if pool.venue is not Venue.UNISWAP_V3])
        return self._add_to_v2(pool.venue, pool.base, pool.quote, gas=GAS)

    def _add_to_v2(self, venue: Venue, base: str, quote: str, *, gas: int) -> bool:
        usd = self._rng.randint(100, 50_000)
        tokens, amounts = zip(
            *((self._spec.tokens[each].address, worth(self._spec, each, usd=usd)) for each in (base, quote)),
            strict=True,
        )
        data = call_data(ADD_V2, *tokens, *amounts, 0, 0, TREASURY, FOREVER)
        return self._send(self._spec.contracts[V2_ROUTERS[venue]], data, gas=gas) is not None

    def _new_pool(self) -> bool:
        base, quote = self._rng.sample(sorted(self._spec.tokens), 2)
        venue = self._rng.choice(sorted({pool.venue for pool in self._spec.pools}))
        if venue is not Venue.UNISWAP_V3:
            return self._add_to_v2(venue, base, quote, gas=NEW_POOL_GAS)
        token0, token1 = self._tokens(base, quote)
        fee = self._rng.choice(sorted(TICK_SPACING))
        addresses = [self._spec.tokens[each].address for each in (token0, token1)]
        data = call_data(CREATE, *addresses, fee, 2**96 * self._rng.randint(1, 1_000) // 30)
        if self._send(self._spec.contracts["NonfungiblePositionManager"], data, gas=NEW_POOL_GAS) is None:
            return False
        pool = Pool(venue=venue, base=base, quote=quote, fee=fee, depth_usd=0)
        if pool not in self._addresses and self._addresses_of(pool) is not None:
            self._pools.append(pool)
        return True

    def _addresses_of(self, pool: Pool) -> str | None:
        """Known once a block has it."""
        found = pool_address(self.rpc, self._spec, pool=pool)
        if int(found, 16) == 0:
            return None
        self._addresses[pool] = found
        return found

    def _tokens(self, one: str, other: str) -> tuple[str, str]:
        first, second = sorted((one, other), key=lambda symbol: int(self._spec.tokens[symbol].address, 16))
        return first, second
