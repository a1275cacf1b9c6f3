"""Orders and withdrawals that stand in the database, and receipts of what their transactions did."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, insert

from chains.config import load_chains
from chains.tx.model import (
    Attempt,
    AttemptKind,
    AttemptState,
    Intent,
    Lane,
    OpenTx,
    Outcome,
    Plan,
    PlanId,
    Tx,
    TxState,
)
from chains.types import Address, CallRequest, Fees, Log, Receipt, TxHash, address_bytes
from contracts import erc20
from contracts.abi import load_abi
from contracts.assets import Asset, AssetList, load_assets
from contracts.deployments import Deployments, Venue, load_deployments
from contracts.swaps import Swap, encode_swap, one_leg
from service.approvals.clearances import insert_clearance
from service.approvals.model import Why
from service.auth.secrets import MasterKey
from service.db.models import api_keys
from service.db.txstore import SqlTxStore
from service.ids import order_plan_id
from service.journal import reservations
from service.markets.trades import Side
from service.orders.model import OrderDraft, OrderTry, OrderType
from service.orders.storage import insert_order, start_try
from service.plans.binding import calls_hash
from service.plans.building import queued_plan
from service.withdrawals.model import WithdrawalDraft, WithdrawalState
from service.withdrawals.storage import insert_withdrawal
from service.workers.observer import ChainObserver
from tests.clock import FakeClock
from tests.service.books_seed import ETHEREUM, NOW_MS, Owner, block_at, seed_owner, tx_hash

ASSETS: Final[AssetList] = load_assets(ETHEREUM)
DEPLOYMENTS: Final[Deployments] = load_deployments()
CONFIG: Final = load_chains()["ethereum"]
STORE: Final = SqlTxStore()
USDC: Final[Asset] = ASSETS.by_symbol("USDC")
USDT: Final[Asset] = ASSETS.by_symbol("USDT")
POOL: Final = Address("0x3416cF6C708Da44DB2624D63ea0AAef7113527C6")
BOB: Final = Address("0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045")
SOLD: Final = 1_000_000_000
MIN_BOUGHT: Final = 995_000_000
DEADLINE_S: Final = NOW_MS // 1000 + 180
GAS_USED: Final = 100_000
GAS_PRICE: Final = 10_000_000_000
FEE: Final = GAS_USED * GAS_PRICE
MASTER: Final = MasterKey(bytes(32))
"""Of the MACs of what is seeded here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeded:
    """What an account has asked for, and its plan."""

    owner: Owner
    plan: Plan
    id: int


def observer(clock: FakeClock | None = None) -> ChainObserver:
    return ChainObserver(
        CONFIG, ASSETS, deployments=DEPLOYMENTS, store=STORE, master=MASTER, clock=clock or FakeClock()
    )


def seed_key(c: Connection, owner: Owner, key_id: str = "key") -> str:
    """A key row. Its MAC is not a real one."""
    c.execute(
        insert(api_keys).values(
            id=key_id,
            account_id=owner.account_id,
            wallet_id=owner.wallet_id,
            label=key_id,
            algorithm="ed25519",
            public_key=bytes(32),
            can_read=True,
            can_trade=True,
            can_withdraw=True,
            ip_allowlist=[],
            created_ms=NOW_MS,
            mac=bytes(32),
        )
    )
    return key_id


def swap_of(owner: Owner, *, max_in: int = SOLD, min_out: int = MIN_BOUGHT, deadline_s: int = DEADLINE_S) -> Swap:
    """Exact input of USDC for USDT over one V3 pool."""
    return Swap(
        chain_id=ETHEREUM,
        router=DEPLOYMENTS.router_of(ETHEREUM, Venue.UNISWAP_V3).address,
        sold=USDC,
        bought=USDT,
        exact="in",
        max_in=max_in,
        min_out=min_out,
        recipient=owner.address,
        deadline_s=deadline_s,
        legs=one_leg(
            (USDC.token_address, USDT.token_address),
            (100,),
            venue=Venue.UNISWAP_V3,
            exact="in",
            max_in=max_in,
            min_out=min_out,
        ),
    )


def order_calls(owner: Owner) -> list[CallRequest]:
    """An approval and its swap."""
    swap = swap_of(owner)
    return [
        erc20.approve_call(USDC.token_address, swap.router, amount=SOLD),
        encode_swap(swap, deployments=DEPLOYMENTS, assets=ASSETS),
    ]


