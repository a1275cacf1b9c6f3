"""What the proxies saw being sent, decoded: the oracle of "one effect an intent".

A `Recorder` may be shared by several proxies in front of one Anvil; it then holds what any of them saw. It is used
from the proxies' threads and the test's, hence the lock.
"""

import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from hexbytes import HexBytes

TYPE_2 = 0x02


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What a transaction does if mined, whatever its nonce and fees."""

    sender: str
    to: str | None
    value_wei: int
    data: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenTx:
    """A raw transaction that passed a proxy."""

    hash: str
    raw: str
    chain_id: int
    nonce: int
    gas_limit: int
    max_fee_wei: int
    priority_fee_wei: int
    effect: Effect

    @property
    def slot(self) -> tuple[str, int]:
        return self.effect.sender, self.nonce


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """One time that a proxy saw it. `answer` is the node's hash, error text, or None when it was not forwarded."""

    proxy: str
    hash: str
    forwarded: bool
    answer: str | None


class Recorder:
    """Every send that the proxies sharing it saw, in order."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._txs: dict[str, SeenTx] = {}
        self._sendings: list[Sending] = []
        self._accepted: dict[str, SeenTx] = {}
        self._slots: dict[tuple[str, int], list[SeenTx]] = {}

    def note(self, tx: SeenTx, *, proxy: str, forwarded: bool, answer: str | None, accepted: bool) -> None:
        with self._lock:
            self._txs.setdefault(tx.hash, tx)
            self._sendings.append(Sending(proxy=proxy, hash=tx.hash, forwarded=forwarded, answer=answer))
            if accepted and tx.hash not in self._accepted:
                self._accepted[tx.hash] = tx
                self._slots.setdefault(tx.slot, []).append(tx)

    @property
    def txs(self) -> tuple[SeenTx, ...]:
        """Distinct transactions, in the order first seen."""
        with self._lock:
            return tuple(self._txs.values())

    @property
    def sendings(self) -> tuple[Sending, ...]:
        with self._lock:
            return tuple(self._sendings)

    def accepted(self) -> tuple[SeenTx, ...]:
        """Those that the node took."""
        with self._lock:
            return tuple(self._accepted.values())

    def rivals(self, tx: SeenTx) -> tuple[SeenTx, ...]:
        """Other accepted transactions of the same slot."""
        with self._lock:
            return tuple(other for other in self._slots.get(tx.slot, ()) if other.hash != tx.hash)

    def effects(self) -> Mapping[Effect, frozenset[int]]:
        """Effect -> nonces under which it was sent. More than one nonce can mean that it happens twice."""
        found: dict[Effect, frozenset[int]] = {}
        for tx in self.txs:
            found[tx.effect] = found.get(tx.effect, frozenset()) | {tx.nonce}
        return found

    def clear(self) -> None:
        with self._lock:
            self._txs.clear()
            self._sendings.clear()
            self._accepted.clear()
            self._slots.clear()


def decode_raw(raw: str) -> SeenTx | None:
    """A signed type-2 transaction; None for anything else (the product sends no other type)."""
    try:
        signed = HexBytes(raw)
        if not signed or signed[0] != TYPE_2:
            return None
        values = TypedTransaction.from_bytes(signed).as_dict()
        sender = Account.recover_transaction(signed)
    except (ValueError, TypeError):
        return None
    to = bytes(values["to"])
    return SeenTx(
        hash="0x" + keccak(bytes(signed)).hex(),
        raw="0x" + bytes(signed).hex(),
        chain_id=values["chainId"],
        nonce=values["nonce"],
        gas_limit=values["gas"],
        max_fee_wei=values["maxFeePerGas"],
        priority_fee_wei=values["maxPriorityFeePerGas"],
        effect=Effect(
            sender=sender,
            to=to_checksum_address(to) if to else None,
            value_wei=values["value"],
            data="0x" + bytes(values["data"]).hex(),
        ),
    )


def tx_to_json(tx: SeenTx) -> dict[str, Any]:
    return asdict(tx)


def tx_from_json(values: Mapping[str, Any]) -> SeenTx:
    return SeenTx(**dict(values) | {"effect": Effect(**values["effect"])})
