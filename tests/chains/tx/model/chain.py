"""A chain in memory, with one pool that has geth's rules: what the state machine sends to, reorganises and looks up.

Guarantees: a transaction is executed only at its sender's next nonce, once on a branch, and only if it is paid for; the
pool takes and refuses as geth's legacypool does (`take`); blocks up to `finalized` never go; every wei that moves is in
the state after the block it moved in.
Not modelled: gas limits of blocks, contracts other than a gate that reverts while it is shut, gossip between nodes.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from eth_utils.crypto import keccak

from chains.signing import eip1559
from chains.tx.model import Lane
from chains.types import Address, BlockHash, BlockRef, ChainId, Header, TxHash, UnsignedTx

GWEI: Final = 10**9
BLOCK_GAS_LIMIT: Final = 30_000_000
TRANSFER_GAS: Final = 21_000
GATE_GAS: Final = 45_000
"""What a call of the gate uses when it is open."""
SHUT_GATE_GAS: Final = 30_000
GATE: Final = Address("0x00000000000000000000000000000000000Ca7E5")
PRICE_BUMP_PERCENT: Final = 110
"""geth legacypool PriceBump: both fields of a replacement."""
FIRST_NUMBER: Final = 20
"""Blocks before the first scene, so that depths never reach below genesis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    nonce: int = 0
    balance_wei: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """Signed bytes that somebody sent."""

    raw: bytes
    hash: TxHash
    sender: Address
    tx: UnsignedTx

    @property
    def slot(self) -> tuple[Address, int]:
        return self.sender, self.tx.nonce

    @property
    def most_wei(self) -> int:
        """What it may cost at most, value included."""
        return self.tx.gas_limit * self.tx.fees.max_fee_wei + self.tx.value_wei


@dataclass(frozen=True, slots=True, kw_only=True)
class Included:
    """A transaction in a block."""

    sent: Sent
    succeeded: bool
    gas_used: int
    price_wei: int

    @property
    def fee_wei(self) -> int:
        return self.gas_used * self.price_wei


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """`accounts`: the state after it. `moved_wei`: what came to (or went from) a wallet by none of its transactions."""

    header: Header
    txs: tuple[Included, ...]
    accounts: Mapping[Address, Account]
    moved_wei: Mapping[Address, int]


class Refused(Exception):
    """The pool does not take it; the text is geth's."""


def parse(raw: bytes) -> Sent:
    tx, sender = eip1559.decode(raw)
    return Sent(raw=raw, hash=TxHash("0x" + keccak(raw).hex()), sender=sender, tx=tx)


