"""A chain that a test extends and rewrites, and a node that answers about it: behind, with holes, or rate-limited."""

from collections.abc import Sequence

from eth_utils.crypto import keccak

from chains.errors import RpcThrottled
from chains.types import Address, BlockHash, BlockRef, BlockTag, Header, Receipt, TxHash


class ForkableChain:
    """A chain that the test extends and rewrites; a `HeadSource` that counts what is asked."""

    def __init__(self, length: int = 10) -> None:
        self.blocks: list[Header] = []
        self.finalized: int | None = None
        self.shown: int | None = None
        """Head of a node that is behind; None shows all."""
        self.missing: set[int] = set()
        """Blocks that the node does not have, though it should."""
        self.most: int | None = None
        """A batch of more is refused for its size."""
        self.requests: list[int] = []
        """How many headers each request was for."""
        self._branch = 0
        self.mine(length)

    def mine(self, count: int = 1) -> None:
        for _ in range(count):
            number = len(self.blocks)
            parent = self.blocks[-1].hash if self.blocks else BlockHash("0x" + "00" * 32)
            own = BlockHash("0x" + keccak(text=f"{self._branch}:{number}:{parent}").hex())
            self.blocks.append(
                Header(
                    number=number,
                    hash=own,
                    parent_hash=parent,
                    timestamp_s=number,
                    base_fee_wei=1,
                    gas_limit=30_000_000,
                )
            )

    def reorg(self, depth: int, grow: int) -> None:
        """Take `depth` blocks away and put `grow` others there."""
        self._branch += 1
        del self.blocks[len(self.blocks) - depth :]
        self.mine(grow)

    def ref(self, number: int) -> BlockRef:
        return self.blocks[number].ref

    def has(self, block: BlockRef) -> bool:
        """Whether it is on the chain as it is now."""
        return block.number < len(self.blocks) and self.ref(block.number) == block

    async def head(self) -> Header:
        self.requests.append(1)
        return self.blocks[self._height]

    async def header(self, block: int | BlockTag | BlockHash) -> Header | None:
        self.requests.append(1)
        if block == "finalized":
            return None if self.finalized is None else self.blocks[self.finalized]
        assert isinstance(block, int)
        return self._at(block)

    async def headers(self, numbers: Sequence[int]) -> Sequence[Header | None]:
        assert numbers
        self.requests.append(len(numbers))
        if self.most is not None and len(numbers) > self.most:
            raise RpcThrottled("too many at once", endpoint="a", method="eth_getBlockByNumber")
        return [self._at(number) for number in numbers]

    @property
    def _height(self) -> int:
        return len(self.blocks) - 1 if self.shown is None else self.shown

    def _at(self, number: int) -> Header | None:
        return self.blocks[number] if number <= self._height and number not in self.missing else None


class ForkableNode(ForkableChain):
    """The same with transactions of one sender: what a `Confirmer` asks of its client."""

    def __init__(self, length: int, sender: Address) -> None:
        self.sender = sender
        self.included: dict[TxHash, tuple[BlockRef, int]] = {}
        """Block and nonce of each transaction; gone with its block."""
        super().__init__(length)

    def include(self, *txs: tuple[TxHash, int]) -> BlockRef:
        """One more block, with these transactions."""
        self.mine()
        block = self.blocks[-1].ref
        for tx_hash, nonce in txs:
            self.included[tx_hash] = (block, nonce)
        return block

    async def receipts(self, hashes: Sequence[TxHash]) -> list[Receipt | None]:
        return [self._receipt(one) for one in hashes]

    async def nonces(self, asked: Sequence[tuple[Address, int]]) -> list[int]:
        used = [(block.number, nonce) for block, nonce in self.included.values() if self._stands(block)]
        return [max((nonce + 1 for number, nonce in used if number <= height), default=0) for _, height in asked]

    async def nonce(self, address: Address, *, block: int) -> int:
        [found] = await self.nonces([(address, block)])
        return found

    async def tx_hashes(self, number: int) -> Sequence[TxHash] | None:
        found = self._at(number)
        if found is None:
            return None
        return [tx_hash for tx_hash, (block, _) in self.included.items() if block == found.ref]

    def _receipt(self, tx_hash: TxHash) -> Receipt | None:
        block, _ = self.included.get(tx_hash, (None, 0))
        if block is None or not self._stands(block):
            return None
        return Receipt(
            tx_hash=tx_hash,
            block=block,
            succeeded=True,
            gas_used=21_000,
            effective_gas_price_wei=1,
            sender=self.sender,
            to=self.sender,
            logs=(),
        )

    def _stands(self, block: BlockRef) -> bool:
        found = self._at(block.number)
        return found is not None and found.ref == block
