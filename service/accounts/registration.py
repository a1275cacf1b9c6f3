"""Taking a wallet on: its row, its opening balances on every chain, and its lanes, all or nothing.

The opening is taken at the chain's cursor, the block up to which everything of this installation is booked, so that
from then on opening + journal is the balance at the cursor. That holds only if nothing that the wallet itself sent
is still on its way between the cursor and the head: hence the check of its nonces.

Guarantees: the network is asked first and the unit of work writes everything at the end; a chain that cannot be read
or a crash in between leaves nothing. Registration may run beside the engine: a wallet without a lane sends nothing,
so that its opening stays true while the cursor moves on.
Not guaranteed: that what others send to the wallet after the cursor's block is explained; reconciliation shows it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from sqlalchemy import Connection

from chains.errors import ExecutionReverted, RpcError
from chains.tx.model import Lane
from chains.types import Address, BlockRef, ChainId
from contracts.assets import Asset, AssetId
from contracts.errors import ContractError
from service.accounts import wallets
from service.accounts.wallets import Wallet
from service.db.txstore import SqlTxStore
from service.journal import books
from service.journal.holdings import holdings
from service.journal.needs import BooksServices, ChainParts
from service.journal.opening import open_balances, openings

EVENT: Final = "wallet"
"""Kind of the outbox event that a registration leaves."""


class RegistrationFailed(Exception):
    """Nothing was written. `chain` is the key of the chain that stood in the way."""

    def __init__(self, chain: str, message: str) -> None:
        super().__init__(f"{chain}: {message}")
        self.chain = chain


class ChainUnreadable(RegistrationFailed):
    """The chain's node gave no usable answer for what an opening needs. Try again when it does."""


class WalletBusy(RegistrationFailed):
    """Transactions of the wallet are not confirmed yet. Wait for them, then try again."""


class CursorMoved(RegistrationFailed):
    """The chain's books were opened by someone else at the same moment, at an earlier block. Try again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What `open_missing_chains` did: how many (wallet, chain) pairs it opened, and which it could not."""

    count: int
    failures: tuple[RegistrationFailed, ...]


class _Lane(Enum):
    OPEN = auto()
    MISSING = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opening:
    """What is to be written for one chain. `nonce` is None where the lane is open already."""

    chain_id: ChainId
    key: str
    block: BlockRef
    nonce: int | None
    amounts: Mapping[AssetId, int]


async def register_wallet(
    services: BooksServices, *, account_id: int, address: Address, label: str, signer: str
) -> Wallet:
    """Register an address as a wallet of the account, and open its books and lanes on every configured chain.

    Raises:
        AddressTaken, LabelTaken, InvalidName: the address or label cannot be used.
        ChainUnreadable, WalletBusy, CursorMoved: a chain stands in the way.
    """

    def check(c: Connection) -> Mapping[str, BlockRef | None]:
        wallets.check_free(c, account_id=account_id, address=address, label=label)
        return {key: SqlTxStore().cursor(c, parts.config.chain_id) for key, parts in services.chains.items()}

    cursors = await services.db.read(check)
    found = [
        await _read_opening(parts, address, assets=list(parts.assets), cursor=cursors[key], lane=_Lane.MISSING)
        for key, parts in services.chains.items()
    ]

    def write(c: Connection) -> Wallet:
        now_ms = services.clock.now_ms()
        wallet = wallets.insert_wallet(
            c,
            account_id=account_id,
            address=address,
            label=label,
            signer=signer,
            master=services.master,
            now_ms=now_ms,
        )
        for opening in found:
            _write_opening(c, wallet, opening)
        payload = {"wallet": address, "label": label, "chains": [opening.key for opening in found]}
        books.emit(c, account_id=account_id, kind=EVENT, payload=payload, now_ms=now_ms)
        return wallet

    return await services.db.run(write)


async def open_missing_chains(services: BooksServices) -> Opened:
    """Open the books of known wallets where they are not: a chain or an asset that was configured later.

    Each (wallet, chain) is a unit of work of its own; one that cannot be opened does not hold up the others, and is
    tried again the next time. Nodes are asked only where something is missing.
    """
    count = 0
    failures: list[RegistrationFailed] = []
    for wallet in await services.db.read(lambda c: wallets.list_wallets(c, master=services.master)):
        for parts in services.chains.values():
            try:
                count += await _open_missing(services, wallet, parts)
            except RegistrationFailed as failure:
                failures.append(failure)
    return Opened(count=count, failures=tuple(failures))


