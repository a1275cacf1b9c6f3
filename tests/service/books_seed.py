"""Rows that tests of the books stand on: an account with a wallet, a plan, in one call each."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, insert

from chains.tx.model import Intent, IntentId, IntentState, Lane, Plan, PlanId, payload_hash
from chains.types import Address, BlockHash, BlockRef, CallRequest, ChainId, TxHash, address_from_bytes
from contracts.assets import native_id, token_id
from service.db.models import accounts, wallets
from service.db.txstore import SqlTxStore

ETHEREUM: Final = ChainId(1)
POLYGON: Final = ChainId(137)
ETH: Final = native_id(1, 60)
USDC: Final = token_id(1, Address("0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"))
POL: Final = native_id(137, 966)
NOW_MS: Final = 1_767_225_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SeededWallet:
    id: int
    address: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """An account and one wallet of it."""

    account_id: int
    wallet_id: int
    address: Address

    @property
    def wallet(self) -> SeededWallet:
        return SeededWallet(id=self.wallet_id, address=self.address)


def address_of(number: int) -> Address:
    return address_from_bytes(number.to_bytes(20, "big"))


def block_at(number: int, *, fork: int = 0) -> BlockRef:
    return BlockRef(number=number, hash=BlockHash(f"0x{fork:032x}{number:032x}"))


def tx_hash(number: int) -> TxHash:
    return TxHash(f"0x{number:064x}")


def seed_owner(c: Connection, number: int = 1) -> Owner:
    """An account named after `number` with one wallet. The wallet's MAC is not a real one."""
    account_id = c.execute(
        insert(accounts).returning(accounts.c.id), {"name": f"account {number}", "created_ms": NOW_MS}
    ).scalar_one()
    address = address_of(number)
    wallet_id = c.execute(
        insert(wallets).returning(wallets.c.id),
        {
            "account_id": account_id,
            "address": address,
            "label": "main",
            "signer": "keystore",
            "created_ms": NOW_MS,
            "mac": bytes(32),
        },
    ).scalar_one()
    return Owner(account_id=account_id, wallet_id=wallet_id, address=address)


def make_plan(name: str, lane: Lane, *, intents: int = 1, state: IntentState = IntentState.QUEUED) -> Plan:
    """A plan of plain transfers."""
    calls = [CallRequest(to=address_of(0xB0B), data=b"", value_wei=position + 1) for position in range(intents)]
    return Plan(
        id=PlanId(name),
        lane=lane,
        intents=tuple(
            Intent(
                id=IntentId(f"{name}/{position}"),
                plan_id=PlanId(name),
                position=position,
                lane=lane,
                call=call,
                payload_hash=payload_hash(lane, call),
                state=state,
            )
            for position, call in enumerate(calls)
        ),
        created_ms=NOW_MS,
    )


def seed_plan(c: Connection, name: str, owner: Owner, *, chain_id: ChainId = ETHEREUM) -> PlanId:
    plan = make_plan(name, Lane(chain_id=chain_id, wallet=owner.address))
    SqlTxStore().add_plan(c, plan)
    return plan.id