def seed_order(c: Connection, *, number: int = 0xA11CE, client_id: str = "order-1") -> Seeded:
    """An order that sells 1,000 USDC for USDT: approval and swap, queued, with its reservation."""
    owner = seed_owner(c, number)
    return seed_order_of(c, owner, key_id=seed_key(c, owner, f"key-{number}"), client_id=client_id)


def seed_order_of(
    c: Connection,
    owner: Owner,
    *,
    key_id: str,
    client_id: str = "order-1",
    calls: Sequence[CallRequest] | None = None,
    master: MasterKey = MASTER,
) -> Seeded:
    """The same order for an account and key that are there; `calls` in place of its own."""
    lane = Lane(chain_id=ETHEREUM, wallet=owner.address)
    order = insert_order(c, order_draft(owner, key_id=key_id, client_id=client_id), master=master, now_ms=NOW_MS)
    plan_id = order_plan_id(order.id, 1)
    plan = queued_plan(
        plan_id, lane, calls=calls or order_calls(owner), created_ms=NOW_MS, valid_until_ms=DEADLINE_S * 1000
    )
    STORE.open_lane(c, lane, 0)
    STORE.add_plan(c, plan)
    reservations.hold(
        c,
        account_id=owner.account_id,
        wallet_id=owner.wallet_id,
        chain_id=ETHEREUM,
        plan_id=plan_id,
        amounts={USDC.id: SOLD, ASSETS.native.id: 3 * FEE},
        now_ms=NOW_MS,
    )
    start_try(c, order, first_try(plan, order.id), quote=SNAPSHOT, master=master, now_ms=NOW_MS)
    return Seeded(owner=owner, plan=plan, id=order.id)


def first_try(plan: Plan, order_id: int, *, number: int = 1) -> OrderTry:
    return OrderTry(
        plan_id=plan.id,
        order_id=order_id,
        max_sold=SOLD,
        min_bought=MIN_BOUGHT,
        deadline_s=DEADLINE_S,
        created_ms=NOW_MS,
        number=number,
        calls_hash=calls_hash(plan.id, plan.intents),
    )


def order_draft(owner: Owner, *, key_id: str, client_id: str = "order-1") -> OrderDraft:
    return OrderDraft(
        account_id=owner.account_id,
        wallet_id=owner.wallet_id,
        key_id=key_id,
        client_id=client_id,
        params_hash="0x" + "11" * 32,
        chain_id=ETHEREUM,
        market="USDCUSDT",
        base_asset=USDC.id,
        quote_asset=USDT.id,
        side=Side.SELL,
        type=OrderType.MARKET,
        base_amount=SOLD,
        quote_amount=None,
        slippage_bps=50,
        max_sold=SOLD,
        min_bought=MIN_BOUGHT,
        quote=SNAPSHOT,
    )


SNAPSHOT: Final[dict[str, Any]] = {
    "chain": "ethereum",
    "base": {"symbol": "USDC", "decimals": 6},
    "quote": {"symbol": "USDT", "decimals": 6},
    "native": {"symbol": "ETH", "decimals": 18},
    "deadline_s": DEADLINE_S,
    "quoted": {
        "sell": "1000",
        "buy": "999.9",
        "price": "0.9999",
        "mid_price": "1",
        "price_impact_bps": 1,
        "route": {"venues": ["uniswap_v3"], "router": POOL, "lp_fee_pips": 100, "legs": []},
        "block": {"number": 1, "hash": "0x" + "11" * 32},
    },
}


def seed_withdrawal(c: Connection, *, asset: Asset = USDC, amount: int = 5_000_000, number: int = 0xA11CE) -> Seeded:
    """A withdrawal to Bob, queued, with its reservation."""
    owner = seed_owner(c, number)
    return seed_withdrawal_of(c, owner, key_id=seed_key(c, owner, f"key-{number}"), asset=asset, amount=amount)


