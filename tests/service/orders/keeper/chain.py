"""A chain in memory on which swaps execute: V2 pairs, token balances, price feeds, and a node that simulates.

The swap maths here is written anew, by the constant product alone, and shares nothing with what the keeper prices by.
Guarantees: the whole state of every block is kept by its hash, so that a reorg goes back to it exactly.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Any, Final

from eth_abi.abi import decode, encode

from chains.errors import RpcError
from chains.types import Address, BlockHash, CallRequest, Header, address_from_bytes
from contracts.abi import load_abi
from contracts.assets import Asset
from contracts.deployments import MULTICALL3, RouterKind
from contracts.errors import ContractError
from contracts.swaps import Swap, decode_swap
from contracts.swaps.model import router_at
from tests.clock import FakeClock
from tests.service.markets.state.v2chain import ASSETS, CONFIG, DEPLOYMENTS, Reserves, V2Chain, refused
from tests.service.markets.state.v2chain import pair_of as mixed_pair_of

ERC20: Final = load_abi("erc20")
FEED: Final = load_abi("chainlink_aggregator")
MULTICALL: Final = DEPLOYMENTS.address(CONFIG.chain_id, MULTICALL3)
NATIVE: Final = Address("0x0000000000000000000000000000000000000000")
FEED_OF: Final[dict[str, Address]] = {
    name: address for name, address in DEPLOYMENTS.contracts(CONFIG.chain_id).items() if name.startswith("chainlink")
}
BASE_FEE_WEI: Final = 2_000_000_000
TIP_WEI: Final = 1_000_000_000
SWAP_GAS: Final = 120_000
APPROVE_GAS: Final = 50_000

Balances = dict[tuple[Address, Address], int]
"""By token (`NATIVE` for the native asset) and holder."""


pair_of: Final = cache(mixed_pair_of)


class Reverted(Exception):
    """The call moves nothing."""


@dataclass(slots=True, kw_only=True)
class Accounts:
    """Everything that calls change; one a block."""

    reserves: dict[Address, Reserves]
    balances: Balances
    allowances: dict[tuple[Address, Address, Address], int]
    """By token, owner and spender."""

    def copy(self) -> "Accounts":
        return Accounts(reserves=dict(self.reserves), balances=dict(self.balances), allowances=dict(self.allowances))


def amount_out(reserves: Reserves, amount_in: int) -> int:
    """0.3 % of what goes in stays out of the product."""
    kept = amount_in * 997
    return kept * reserves[1] // (reserves[0] * 1000 + kept)


def amount_in(reserves: Reserves, amount_out: int) -> int:
    """Raises: Reverted: the pair does not hold so much."""
    if amount_out >= reserves[1]:
        raise Reverted("INSUFFICIENT_LIQUIDITY")
    return reserves[0] * amount_out * 1000 // ((reserves[1] - amount_out) * 997) + 1


def hop(state: dict[Address, Reserves], token_in: Address, token_out: Address) -> Reserves:
    """The pair's reserves, that of `token_in` first. Raises: Reverted: there is none."""
    found = state.get(pair_of(token_in, token_out))
    if found is None:
        raise Reverted("no pair")
    return found if int(token_in, 16) < int(token_out, 16) else (found[1], found[0])


def sell(state: dict[Address, Reserves], path: Sequence[Address], amount: int) -> int:
    """Swap along the path; the state changes. Raises: Reverted."""
    for token_in, token_out in pairwise(path):
        one, other = hop(state, token_in, token_out)
        gained = amount_out((one, other), amount)
        if gained <= 0:
            raise Reverted("INSUFFICIENT_OUTPUT_AMOUNT")
        after = one + amount, other - gained
        state[pair_of(token_in, token_out)] = after if int(token_in, 16) < int(token_out, 16) else (after[1], after[0])
        amount = gained
    return amount


def cost(state: dict[Address, Reserves], path: Sequence[Address], amount: int) -> int:
    """What the path needs for an exact output. Raises: Reverted."""
    for token_out, token_in in pairwise(path[::-1]):
        amount = amount_in(hop(state, token_in, token_out), amount)
    return amount


