"""A transaction besides orders and withdrawals, as it is stored, and its states.

    processing -> sent -> confirmed -> final
        |          |----> failed (mined, reverted, or it moved nothing)
        |          |----> cancelled (its nonce was closed by a self-send)
        |          |----> unknown (a foreign transaction took the nonce: a person must look)
        |---> rejected (nothing was sent)

A reorg takes `confirmed`, `failed` and `cancelled` back to `sent`. A call of a contract may have approvals before it,
in the same plan: the states are of the plan's last step.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from chains.tx.model import PlanId
from chains.types import Address, CallRequest, ChainId, TxHash
from contracts.assets import AssetId


class TransactionKind(StrEnum):
    WRAP = "wrap"
    """Native coins into the wrapped token, one for one."""
    UNWRAP = "unwrap"
    REVOKE = "revoke"
    """An allowance set to zero."""
    CONTRACT = "contract"
    """A function of a contract that is none of ours."""


class TransactionState(StrEnum):
    PROCESSING = "processing"
    SENT = "sent"
    CONFIRMED = "confirmed"
    FINAL = "final"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    FAILED = "failed"
    UNKNOWN = "unknown"


UNSETTLED = frozenset({TransactionState.PROCESSING, TransactionState.SENT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What was asked for, which never changes: amounts in base units, by asset where there are several.

    `contract`, `data` and `value_wei` are the plan's last call. `asset` and `amount` of wrap and unwrap are what is
    given; `asset` of revoke is the token. `function` (its signature), `approvals` and `max_out` are of contract;
    `max_out` has the native coins of `value_wei` too. `calls_hash` is the digest of all the plan's calls
    (`service.plans.binding`); None of those accepted before it was kept. From `valid_until_ms` on it
    is not signed any more, if it was not before; None: it has no such end, or was accepted before it was kept here.
    """

    account_id: int
    wallet_id: int
    key_id: str
    kind: TransactionKind
    client_id: str
    params_hash: str
    chain_id: ChainId
    contract: Address
    data: bytes
    value_wei: int
    asset: AssetId | None
    amount: int | None
    spender: Address | None
    function: str | None
    approvals: Mapping[AssetId, int]
    max_out: Mapping[AssetId, int]
    plan_id: PlanId
    calls_hash: str | None = None
    valid_until_ms: int | None = None

    @property
    def call(self) -> CallRequest:
        return CallRequest(to=self.contract, data=self.data, value_wei=self.value_wei)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """A stored transaction. `tx_hash` is the attempt sent last until one is mined, and may change till then.

    `moved` is what the confirmed receipt's logs show, without gas; None before. `usd` is what all of a call's
    `max_out` was worth when it was accepted, in micro-dollars; None: not known, or nothing asked for it.
    """

    id: int
    terms: Terms
    asked_mac: bytes
    state: TransactionState
    reason: str | None
    tx_hash: TxHash | None
    usd: int | None
    moved: Mapping[AssetId, int] | None
    gas_wei: int
    created_ms: int
    updated_ms: int