def seed_withdrawal_of(
    c: Connection,
    owner: Owner,
    *,
    key_id: str,
    asset: Asset = USDC,
    amount: int = 5_000_000,
    master: MasterKey | None = None,
    why: Why | None = None,
) -> Seeded:
    """The same withdrawal for an account and key that are there; with a master key also its clearance."""
    lane = Lane(chain_id=ETHEREUM, wallet=owner.address)
    plan_id = PlanId(f"withdrawal:{owner.wallet_id}")
    call = erc20.transfer_call(asset, BOB, amount=amount)
    plan = queued_plan(plan_id, lane, calls=[call], created_ms=NOW_MS, valid_until_ms=None)
    STORE.open_lane(c, lane, 0)
    STORE.add_plan(c, plan)
    reservations.hold(
        c,
        account_id=owner.account_id,
        wallet_id=owner.wallet_id,
        chain_id=ETHEREUM,
        plan_id=plan_id,
        amounts={asset.id: amount} if not asset.is_native else {asset.id: amount + FEE},
        now_ms=NOW_MS,
    )
    draft = WithdrawalDraft(
        account_id=owner.account_id,
        wallet_id=owner.wallet_id,
        key_id=key_id,
        client_id="withdrawal-1",
        params_hash="0x" + "22" * 32,
        chain_id=ETHEREUM,
        asset=asset.id,
        amount=amount,
        destination=BOB,
        plan_id=plan_id,
    )
    state = WithdrawalState.PROCESSING if why is None else WithdrawalState.AWAITING_APPROVAL
    withdrawal = insert_withdrawal(c, draft, state=state, now_ms=NOW_MS)
    if master is not None:
        late = None if why is None else NOW_MS + 1_000
        insert_clearance(c, withdrawal, why=why, usd=None, requester_id=None, expires_ms=late, master=master)
    return Seeded(owner=owner, plan=plan, id=withdrawal.id)


def reserve(c: Connection, plan: Plan) -> list[Tx]:
    """Slots for all intents of the plan."""
    state = STORE.lane(c, plan.lane)
    first = state.next_nonce if state is not None else 0
    wanted = [(intent.id, 200_000) for intent in plan.intents]
    return list(STORE.reserve(c, plan.lane, wanted, first_nonce=first, now_ms=NOW_MS))


def send(c: Connection, tx: Tx, *, number: int, kind: AttemptKind = AttemptKind.REAL) -> TxHash:
    """A signed and sent attempt; its hash is made of `number`."""
    attempt = Attempt(
        hash=tx_hash(number),
        tx_id=tx.id,
        kind=kind,
        raw=bytes([number]),
        fees=Fees(max_fee_wei=GAS_PRICE, priority_fee_wei=1),
        gas_limit=200_000,
        state=AttemptState.SIGNED,
        created_ms=NOW_MS + number,
    )
    STORE.save_attempts(c, [attempt], NOW_MS)
    STORE.mark_sent(c, [attempt.hash], NOW_MS)
    return attempt.hash


def mine(c: Connection, tx: Tx, mined: TxHash, *, outcome: Outcome, block: int = 100) -> tuple[Tx, Intent]:
    """Mined by that attempt; the slot as it is then."""
    STORE.mark_mined(c, tx.id, mined, block=block_at(block), outcome=outcome, now_ms=NOW_MS)
    return _now(c, tx)


def confirm(c: Connection, tx: Tx) -> tuple[Tx, Intent]:
    STORE.mark_confirmed(c, tx.id, NOW_MS)
    return _now(c, tx)


def _now(c: Connection, tx: Tx) -> tuple[Tx, Intent]:
    found: OpenTx = next(row for row in STORE.open_txs(c, tx.lane.chain_id) if row.tx.id == tx.id)
    if found.tx.state not in (TxState.MINED, TxState.CONFIRMED):
        raise AssertionError(found.tx.state)
    return found.tx, found.intent


def receipt_of(tx: Tx, intent: Intent, *, moves: tuple[tuple[Asset, Address, Address, int], ...] = ()) -> Receipt:
    """A receipt with one Transfer log for each (token, from, to, amount)."""
    if tx.block is None or tx.mined_hash is None:
        raise AssertionError("the slot is not mined")
    topic = load_abi("erc20").event("Transfer").topic
    logs = [
        Log(
            address=asset.token_address,
            topics=(topic, _word(source), _word(target)),
            data=raw.to_bytes(32, "big"),
            log_index=index,
            tx_hash=tx.mined_hash,
            block=tx.block,
        )
        for index, (asset, source, target, raw) in enumerate(moves)
    ]
    cancelled = tx.outcome is Outcome.CANCELLED
    return Receipt(
        tx_hash=tx.mined_hash,
        block=tx.block,
        succeeded=tx.outcome is not Outcome.REVERTED,
        gas_used=GAS_USED,
        effective_gas_price_wei=GAS_PRICE,
        sender=intent.lane.wallet,
        to=intent.lane.wallet if cancelled else intent.call.to,
        logs=tuple(logs),
    )


def swap_moves(owner: Owner, *, bought: int = 999_900_000) -> tuple[tuple[Asset, Address, Address, int], ...]:
    """What a filled swap of `seed_order` logs."""
    return ((USDT, POOL, owner.address, bought), (USDC, owner.address, POOL, SOLD))


def _word(address: Address) -> bytes:
    return bytes(12) + address_bytes(address)