async def _open_missing(services: BooksServices, wallet: Wallet, parts: ChainParts) -> int:
    """1 if something was opened."""
    chain_id = parts.config.chain_id
    store = SqlTxStore()

    def look(c: Connection) -> tuple[BlockRef | None, set[AssetId], _Lane]:
        lane = store.lane(c, Lane(chain_id=chain_id, wallet=wallet.address))
        known = set(openings(c, wallet.id, chain_id=chain_id))
        return store.cursor(c, chain_id), known, _Lane.MISSING if lane is None else _Lane.OPEN

    cursor, known, lane = await services.db.read(look)
    missing = [asset for asset in parts.assets if asset.id not in known]
    if not missing and lane is _Lane.OPEN:
        return 0
    opening = await _read_opening(parts, wallet.address, assets=missing, cursor=cursor, lane=lane)
    if not opening.amounts and lane is _Lane.OPEN:
        return 0
    await services.db.run(lambda c: _write_opening(c, wallet, opening))
    return 1


async def _read_opening(
    parts: ChainParts, address: Address, *, assets: Sequence[Asset], cursor: BlockRef | None, lane: _Lane
) -> _Opening:
    """Ask the chain for what an opening needs. An asset whose own call fails is left out: unknown, not zero."""
    key = parts.config.key
    try:
        block = cursor or await _first_cursor(parts)
        nonce = await _settled_nonce(parts, address, block=block) if lane is _Lane.MISSING else None
        balances = await holdings(parts, address, block=block, assets=assets)
    except (RpcError, ExecutionReverted, ContractError) as error:
        at = f" at block {cursor.number}, where the books stand" if cursor else ""
        raise ChainUnreadable(
            key,
            f"the wallet's opening balances{at} could not be read ({error}); check the node, and if the service was"
            " stopped for long, let it run until it has caught up",
        ) from error
    if balances.get(parts.assets.native.id, 0) is None:
        raise ChainUnreadable(key, "the native balance could not be read")
    return _Opening(
        chain_id=parts.config.chain_id,
        key=key,
        block=block,
        nonce=nonce,
        amounts={asset_id: raw for asset_id, raw in balances.items() if raw is not None},
    )


async def _first_cursor(parts: ChainParts) -> BlockRef:
    """The newest confirmed block: where the books of a chain begin."""
    head = await parts.client.head()
    number = max(0, head.number - parts.config.finality.confirmed_depth + 1)
    header = head if number == head.number else await parts.client.header(number)
    if header is None:
        raise ChainUnreadable(parts.config.key, f"the node does not know block {number}, below its own head")
    return header.ref


async def _settled_nonce(parts: ChainParts, address: Address, *, block: BlockRef) -> int:
    """The wallet's nonce at the block. Raises: WalletBusy: it has sent something since."""
    settled = await parts.client.nonce(address, block=block)
    pending = await parts.client.nonce(address, block="pending")
    latest = await parts.client.nonce(address, block="latest")
    if max(pending, latest) != settled:
        raise WalletBusy(
            parts.config.key,
            f"{max(pending, latest) - settled} transactions of {address} are not confirmed yet (block {block.number}"
            " is the newest confirmed one); wait until they are, then try again",
        )
    return settled


def _write_opening(c: Connection, wallet: Wallet, opening: _Opening) -> None:
    store = SqlTxStore()
    cursor = store.cursor(c, opening.chain_id)
    if cursor is None:
        store.set_cursor(c, opening.chain_id, opening.block)
    elif cursor.number < opening.block.number:
        raise CursorMoved(opening.key, "its books were opened at an earlier block at the same moment; try again")
    open_balances(c, wallet.id, chain_id=opening.chain_id, amounts=opening.amounts, block=opening.block)
    if opening.nonce is not None:
        store.open_lane(c, Lane(chain_id=opening.chain_id, wallet=wallet.address), opening.nonce)
