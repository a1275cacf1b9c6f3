"""What each transaction of a trial moved, by the chain, beside what the journal, the fills and the orders say of it.

    unequal          of each transaction: logs and gas of its receipt, and the wallet's native balance around its
                     block, beside its journal entries; of each order: its fills and gas beside those entries
    outside_limits   of each fill: its price beside the order's limit
    miscounted       of each key: what its counters of the day say, beside all that was accepted

Arithmetic of its own: only rows, receipts and balances.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

from eth_utils.crypto import keccak

from scripts.devnet.catalogue import CHAINS
from scripts.devnet.rpc import DevRpc
from tests.crash.promises import Row, Rows

TRANSFER: Final = "0x" + keccak(text="Transfer(address,address,uint256)").hex()
DEPOSIT: Final = "0x" + keccak(text="Deposit(address,uint256)").hex()
WITHDRAWAL: Final = "0x" + keccak(text="Withdrawal(address,uint256)").hex()
AT_ONCE: Final = ("unfilled_ioc", "unfilled_fok")
"""Reasons of orders that expired: those without a try did so when they were accepted, and took nothing of a limit."""

Moved = Mapping[str, int]
"""Signed base units by asset id."""


def unequal(rows: Rows, *, node: DevRpc, chain: str, wallet: str, hashes: Sequence[str]) -> Iterator[str]:
    receipts = node.batch([("eth_getTransactionReceipt", tx_hash) for tx_hash in hashes])
    booked: dict[str, Counter[str]] = defaultdict(Counter)
    for entry in rows["journal_entries"]:
        booked[entry["tx_hash"]][entry["asset"]] += _signed(entry)
    native, by_token = _asset_ids(rows, chain)
    of_block: dict[str, int] = Counter()
    for receipt in receipts:
        moved = _tokens(receipt, wallet, by_token)
        told = {asset: raw for asset, raw in booked[receipt["transactionHash"]].items() if raw and asset != native}
        if told != moved:
            yield f"{receipt['transactionHash']} moved {moved}, and the journal says {told}"
        of_block[receipt["blockNumber"]] += booked[receipt["transactionHash"]][native]
    numbers = sorted(of_block)
    before = node.batch([("eth_getBalance", wallet, hex(int(number, 16) - 1)) for number in numbers])
    after = node.batch([("eth_getBalance", wallet, number) for number in numbers])
    for number, had, has in zip(numbers, before, after, strict=True):
        if (change := int(has, 16) - int(had, 16)) != of_block[number]:
            yield f"in block {int(number, 16)} {change} wei moved, and the journal says {of_block[number]}"
    if extra := booked.keys() - {receipt["transactionHash"] for receipt in receipts}:
        standing = {one: dict(booked[one]) for one in extra if any(booked[one].values())}
        if standing:
            yield f"the journal has what is not on the chain: {standing}"
    gas = {receipt["transactionHash"]: _gas_wei(receipt) for receipt in receipts}
    yield from _orders(rows, gas=gas, booked=booked, native=native)


def outside_limits(rows: Rows) -> Iterator[str]:
    orders = {row["id"]: row for row in rows["orders"]}
    for fill in rows["fills"]:
        order = orders[fill["order_id"]]
        if order["price"] is None:
            continue
        price, paid = Fraction(order["price"].num, order["price"].den), Fraction(fill["quote"], fill["base"])
        if paid < price if order["side"] == "sell" else paid > price:
            yield f"{order['client_id']} was filled at {paid}, and its limit is {price}"


def miscounted(rows: Rows) -> Iterator[str]:
    """Gas is not among them: what was set aside for it is not kept beside the order."""
    keys = {row["id"]: row["label"] for row in rows["api_keys"]}
    told: dict[tuple[str, str, str], int] = Counter()
    for row in rows["key_usage"]:
        if row["counter"] != "gas":
            told[keys[row["key_id"]], row["counter"], row["of"]] += row["used"]
    # Of a day's end in the middle of a trial, both days count.
    told = {name: used for name, used in told.items() if name[1] != "order_usd"}
    wanted = {name: used for name, used in _taken(rows).items() if used}
    if told != wanted:
        wrong = {name: (told.get(name, 0), wanted.get(name, 0)) for name in told.keys() | wanted.keys()}
        yield f"counted, and accepted: { {name: both for name, both in wrong.items() if both[0] != both[1]} }"


# -- private ----------------------------------------------------------------------------------------------


def _taken(rows: Rows) -> Mapping[tuple[str, str, str], int]:
    taken: dict[tuple[str, str, str], int] = Counter()
    clearances = {row["withdrawal_id"]: row for row in rows["clearances"]}
    for order in rows["orders"]:
        taken["trade", "orders", ""] += 1
        if order["state"] == "EXPIRED" and order["tries"] == 0 and order["reason"] in AT_ONCE:
            continue
        sold = order["base_asset"] if order["side"] == "sell" else order["quote_asset"]
        taken["trade", "sold", sold] += order["max_sold"]
    for row in rows["withdrawals"]:
        taken["withdraw", "withdrawals", ""] += 1
        taken["withdraw", "withdrawn", row["asset"]] += row["amount"]
        taken["withdraw", "withdrawal_usd", ""] += clearances[row["id"]]["usd"]
    for row in rows["transactions"]:
        if row["kind"] != "contract":
            continue
        taken["withdraw", "withdrawals", ""] += 1
        taken["withdraw", "withdrawal_usd", ""] += row["usd"]
        for asset, raw in row["max_out"].items():
            taken["withdraw", "withdrawn", asset] += int(raw)
    return taken


def _orders(rows: Rows, *, gas: Mapping[str, int], booked: Mapping[str, Moved], native: str) -> Iterator[str]:
    """Each order's fills and gas, beside what its own transactions moved and paid."""
    order_of_plan = {row["plan_id"]: row["order_id"] for row in rows["order_plans"]}
    order_of_intent = {
        row["id"]: order_of_plan[row["plan_id"]] for row in rows["intents"] if row["plan_id"] in order_of_plan
    }
    txs: dict[int, list[str]] = defaultdict(list)
    for tx in rows["txs"]:
        if tx["intent_id"] in order_of_intent and tx["mined_hash"] is not None:
            txs[order_of_intent[tx["intent_id"]]].append(tx["mined_hash"])
    fills: dict[int, list[Row]] = defaultdict(list)
    for fill in rows["fills"]:
        fills[fill["order_id"]].append(fill)
    for order in rows["orders"]:
        mine = txs[order["id"]]
        moved: Counter[str] = Counter()
        for tx_hash in mine:
            moved.update(booked[tx_hash])
            moved[native] += gas[tx_hash]
        base, quote = _filled(fills[order["id"]])
        if (order["filled_base"], order["filled_quote"]) != (base, quote):
            yield f"{order['client_id']} says that {order['filled_base']} was filled, its fills {base}"
        sign = -1 if order["side"] == "sell" else 1
        wanted = {order["base_asset"]: sign * base, order["quote_asset"]: -sign * quote}
        if {asset: raw for asset, raw in moved.items() if raw} != {asset: raw for asset, raw in wanted.items() if raw}:
            yield f"{order['client_id']} moved {dict(moved)}, and its fills say {wanted}"
        if order["gas_wei"] != sum(gas[tx_hash] for tx_hash in mine):
            yield f"{order['client_id']} paid {sum(gas[one] for one in mine)} wei, and says {order['gas_wei']}"


