"""Bodies and answers of the routes of keys."""

from typing import Annotated, Final, Literal

from pydantic import Field

from service.accounts.confirming import TotpCode
from service.auth.keys import Algorithm, KeyState, Permission
from service.markets.schemas import AddressText, AmountText, Document, Millis

KeyId = Annotated[str, Field(examples=["ck_0123456789abcdef"])]
Label = Annotated[str, Field(min_length=1, max_length=64, examples=["bot"])]
AccountName = Annotated[str, Field(max_length=64, examples=["main"])]
WalletName = Annotated[str, Field(max_length=64, examples=["main"])]
PermissionName = Literal["read", "trade", "withdraw"]
Permissions = Annotated[list[PermissionName], Field(min_length=1, max_length=3, examples=[["read", "trade"]])]
Network = Annotated[str, Field(max_length=64, examples=["203.0.113.7/32"])]
Networks = Annotated[list[Network], Field(max_length=64)]
EndMs = Annotated[int, Field(ge=0, le=2**53 - 1, examples=[1_803_143_295_041])]
"""UTC, in milliseconds since 1970."""
PublicKey = Annotated[str, Field(max_length=512, examples=["d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"])]  # fmt: skip # noqa: E501
"""32 bytes as hex, or the PEM that openssl writes."""
Names = Annotated[list[Annotated[str, Field(max_length=160)]], Field(max_length=256)]
Amounts = Annotated[dict[Annotated[str, Field(max_length=64)], AmountText], Field(max_length=256)]
Count = Annotated[int, Field(ge=0, le=2**53 - 1, examples=[100])]


_IS_ABOUT: Final = "what it places, withdraws, calls and cancels is on. A key with read sees its whole wallet."


class Limits(Document):
    """What is null is not limited. USD in dollars, gas in the native asset, assets in whole units, all a UTC day."""

    chains: Names | None = Field(default=None, examples=[["ethereum"]], description=f"Chains that {_IS_ABOUT}")
    assets: Names | None = Field(default=None, examples=[["ethereum:USDC"]], description=f"Assets that {_IS_ABOUT}")
    markets: Names | None = Field(
        default=None, examples=[["ethereum:ETHUSDC"]], description=f"Markets that {_IS_ABOUT}"
    )
    max_order_usd: AmountText | None = Field(default=None, examples=["500"])
    daily_usd: AmountText | None = Field(default=None, examples=["5000"])
    daily_orders: Count | None = None
    daily_gas: Amounts | None = Field(default=None, examples=[{"ethereum": "0.1"}])
    daily_sold: Amounts | None = Field(default=None, examples=[{"ethereum:ETH": "2"}])
    """By asset: what orders sell at most. The native asset and its wrapped form count as one."""
    daily_withdrawals: Count | None = None
    daily_withdrawal_usd: AmountText | None = Field(default=None, examples=["1000"])
    daily_withdrawn: Amounts | None = Field(default=None, examples=[{"ethereum:USDC": "1000"}])
    calls: Names | None = Field(default=None, examples=[None])
    """Contract functions that it may call, as `chain:contract:function(types)`; null: none."""


class KeyIn(Document):
    """A key with trade has the budgets of the settings for what `limits` does not name; null lifts one."""

    label: Label
    permissions: Permissions
    account: AccountName | None = None
    """Needed by a member of several."""
    wallet: WalletName | None = None
    """Label or address; needed where the account has several."""
    ip_allowlist: Networks = Field(default=[], examples=[["203.0.113.7/32", "2001:db8::/64"]])
    """Addresses and networks that it may come from; empty: anywhere. Needed for withdraw, /24 or /64 at widest."""
    expires_ms: EndMs | None = None
    """Needed for withdraw, at most 90 days from now."""
    limits: Limits = Field(default=Limits(), examples=[{"max_order_usd": "500"}])
    algorithm: Literal["hmac-sha256", "ed25519"] = "hmac-sha256"
    public_key: PublicKey | None = None
    """Exactly for ed25519: the private half stays with you."""


class KeyPatch(Document):
    """What is left out stays. `limits` change one by one; null lifts one. What widens needs `totp_code`."""

    label: Label | None = None
    permissions: Permissions | None = None
    ip_allowlist: Networks | None = None
    expires_ms: EndMs | None = None
    """null: it does not expire."""
    limits: Limits | None = Field(default=None, examples=[{"max_order_usd": "100"}])
    totp_code: TotpCode | None = None


