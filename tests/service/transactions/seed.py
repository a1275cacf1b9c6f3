"""Transactions that stand in the database, with real MACs, for an account with a wallet and a key."""

from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import Connection

from chains.tx.model import Lane, Plan, PlanId
from chains.types import CallRequest
from contracts import erc20, weth
from contracts.abi import encode_call
from service.accounts.people import ensure_account
from service.accounts.wallets import insert_wallet
from service.auth.keys import Destination, NewKey, Permission, create_key, parse_network
from service.auth.restrictions import AllowedCall, Restrictions
from service.auth.secrets import MasterKey
from service.journal import reservations
from service.markets.abi_text import parse_sent_function
from service.plans.binding import calls_hash
from service.plans.building import queued_plan
from service.transactions.model import Terms, Transaction, TransactionKind
from service.transactions.storage import insert_transaction
from service.transactions.terms import asked_mac
from tests.service.books_seed import ETHEREUM, NOW_MS, Owner, address_of
from tests.service.trading_seed import ASSETS, BOB, FEE, STORE, USDC

MASTER: Final = MasterKey(bytes(32))
VAULT: Final = address_of(0x7A << 96)
ROUTER: Final = address_of(0x7B << 96)
DEPOSIT: Final = parse_sent_function("deposit(uint256)")
AMOUNT: Final = 25_000_000
MAY_DEPOSIT: Final = AllowedCall(
    chain_id=ETHEREUM, contract=VAULT, selector="0x" + DEPOSIT.selector.hex(), max_value_wei=5
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeded:
    owner: Owner
    plan: Plan
    transaction: Transaction


def seed_authority(
    c: Connection,
    *,
    calls: frozenset[AllowedCall] = frozenset({MAY_DEPOSIT}),
    permissions: frozenset[Permission] = frozenset(Permission),
    **restricted: Any,
) -> tuple[Owner, str]:
    """An account with a wallet and a key that lists those calls."""
    account = ensure_account(c, "main", owner="alice", master=MASTER, now_ms=NOW_MS)
    wallet = insert_wallet(
        c,
        account_id=account.id,
        address=address_of(0xA11CE),
        label="main",
        signer="keystore",
        master=MASTER,
        now_ms=NOW_MS,
    )
    withdraws = Permission.WITHDRAW in permissions
    new = NewKey(
        account_id=account.id,
        wallet_id=wallet.id,
        label="bot",
        permissions=permissions,
        ip_allowlist=(parse_network("127.0.0.1/32"),) if withdraws else (),
        destinations=(Destination(chain_id=ETHEREUM, address=BOB),) if withdraws else (),
        expires_ms=NOW_MS + 1_000,
        restrictions=Restrictions(calls=calls, **restricted),
    )
    key = create_key(c, new, master=MASTER, now_ms=NOW_MS).key
    return Owner(account_id=account.id, wallet_id=wallet.id, address=wallet.address), key.id


def terms_of(owner: Owner, key_id: str, kind: TransactionKind, **change: Any) -> Terms:
    """Of a wrap of 7 wei, an unwrap of 7, a revocation of USDC for the router, or a deposit of 25 USDC."""
    wrapped = ASSETS.wrapped
    terms = Terms(
        account_id=owner.account_id,
        wallet_id=owner.wallet_id,
        key_id=key_id,
        kind=kind,
        client_id="mine",
        params_hash="0x" + "33" * 32,
        chain_id=ETHEREUM,
        contract=wrapped.token_address,
        data=b"",
        value_wei=0,
        asset=None,
        amount=None,
        spender=None,
        function=None,
        approvals={},
        max_out={},
        plan_id=PlanId(f"transaction:{kind}"),
    )
    match kind:
        case TransactionKind.WRAP:
            terms = _of_call(terms, weth.wrap_call(wrapped.token_address, 7), asset=ASSETS.native.id, amount=7)
        case TransactionKind.UNWRAP:
            terms = _of_call(terms, weth.unwrap_call(wrapped.token_address, 7), asset=wrapped.id, amount=7)
        case TransactionKind.REVOKE:
            call = erc20.approve_call(USDC.token_address, ROUTER, amount=0)
            terms = _of_call(terms, call, asset=USDC.id, spender=ROUTER)
        case TransactionKind.CONTRACT:
            call = CallRequest(to=VAULT, data=encode_call(DEPOSIT, AMOUNT))
            some = {USDC.id: AMOUNT}
            terms = _of_call(terms, call, function=DEPOSIT.signature, approvals=some, max_out=some)
    return replace(terms, **change)


def seed_transaction(
    c: Connection,
    kind: TransactionKind,
    *,
    authority: Any = None,
    usd: int | None = None,
    resets: bool = False,
    **change: Any,
) -> Seeded:
    """Accepted as it is, queued, with its reservation; with resets of the allowances before it is approved."""
    owner, key_id = authority or seed_authority(c)
    terms = terms_of(owner, key_id, kind, **change)
    lane = Lane(chain_id=ETHEREUM, wallet=owner.address)
    calls = [erc20.approve_call(USDC.token_address, terms.contract, amount=raw) for raw in terms.approvals.values()]
    calls = [*(erc20.approve_call(USDC.token_address, terms.contract, amount=0) for _ in calls if resets), *calls]
    plan = queued_plan(terms.plan_id, lane, calls=[*calls, terms.call], created_ms=NOW_MS, valid_until_ms=None)
    if STORE.lane(c, lane) is None:
        STORE.open_lane(c, lane, 0)
    STORE.add_plan(c, plan)
    terms = replace(terms, calls_hash=calls_hash(plan.id, plan.intents))
    reservations.hold(
        c,
        account_id=owner.account_id,
        wallet_id=owner.wallet_id,
        chain_id=ETHEREUM,
        plan_id=terms.plan_id,
        amounts={ASSETS.native.id: FEE},
        now_ms=NOW_MS,
    )
    transaction = insert_transaction(c, terms, asked_mac=asked_mac(MASTER, terms), usd=usd, now_ms=NOW_MS)
    return Seeded(owner=owner, plan=plan, transaction=transaction)


def _of_call(terms: Terms, call: CallRequest, **change: Any) -> Terms:
    return replace(terms, contract=call.to, data=call.data, value_wei=call.value_wei, **change)