def _filled(fills: Sequence[Row]) -> tuple[int, int]:
    """Base and quote, reversals taken off."""
    signs = [1 if fill["reverses"] is None else -1 for fill in fills]
    return (
        sum(sign * fill["base"] for sign, fill in zip(signs, fills, strict=True)),
        sum(sign * fill["quote"] for sign, fill in zip(signs, fills, strict=True)),
    )


def _signed(entry: Row) -> int:
    raw: int = entry["raw"]
    return raw if entry["direction"] == "in" else -raw


def _gas_wei(receipt: Mapping[str, Any]) -> int:
    return int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)


def _asset_ids(rows: Rows, chain: str) -> tuple[str, Mapping[str, str]]:
    """The native asset's id, and those of tokens by their address in lower case."""
    spec = CHAINS[chain]
    coin = {"ethereum": 60, "polygon": 966}[chain]
    tokens = {token.address.lower(): f"eip155:{spec.chain_id}/erc20:{token.address}" for token in spec.tokens.values()}
    return f"eip155:{spec.chain_id}/slip44:{coin}", tokens


def _tokens(receipt: Mapping[str, Any], wallet: str, by_token: Mapping[str, str]) -> Moved:
    """What the logs say that the wallet gained and lost; a wrapped coin tells of wraps in its own way."""
    me, moved = "0x" + wallet[2:].lower().rjust(64, "0"), Counter[str]()
    for log in receipt["logs"]:
        asset, topics = by_token.get(log["address"].lower()), log["topics"]
        if asset is None or not topics:
            continue
        raw = int(log["data"], 16) if log["data"] not in ("", "0x") else 0
        if topics[0] == TRANSFER:
            moved[asset] += raw * ((topics[2] == me) - (topics[1] == me))
        elif topics[0] in (DEPOSIT, WITHDRAWAL) and topics[1] == me:
            moved[asset] += raw if topics[0] == DEPOSIT else -raw
    return {asset: raw for asset, raw in moved.items() if raw}
