"""Which pools there are between two tokens, and their price and holdings at a block.

A `PoolDirectory` is the cache that a caller keeps per chain and passes in: pools that exist are remembered for good,
absent ones for a while. Guarantees: pools come from the pinned factories only; states are read at one block in one
node call. Not guaranteed: that a remembered pool has liquidity (its state says).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from chains.types import ZERO_ADDRESS, Address, BlockRef, ChainId, Log, address_bytes, address_from_bytes
from contracts import erc20
from contracts.abi import load_abi
from contracts.call import Call, ContractReader, call_all, call_one
from contracts.deployments import MULTICALL3, Deployments, Venue
from contracts.errors import ContractError
from contracts.multicall import Ok, aggregate
from contracts.ratio import Ratio

V3_FEE_TIERS: Final = (100, 500, 3_000, 10_000)
"""Pips: 0.01 %, 0.05 %, 0.3 % and 1 %, the tiers enabled in Uniswap's own factories."""
V2_FEE: Final = 3_000
"""Pips; Uniswap V2 and QuickSwap V2 pairs charge 0.3 %."""
ABSENT_FOR_BLOCKS: Final = 300
"""A pool that did not exist is asked for again after so many blocks: an hour on Ethereum, ten minutes on Polygon."""
_Q192: Final = 2**192
_WORD: Final = 32
_CALLS_A_V3_POOL: Final = 3
"""slot0 and two balances, see `_state_calls`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolKey:
    """What a factory knows a pool by; `token0 < token1` as numbers."""

    venue: Venue
    token0: Address
    token1: Address
    fee_pips: int

    @classmethod
    def of(cls, venue: Venue, tokens: tuple[Address, Address], *, fee_pips: int) -> "PoolKey":
        token0, token1 = sorted(tokens, key=address_bytes)
        return cls(venue=venue, token0=token0, token1=token1, fee_pips=fee_pips)

    @property
    def pair(self) -> frozenset[Address]:
        return frozenset((self.token0, self.token1))


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolState:
    """A pool at a block. `price` is base units of token1 for one of token0, without fee.

    Holdings are the reserves (V2) or the pool's token balances (V3: all positions and uncollected fees).
    """

    key: PoolKey
    address: Address
    price: Ratio
    holding0: int
    holding1: int

    def price_from(self, token_in: Address) -> Ratio:
        """Base units of the other token for one of `token_in`."""
        return self.price if token_in == self.key.token0 else self.price.inverse

    def holding_of(self, token: Address) -> int:
        return self.holding0 if token == self.key.token0 else self.holding1


class PoolDirectory:
    """Remembers which pools exist on one chain. Not shared between chains; grows with the listed assets only."""

    def __init__(self, chain_id: ChainId) -> None:
        self.chain_id: Final = chain_id
        self._found: dict[PoolKey, Address] = {}
        self._absent: dict[PoolKey, int] = {}

    def address(self, key: PoolKey) -> Address | None:
        return self._found.get(key)

    def unknown(self, keys: Iterable[PoolKey], *, block_number: int) -> list[PoolKey]:
        """The keys to ask the factories about at that block."""
        return [
            key
            for key in keys
            if key not in self._found
            and not 0 <= block_number - self._absent.get(key, -ABSENT_FOR_BLOCKS) < ABSENT_FOR_BLOCKS
        ]

    def remember(self, key: PoolKey, address: Address, *, block_number: int) -> None:
        """What the factory answered at that block: an address, or zero for "no such pool"."""
        if address == ZERO_ADDRESS:
            self._absent[key] = block_number
        else:
            self._found[key] = address
            self._absent.pop(key, None)

    def made(self, key: PoolKey, address: Address) -> None:
        """A factory made this pool. Only one that was asked for is remembered: factories make thousands."""
        if key in self._absent:
            self._found[key] = address
            del self._absent[key]

    def unmade(self, key: PoolKey, *, block_number: int) -> None:
        """The block in which it was made, of this number, left the chain."""
        if self._found.pop(key, None) is not None:
            self._absent[key] = block_number


def created_topics() -> tuple[bytes, ...]:
    """The first topics of the logs by which factories tell of new pools."""
    return (
        load_abi("uniswap_v3_factory").event("PoolCreated").topic,
        load_abi("uniswap_v2_factory").event("PairCreated").topic,
    )


def created(log: Log, factories: Mapping[Address, Venue]) -> tuple[PoolKey, Address] | None:
    """The pool that a log tells of, if it is one of these factories' (by address) and has that kind's shape."""
    venue = factories.get(log.address)
    if venue is None or not log.topics or log.topics[0] not in created_topics():
        return None
    is_v3 = venue is Venue.UNISWAP_V3
    if len(log.topics) != (4 if is_v3 else 3) or len(log.data) != 2 * _WORD:
        return None
    tokens = address_from_bytes(log.topics[1][12:]), address_from_bytes(log.topics[2][12:])
    fee = int.from_bytes(log.topics[3], "big") if is_v3 else V2_FEE
    # PoolCreated: tick spacing, pool. PairCreated: pair, number of pairs.
    at = log.data[_WORD + 12 : 2 * _WORD] if is_v3 else log.data[12:_WORD]
    return PoolKey.of(venue, tokens, fee_pips=fee), address_from_bytes(at)


def pool_keys(
    venues: Iterable[Venue], tokens: tuple[Address, Address], *, extra_fees: Iterable[int] = ()
) -> list[PoolKey]:
    """Every pool that could exist between two tokens. `extra_fees`: V3 tiers that the chain's factory has besides."""
    tiers = dict.fromkeys((*V3_FEE_TIERS, *extra_fees))
    return [
        PoolKey.of(venue, tokens, fee_pips=fee)
        for venue in venues
        for fee in (tiers if venue is Venue.UNISWAP_V3 else (V2_FEE,))
    ]


