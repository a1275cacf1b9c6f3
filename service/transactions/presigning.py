"""The last look before a wrap, unwrap, revocation or call is signed (`service.workers.presign` asks).

Guarantees: the call is what was asked for, to the byte and to the wei, under a MAC; it decodes to nothing else than its
kind says. Its key, as it is now, still has the permission and is for chain and assets; of a call of a contract it still
lists contract and function, with at least that value, and nobody may make it that `contracts.foreign_calls` refuses;
approvals before it are exact, of what was declared, to that contract alone. Not guaranteed: what the contract will do,
which simulations have looked at (`calling`, `service.workers.simulated`); and the key's limits of a day, which were
counted when it was accepted.
"""

from collections.abc import Collection

from chains.tx.model import Intent
from chains.tx.store import PreSignRefused
from chains.types import Address
from contracts.abi import SELECTOR_BYTES
from contracts.assets import AssetId, AssetList
from contracts.decoding import Approve, Unwrap, Wrap, decode_call
from contracts.deployments import Deployments
from contracts.errors import ContractError
from contracts.foreign_calls import decoded, why_never
from service.auth.authority import Tampered
from service.auth.caveats import Call, Facts, Target, Use, caveats_of, decide
from service.auth.keys import ApiKey, Permission
from service.auth.secrets import MasterKey
from service.markets.abi_text import InvalidCall, parse_sent_function
from service.transactions.model import UNSETTLED, Terms, Transaction, TransactionKind
from service.transactions.terms import verify


def check_transaction(
    intent: Intent,
    transaction: Transaction,
    *,
    key: ApiKey,
    wallets: Collection[Address],
    assets: AssetList,
    deployments: Deployments,
    master: MasterKey,
    last: bool,
) -> None:
    """`last`: the intent is the plan's last. `wallets` are all that this service signs for. Raises: PreSignRefused."""
    terms = transaction.terms
    try:
        verify(master, transaction)
    except Tampered as exc:
        raise PreSignRefused(str(exc)) from exc
    # SENT as well: a replacement at the same nonce is signed again.
    if transaction.state not in UNSETTLED or terms.chain_id != intent.lane.chain_id:
        raise PreSignRefused(f"transaction {transaction.id} is {transaction.state}")
    _check_allowed(terms, key, wallets=wallets, assets=assets, deployments=deployments)
    if not last:
        _check_approval(intent, terms, assets=assets, deployments=deployments)
        return
    if intent.call != terms.call:
        raise PreSignRefused("the call is not the one that was asked for")
    if terms.kind is TransactionKind.CONTRACT:
        _check_function(terms)
    else:
        _check_upkeep(intent, terms, assets=assets, deployments=deployments)


def _check_allowed(
    terms: Terms, key: ApiKey, *, wallets: Collection[Address], assets: AssetList, deployments: Deployments
) -> None:
    """The key as it is now: it may have been narrowed since."""
    denied = decide(caveats_of(key), Use(permission=permission_for(terms.kind)), *facts_of(terms, assets))
    if denied is not None:
        raise PreSignRefused(denied.reason)
    if terms.kind is TransactionKind.CONTRACT:
        never = why_never(terms.call, assets=assets, deployments=deployments, wallets=wallets)
        if never is not None:
            raise PreSignRefused(f"the call is refused: {never}")


def permission_for(kind: TransactionKind) -> Permission:
    """What a key needs to ask for it, as its route does."""
    return Permission.WITHDRAW if kind is TransactionKind.CONTRACT else Permission.TRADE


def facts_of(terms: Terms, assets: AssetList) -> list[Facts]:
    """What a key's caveats are asked about."""
    target = Target(
        wallet_id=terms.wallet_id,
        chain_id=terms.chain_id,
        assets=_touched(terms, assets),
        market=None,
        destination=None,
    )
    if terms.kind is not TransactionKind.CONTRACT:
        return [target]
    selector = "0x" + terms.data[:SELECTOR_BYTES].hex()
    called = Call(chain_id=terms.chain_id, contract=terms.contract, selector=selector, value_wei=terms.value_wei)
    return [target, called]


def _touched(terms: Terms, assets: AssetList) -> frozenset[AssetId]:
    match terms.kind:
        case TransactionKind.WRAP | TransactionKind.UNWRAP:
            return frozenset({assets.native.id, assets.wrapped.id})
        case TransactionKind.REVOKE:
            return frozenset() if terms.asset is None else frozenset({terms.asset})
        case TransactionKind.CONTRACT:
            return frozenset(terms.max_out)


def _check_function(terms: Terms) -> None:
    try:
        decoded(parse_sent_function(terms.function or ""), terms.data)
    except (InvalidCall, ContractError) as exc:
        raise PreSignRefused(f"the calldata is not of {terms.function}: {exc}") from exc


def _check_approval(intent: Intent, terms: Terms, *, assets: AssetList, deployments: Deployments) -> None:
    found = decode_call(deployments, assets, terms.chain_id, intent.call)
    if not isinstance(found, Approve):
        raise PreSignRefused(f"a call before the last is no approval: {found}")
    if found.spender != terms.contract or terms.kind is not TransactionKind.CONTRACT:
        raise PreSignRefused("the approval is not for the contract that is called")
    if found.amount not in (0, terms.approvals.get(found.asset.id, 0)):
        raise PreSignRefused("the approval is not of exactly what was declared")


def _check_upkeep(intent: Intent, terms: Terms, *, assets: AssetList, deployments: Deployments) -> None:
    found = decode_call(deployments, assets, terms.chain_id, intent.call)
    match terms.kind, found:
        case TransactionKind.WRAP, Wrap(amount=amount):
            right = (assets.native.id, amount) == (terms.asset, terms.amount)
        case TransactionKind.UNWRAP, Unwrap(amount=amount):
            right = (assets.wrapped.id, amount) == (terms.asset, terms.amount)
        case TransactionKind.REVOKE, Approve(asset=asset, spender=spender, amount=0):
            right = (asset.id, spender) == (terms.asset, terms.spender)
        case _:
            right = False
    if not right:
        raise PreSignRefused(f"the call is no {terms.kind} as it was asked for: {found}")
