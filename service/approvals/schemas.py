"""Bodies and answers of the approval routes."""

from typing import Literal

from pydantic import Field

from service.accounts.confirming import TotpCode
from service.markets.schemas import AddressText, Amount, AmountText, ChainKey, Document, HashText, Millis

AccountName = Field(default=None, max_length=64, examples=["main"], description="Where you belong to several.")


class ApprovalOut(Document):
    """A withdrawal that needs a second person, decoded. `id` is the withdrawal's."""

    id: int = Field(examples=[7])
    state: Literal["pending", "approved", "rejected", "expired", "closed"] = Field(
        description="`closed`: the withdrawal ended without a decision."
    )
    why: Literal["over_usd", "over_amount", "worth_unknown"]
    binding: HashText = Field(description="The fingerprint of all of this; an approval names it.")
    intact: bool = Field(
        description="False: it was changed in the database since it was accepted. Nobody may approve it."
    )
    may_approve: bool = Field(description="Whether you may.")
    chain: ChainKey
    asset: str | None = Field(examples=["USDC"])
    asset_id: str = Field(examples=["eip155:1/erc20:0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"])
    amount: str | None = Field(examples=["25000"], description="What arrives.")
    leaves_at_most: str | None = Field(examples=["25000"])
    max_fee: Amount | None
    usd: str | None = Field(examples=["24998.1"], description="Its worth when it was accepted.")
    address: AddressText
    address_name: str | None = Field(examples=["cold-1"], description="In the account's address book.")
    address_added_ms: Millis | None = Field(description="When it was added to the address book: a name may be new.")
    wallet: str = Field(examples=["main"])
    client_withdrawal_id: str = Field(examples=["payout-2026-11-22-1"])
    requester: str | None = Field(examples=["bob"], description="Null: a key that was made on the host.")
    key_label: str = Field(examples=["treasury-bot"])
    created_ms: Millis
    expires_ms: Millis | None
    decided_ms: Millis | None
    decided_by: str | None = Field(examples=["alice"])


class Approvals(Document):
    approvals: list[ApprovalOut]
    unusable: list[str] = Field(
        examples=[[]],
        description="Ids of withdrawals that were altered in the database, or what they name was: nothing is signed.",
    )


class ApproveIn(Document):
    """`binding` as it was shown: what is approved is exactly what was seen."""

    binding: str = Field(pattern=r"^0x[0-9a-f]{64}$", examples=["0x" + "5e" * 32])
    totp_code: TotpCode | None = Field(default=None, description="In a session.")
    account: str | None = AccountName


class RejectIn(Document):
    reason: str = Field(default="", max_length=120, examples=["not expected today"])
    account: str | None = AccountName


class AssetThreshold(Document):
    chain: str = Field(max_length=32, examples=["ethereum"])
    asset: str = Field(max_length=96, examples=["USDC"])
    amount: str = Field(max_length=90, examples=["10000"])


class ThresholdsOut(Document):
    usd: str | None = Field(examples=["10000"])
    assets: list[AssetThreshold]


class PolicyIn(Document):
    """All thresholds that are wanted: one that is left out is taken away. 0 asks for a second person always."""

    usd: AmountText | None = Field(default=None, examples=["10000"])
    assets: list[AssetThreshold] = Field(default=[], max_length=64)
    totp_code: TotpCode | None = None
    account: str | None = AccountName


class PolicyOut(Document):
    """What is stricter is in force at once; `following` is in force from `following_from_ms` on."""

    in_force: ThresholdsOut
    following: ThresholdsOut | None
    following_from_ms: Millis | None
    window_hours: int = Field(examples=[24], description="What left without a second person in that time counts, too.")
    expires_hours: int = Field(examples=[24], description="How long a withdrawal waits for its approval.")
    approvers: int = Field(
        examples=[2],
        description="People who could approve what somebody else asked for: not new, with an authenticator.",
    )