class ChainModel:
    """Blocks, the pool, and the acts of miners, reorgs and others."""

    def __init__(self, *, chain_id: ChainId, block_time_s: int, final_depth: int) -> None:
        self.chain_id = chain_id
        self.pool: dict[tuple[Address, int], Sent] = {}
        self.base_fee_wei = 10 * GWEI
        """Of the blocks to come."""
        self.tip_floor_wei = 1
        self.gate_is_shut = False
        self._block_time_s = block_time_s
        self._final_depth = final_depth
        self._made = 0
        self._moves: dict[Address, int] = {}
        self._finalized = self._highest = 0
        genesis = Block(header=self._header(None, timestamp_s=1_700_000_000), txs=(), accounts={}, moved_wei={})
        self.blocks = [genesis]
        for _ in range(FIRST_NUMBER):
            self.mine()

    # -- looking ------------------------------------------------------------------------------------------

    @property
    def head(self) -> Block:
        return self.blocks[-1]

    @property
    def finalized(self) -> int:
        """Height of the `finalized` tag."""
        return self._finalized

    def account(self, address: Address, block: Block | None = None) -> Account:
        return (block or self.head).accounts.get(address, Account())

    def pending_nonce(self, sender: Address) -> int:
        nonce = self.account(sender).nonce
        while (sender, nonce) in self.pool:
            nonce += 1
        return nonce

    def canonical(self) -> Iterable[tuple[Block, Included]]:
        """Every transaction of the chain as it is, in order."""
        return ((block, included) for block in self.blocks for included in block.txs)

    def gas_and_success(self, to: Address, *, gate_is_shut: bool) -> tuple[int, bool]:
        """What a call needs, and how it ends."""
        if to != GATE:
            return TRANSFER_GAS, True
        return (SHUT_GATE_GAS, False) if gate_is_shut else (GATE_GAS, True)

    def depth(self, block: BlockRef) -> int:
        """How deep it lies, itself counted, below the highest head there ever was."""
        return self._highest - block.number + 1

    def is_final(self, block: BlockRef) -> bool:
        return block.number <= self._finalized and self.blocks[block.number].header.ref == block

    def is_used_finally(self, lane: Lane, nonce: int) -> bool:
        return self.account(lane.wallet, self.blocks[self._finalized]).nonce > nonce

    # -- the pool -----------------------------------------------------------------------------------------

    def take(self, sent: Sent) -> None:
        """Raises: Refused."""
        tx, account, held = sent.tx, self.account(sent.sender), self.pool.get(sent.slot)
        if held is not None and held.hash == sent.hash:
            raise Refused("already known")
        if tx.chain_id != self.chain_id:
            raise Refused("invalid chain id for signer")
        if tx.gas_limit > BLOCK_GAS_LIMIT:
            raise Refused("exceeds block gas limit")
        if tx.gas_limit < TRANSFER_GAS:
            raise Refused("intrinsic gas too low")
        if tx.fees.priority_fee_wei < self.tip_floor_wei:
            raise Refused(
                f"transaction underpriced: gas tip cap {tx.fees.priority_fee_wei}, minimum needed {self.tip_floor_wei}"
            )
        if tx.nonce < account.nonce:
            raise Refused(f"nonce too low: next nonce {account.nonce}, tx nonce {tx.nonce}")
        others = sum(s.most_wei for s in self.pool.values() if s.sender == sent.sender and s.slot != sent.slot)
        if others + sent.most_wei > account.balance_wei:
            raise Refused(
                f"insufficient funds for gas * price + value: balance {account.balance_wei}, "
                f"queued cost {others}, tx cost {sent.most_wei}"
            )
        if held is not None and not _replaces(sent, held):
            raise Refused("replacement transaction underpriced")
        self.pool[sent.slot] = sent

    def evict(self, sent: Sent) -> None:
        """The pool forgets it."""
        self.pool.pop(sent.slot, None)

    # -- what happens -------------------------------------------------------------------------------------

    def mine(self, *, most: int | None = None) -> Block:
        """A block of what waits and is paid for, at most so many transactions."""
        parent = self.head
        accounts = dict(parent.accounts)
        moved, self._moves = self._moves, {}
        for address, wei in moved.items():
            before = accounts.get(address, Account())
            accounts[address] = replace(before, balance_wei=before.balance_wei + wei)
        included: list[Included] = []
        while (most is None or len(included) < most) and (sent := self._next(accounts)) is not None:
            included.append(self._execute(sent, accounts))
        block = Block(header=self._header(parent), txs=tuple(included), accounts=accounts, moved_wei=moved)
        self.blocks = [*self.blocks, block]
        self._highest = max(self._highest, block.header.number)
        self._finalized = max(self._finalized, block.header.number - self._final_depth + 1)
        self._tidy()
        return block

    def reorg(self, depth: int, *, orphans_return: bool, remined: bool, extra: int = 0) -> None:
        """The last `depth` blocks go; as many and `extra` come, with what the pool has in them if `remined`.

        Money that others moved in the old blocks moves in the first new one.
        """
        depth = min(depth, self.head.header.number - self._finalized)
        if depth < 1:
            return
        gone = self.blocks[-depth:]
        self.blocks = self.blocks[:-depth]
        for block in gone:
            for address, wei in block.moved_wei.items():
                self._moves[address] = self._moves.get(address, 0) + wei
            if orphans_return:
                for old in block.txs:
                    self.pool.setdefault(old.sent.slot, old.sent)
        for _ in range(depth + extra):
            self.mine(most=None if remined else 0)

    def move(self, address: Address, wei: int) -> None:
        """Somebody else brings (or takes) money in the next block; a balance never goes below zero."""
        ahead = self.account(address).balance_wei + self._moves.get(address, 0)
        self._moves[address] = self._moves.get(address, 0) + max(wei, -ahead)

    # -- private ------------------------------------------------------------------------------------------

    def _header(self, parent: Block | None, timestamp_s: int = 0) -> Header:
        self._made += 1
        number = parent.header.number + 1 if parent else 0
        parent_hash = parent.header.hash if parent else BlockHash("0x" + "00" * 32)
        made = hashlib.sha256(f"{parent_hash}/{number}/{self._made}".encode()).hexdigest()
        return Header(
            number=number,
            hash=BlockHash("0x" + made),
            parent_hash=parent_hash,
            timestamp_s=parent.header.timestamp_s + self._block_time_s if parent else timestamp_s,
            base_fee_wei=self.base_fee_wei,
            gas_limit=BLOCK_GAS_LIMIT,
        )

    def _next(self, accounts: Mapping[Address, Account]) -> Sent | None:
        """The best payer among those whose turn it is."""
        ready = [
            sent
            for sent in self.pool.values()
            if sent.tx.nonce == accounts.get(sent.sender, Account()).nonce
            and sent.tx.fees.max_fee_wei >= self.base_fee_wei
            and sent.most_wei <= accounts.get(sent.sender, Account()).balance_wei
        ]
        return max(ready, key=lambda sent: (sent.tx.fees.priority_fee_wei, sent.hash), default=None)

    def _execute(self, sent: Sent, accounts: dict[Address, Account]) -> Included:
        del self.pool[sent.slot]
        tx = sent.tx
        needed, succeeded = self.gas_and_success(tx.to, gate_is_shut=self.gate_is_shut)
        if tx.gas_limit < needed:
            needed, succeeded = tx.gas_limit, False
        price = min(tx.fees.max_fee_wei, self.base_fee_wei + tx.fees.priority_fee_wei)
        done = Included(sent=sent, succeeded=succeeded, gas_used=needed, price_wei=price)
        value = tx.value_wei if succeeded else 0
        payer = accounts.get(sent.sender, Account())
        accounts[sent.sender] = Account(nonce=payer.nonce + 1, balance_wei=payer.balance_wei - done.fee_wei - value)
        payee = accounts.get(tx.to, Account())
        accounts[tx.to] = replace(payee, balance_wei=payee.balance_wei + value)
        return done

    def _tidy(self) -> None:
        """What can never be mined leaves the pool, and what its sender cannot pay for."""
        self.pool = {
            slot: sent
            for slot, sent in self.pool.items()
            if sent.tx.nonce >= self.account(sent.sender).nonce
            and sent.most_wei <= self.account(sent.sender).balance_wei
        }


def _replaces(new: Sent, old: Sent) -> bool:
    return all(
        fresh >= before * PRICE_BUMP_PERCENT // 100 and fresh > before
        for fresh, before in (
            (new.tx.fees.max_fee_wei, old.tx.fees.max_fee_wei),
            (new.tx.fees.priority_fee_wei, old.tx.fees.priority_fee_wei),
        )
    )