class ActivateIn(Document):
    totp_code: TotpCode | None = None


class RotateIn(Document):
    label: Label | None = None
    """Of the new key; by default the old one's with a number."""
    overlap_hours: int = Field(default=24, ge=0, le=7 * 24, examples=[24])
    """How long the old key works on once the new one is activated."""
    expires_ms: EndMs | None = None
    """Of the new key; by default as long after now as the old one had when it was made."""
    public_key: PublicKey | None = None
    """Exactly for an ed25519 key: a new pair."""


class KeyWallet(Document):
    label: WalletName
    address: AddressText


class KeyDestination(Document):
    chain: str = Field(examples=["ethereum"])
    address: AddressText


class KeyOut(Document):
    """A key, without its secret."""

    key: KeyId
    label: Label
    state: KeyState
    account: AccountName
    wallet: KeyWallet
    permissions: list[Permission] = Field(examples=[["read", "trade"]])
    algorithm: Algorithm
    ip_allowlist: list[Network]
    """Empty: from anywhere."""
    limits: Limits
    destinations: list[KeyDestination]
    """Its own, given by the operator. With withdraw and none, it may withdraw to the account's address book."""
    made_by: str | None = Field(examples=["ada"])
    """The user who made it in a session; null: the operator."""
    rotates: KeyId | None
    created_ms: Millis
    expires_ms: Millis | None
    idle_end_ms: Millis | None
    """When it ends if it is not used until then; null: it does not, since it has an IP allowlist."""
    lapses_ms: Millis | None
    """Until when it can be activated; null: it was."""
    last_used_ms: Millis | None
    """To the hour; a new key counts as used when it was made."""
    calls_from_ms: Millis | None
    """From when on it may call what `limits.calls` lists; null: at once, or when it was activated and cooled."""
    revoked_ms: Millis | None


class KeyMade(Document):
    key: KeyOut
    secret: str | None = Field(examples=["3f2a..."], repr=False)
    """Of an HMAC key, this once; null for ed25519."""


class Keys(Document):
    keys: list[KeyOut]
    unusable: list[str] = Field(examples=[[]])
    """Ids of keys whose rows are not as the service wrote them: nobody can use them, and nothing of them is told."""


class Revoked(Document):
    key: KeyOut
    cancelled: int = Field(examples=[0])
    """Orders that rested."""
    rejected: int = Field(examples=[0])
    """Orders and withdrawals that waited to be sent, and now are not."""
    closing: int = Field(examples=[0])
    """Transactions that were sent, and are to be closed at their nonce."""


class Usage(Document):
    """A limit of a UTC day. Amounts as in `limits`."""

    limit: str = Field(examples=["daily_usd"])
    of: str | None = Field(examples=[None])
    """The chain or asset, where it is by one of them."""
    allowed: str = Field(examples=["5000"])
    used: str = Field(examples=["120.5"])
    left: str = Field(examples=["4879.5"])


class OwnKey(Document):
    key: KeyOut
    today: list[Usage]
    resets_ms: Millis
    """When the limits of a day begin anew: 00:00 UTC."""


class CheckIn(Document):
    """A request that was not made. `market` of an order; `asset`, `amount` and `destination` of a withdrawal.

    An order may name `asset` and `amount`, too: what it sells at most. It must where the key has `daily_sold` of one of
    the market's assets.
    """

    kind: Literal["read", "order", "withdrawal"]
    client_ip: str | None = Field(default=None, max_length=64, examples=["203.0.113.7"])
    """Where it would come from; by default here."""
    chain: str | None = Field(default=None, max_length=32, examples=["ethereum"])
    market: str | None = Field(default=None, max_length=64, examples=["ETHUSDC"])
    asset: str | None = Field(default=None, max_length=160, examples=["USDC"])
    amount: AmountText | None = None
    destination: AddressText | None = Field(default=None, max_length=64)
    usd: AmountText | None = Field(default=None, examples=["250"])
    """What it would be worth, in dollars; needed but for reads: nothing is valued here."""
    gas: AmountText | None = Field(default=None, examples=["0.01"])
    """What would be set aside for gas, in the native asset; none by default."""


class DenialOut(Document):
    code: str = Field(examples=["key_limit_reached"])
    reason: str = Field(examples=["the order is worth 600 USD, and this key's limit an order is 500 USD"])


class Checked(Document):
    allowed: bool
    denials: list[DenialOut]
    """Every restriction that denies it, in the order in which a request meets them."""