def swapped(state: dict[Address, Reserves], swap: Swap) -> tuple[int, int]:
    """Sold and bought by a router's transaction; the state changes. Raises: Reverted: it changes nothing."""
    after, sold, bought = dict(state), 0, 0
    rounds_up = router_at(DEPLOYMENTS, swap.chain_id, swap.router).kind is RouterKind.SWAP_ROUTER_02
    for leg in swap.legs:
        paid = leg.max_in if swap.exact == "in" else cost(after, leg.path, leg.exact_out)
        if paid > leg.max_in:
            raise Reverted("EXCESSIVE_INPUT_AMOUNT")
        got = sell(after, leg.path, paid)
        sold += paid
        bought += got if swap.exact == "in" or rounds_up else leg.exact_out
    if bought < swap.min_out or sold > swap.max_in:
        raise Reverted("INSUFFICIENT_OUTPUT_AMOUNT")
    state.update(after)
    return sold, bought


class TradingChain(V2Chain):
    """Blocks of calls; headers have the clock's time."""

    def __init__(self, clock: FakeClock, *, feeds: Mapping[str, int]) -> None:
        self._clock = clock
        self.feeds = dict(feeds)
        """Answers by feed name, 8 decimals."""
        self.accounts: dict[BlockHash, Accounts] = {}
        super().__init__()
        self._read_at = Accounts(reserves={}, balances={}, allowances={})
        self.accounts[self.blocks[-1].hash] = self._read_at

    def mine(self, count: int = 1) -> None:
        super().mine(count)
        for at in range(len(self.blocks) - count, len(self.blocks)):
            self.blocks[at] = replace(
                self.blocks[at], timestamp_s=self._clock.now_ms() // 1000, base_fee_wei=BASE_FEE_WEI
            )

    @property
    def state(self) -> Accounts:
        """At the head."""
        return self.accounts[self.blocks[-1].hash]

    def block(self, *changes: Callable[[Accounts], None]) -> Header:
        """A block in which these happen, one after the other; each pair that changed has its log."""
        before = self.state
        after = before.copy()
        for change in changes:
            change(after)
        moved = [(pair, now) for pair, now in after.reserves.items() if before.reserves.get(pair) != now]
        header = self.trade(*moved)
        self.accounts[header.hash] = after
        return header

    def run(self, accounts: Accounts, sender: Address, call: CallRequest) -> tuple[bytes, Swap | None, int, int]:
        """Execute a call: its answer and, of a swap, what was sold and bought. Raises: Reverted: nothing changed."""
        selector, arguments = call.data[:4], call.data[4:]
        if selector == ERC20.function("approve").selector:
            spender, amount = decode(["address", "uint256"], arguments)
            accounts.allowances[call.to, sender, _address(spender)] = amount
            return encode(["bool"], [True]), None, 0, 0
        try:
            swap = decode_swap(call, deployments=DEPLOYMENTS, assets=ASSETS)
        except ContractError:
            return self._read(accounts, call), None, 0, 0
        if swap.deadline_s < self.blocks[-1].timestamp_s:
            raise Reverted("Transaction too old")
        reserves = dict(accounts.reserves)
        sold, bought = swapped(reserves, swap)
        tokens = swap.sold.token_address, swap.bought.token_address
        allowed = accounts.allowances.get((tokens[0], sender, swap.router), 0)
        if allowed < sold or accounts.balances.get((tokens[0], sender), 0) < sold:
            raise Reverted("STF")
        accounts.reserves.update(reserves)
        accounts.allowances[tokens[0], sender, swap.router] = allowed - sold
        accounts.balances[tokens[0], sender] -= sold
        accounts.balances[tokens[1], sender] = accounts.balances.get((tokens[1], sender), 0) + bought
        return encode(["uint256"], [bought]), swap, sold, bought

    # -- Transport ----------------------------------------------------------------------------------------

    async def request(self, method: str, params: Sequence[Any]) -> Any:
        if method == "eth_feeHistory":
            blocks = int(params[0], 16)
            return {
                "baseFeePerGas": [hex(BASE_FEE_WEI)] * (blocks + 1),
                "reward": [[hex(TIP_WEI)]] * blocks,
            }
        if method == "eth_simulateV1":
            if (failure := self.fault(method, params)) is not None:
                raise failure
            return self._simulated(params[0], params[1])
        return await super().request(method, params)

    def _simulated(self, payload: Mapping[str, Any], block: Mapping[str, Any]) -> Any:
        accounts = self.accounts[self._canonical(block["blockHash"]).hash].copy()
        answers: list[dict[str, Any]] = []
        for call in payload["blockStateCalls"][0]["calls"]:
            request = CallRequest(
                to=_address(call["to"]),
                data=bytes.fromhex(call.get("input", call.get("data", "0x"))[2:]),
                value_wei=int(call.get("value", "0x0"), 16),
            )
            try:
                output, *_ = self.run(accounts, _address(call["from"]), request)
                answers.append(
                    {"status": "0x1", "gasUsed": hex(SWAP_GAS), "returnData": "0x" + output.hex(), "logs": []}
                )
            except Reverted as exc:
                answers.append(
                    {
                        "status": "0x0",
                        "gasUsed": hex(SWAP_GAS),
                        "returnData": "0x",
                        "logs": [],
                        "error": {"code": 3, "message": f"execution reverted: {exc}"},
                    }
                )
        return [{"calls": answers}]

    def _answer_call(self, call: Mapping[str, str], block: Mapping[str, Any]) -> str:
        accounts = self._read_at = self.accounts[self._canonical(block["blockHash"]).hash]
        if call["to"].lower() == MULTICALL.lower():
            return super()._answer_call(call, block)
        data = bytes.fromhex(call.get("input", call.get("data", "0x"))[2:])
        return "0x" + self._read(accounts, CallRequest(to=_address(call["to"]), data=data)).hex()

    def _answer(self, to: Address, data: bytes, state: Mapping[Address, Reserves]) -> tuple[bool, bytes]:
        for name, address in FEED_OF.items():
            if address == to:
                return True, self._feed(name, data)
        if to == Address("0x0000000000000000000000000000000000000008"):
            return True, encode(["uint256"], [1])
        if data[:4] in (ERC20.function("balanceOf").selector, BALANCE):
            return True, self._read(self._read_at, CallRequest(to=to, data=data))
        return super()._answer(to, data, state)

    def _feed(self, name: str, data: bytes) -> bytes:
        if data[:4] == FEED.function("decimals").selector:
            return encode(["uint8"], [8])
        now_s = self.blocks[-1].timestamp_s
        return encode(["uint80", "int256", "uint256", "uint256", "uint80"], [1, self.feeds[name], now_s, now_s, 1])

    def _read(self, accounts: Accounts, call: CallRequest) -> bytes:
        selector, arguments = call.data[:4], call.data[4:]
        if selector == ERC20.function("balanceOf").selector:
            [owner] = decode(["address"], arguments)
            return encode(["uint256"], [accounts.balances.get((call.to, _address(owner)), 0)])
        if selector == BALANCE:
            [owner] = decode(["address"], arguments)
            return encode(["uint256"], [accounts.balances.get((NATIVE, _address(owner)), 0)])
        if selector == ERC20.function("allowance").selector:
            owner, spender = decode(["address", "address"], arguments)
            return encode(["uint256"], [accounts.allowances.get((call.to, _address(owner), _address(spender)), 0)])
        raise Reverted(f"nothing answers {selector.hex()}")


BALANCE: Final = load_abi("multicall3").function("getEthBalance").selector


def down(method: str, params: Sequence[Any]) -> RpcError:
    return refused("the node has a bad day")


def token(symbol: str) -> Asset:
    return ASSETS.by_symbol(symbol)


def _address(value: str) -> Address:
    return address_from_bytes(bytes.fromhex(value[2:]))
