"""The last look before a wrap, unwrap, revocation or call is signed (`service.workers.presign` asks).

Guarantees: the call is what was asked for, to the byte and to the wei, under a MAC; it decodes to nothing else than its
kind says. Of a call of a contract: its key still lists contract and function, with at least that value, and has the
withdraw permission; nobody may make it that `contracts.foreign_calls` refuses; approvals before it are exact, of what
was declared, to that contract alone. Not guaranteed: what the contract will do; `calling` has looked at that.
"""

from collections.abc import Collection

from chains.tx.model import Intent
from chains.tx.store import PreSignRefused
from chains.types import Address
from contracts.abi import SELECTOR_BYTES
from contracts.assets import AssetList
from contracts.decoding import Approve, Unwrap, Wrap, decode_call
from contracts.deployments import Deployments
from contracts.errors import ContractError
from contracts.foreign_calls import decoded, why_never
from service.auth.authority import Tampered
from service.auth.caveats import Call, OfCalls, decide
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
    if terms.kind is TransactionKind.CONTRACT:
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
    never = why_never(terms.call, assets=assets, deployments=deployments, wallets=wallets)
    if never is not None:
        raise PreSignRefused(f"the call is refused: {never}")
    if Permission.WITHDRAW not in key.permissions:
        raise PreSignRefused("the key has the withdraw permission no longer")
    denied = decide([OfCalls(calls=key.restrictions.calls)], call_of(terms))
    if denied is not None:
        raise PreSignRefused(denied.reason)


def call_of(terms: Terms) -> Call:
    """What the key's caveat is asked about."""
    return Call(
        chain_id=terms.chain_id,
        contract=terms.contract,
        selector="0x" + terms.data[:SELECTOR_BYTES].hex(),
        value_wei=terms.value_wei,
    )


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