async def discover(
    client: ContractReader,
    directory: PoolDirectory,
    *,
    deployments: Deployments,
    keys: Sequence[PoolKey],
    block: BlockRef,
) -> None:
    """Ask the factories about keys the directory does not know; no node call when it knows them all."""
    if not (unknown := directory.unknown(keys, block_number=block.number)):
        return
    answers = await aggregate(
        client,
        [_find(deployments.venue(directory.chain_id, key.venue).factory, key) for key in unknown],
        multicall=deployments.address(directory.chain_id, MULTICALL3),
        block=block,
    )
    for key, answer in zip(unknown, answers, strict=True):
        if isinstance(answer, Ok):  # a factory that fails is asked again next time
            directory.remember(key, answer.value, block_number=block.number)


async def read_states(
    client: ContractReader,
    directory: PoolDirectory,
    *,
    deployments: Deployments,
    keys: Sequence[PoolKey],
    block: BlockRef,
) -> list[PoolState]:
    """The states of the known pools among `keys`, in their order; pools that are empty or fail are left out."""
    found = [(key, address) for key in keys if (address := directory.address(key)) is not None]
    calls: list[Call[int] | Call[tuple[int, ...]]] = []
    for key, address in found:
        calls += _state_calls(key, address)
    answers = await aggregate(client, calls, multicall=deployments.address(directory.chain_id, MULTICALL3), block=block)
    states, position = [], 0
    for key, address in found:
        width = _CALLS_A_V3_POOL if key.venue is Venue.UNISWAP_V3 else 1
        values = [answer.value for answer in answers[position : position + width] if isinstance(answer, Ok)]
        position += width
        if len(values) == width and (state := _state(key, address, values=values)) is not None:
            states.append(state)
    return states


def _find(factory: Address, key: PoolKey) -> Call[Address]:
    if key.venue is Venue.UNISWAP_V3:
        get_pool = load_abi("uniswap_v3_factory").function("getPool")
        return call_one(factory, get_pool, key.token0, key.token1, key.fee_pips)
    return call_one(factory, load_abi("uniswap_v2_factory").function("getPair"), key.token0, key.token1)


def _state_calls(key: PoolKey, address: Address) -> list[Call[int] | Call[tuple[int, ...]]]:
    if key.venue is Venue.UNISWAP_V3:
        return [
            call_one(address, load_abi("uniswap_v3_pool").function("slot0")),
            erc20.balance_of(key.token0, address),
            erc20.balance_of(key.token1, address),
        ]
    return [call_all(address, load_abi("uniswap_v2_pair").function("getReserves"))]


def _state(key: PoolKey, address: Address, *, values: Sequence[object]) -> PoolState | None:
    match values:
        case [int(sqrt_price_x96), int(holding0), int(holding1)]:
            num, den = sqrt_price_x96**2, _Q192
        case [(int(holding0), int(holding1), int())]:
            num, den = holding1, holding0
        case _:
            raise ContractError("a pool state has the shape of its calls")
    if num == 0 or den == 0 or (holding0 == 0 and holding1 == 0):
        return None
    return PoolState(key=key, address=address, price=Ratio.of(num, den), holding0=holding0, holding1=holding1)
