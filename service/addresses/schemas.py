"""Bodies and answers of the address book's routes."""

from typing import Annotated

from pydantic import Field

from service.accounts.confirming import TotpCode
from service.accounts.schemas import AccountName
from service.addresses.cooling import HOUR_MS, MAX_MS
from service.addresses.storage import EntryState
from service.markets.schemas import Document, Millis

EntryName = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,64}$", examples=["exchange hot wallet"])]
Hours = Annotated[int, Field(ge=0, le=MAX_MS // HOUR_MS, examples=[48])]


class AddressIn(Document):
    account: AccountName | None = None
    chain: str = Field(max_length=64, examples=["ethereum"])
    address: str = Field(max_length=64, examples=["0x71C7656EC7ab88b098defB751B7401B5f6d8976F"])
    name: EntryName
    accept_look_alike: bool = False
    """That all of it was compared, where the answer `looks_alike` named an address it may be taken for."""
    totp_code: TotpCode | None = None


class RenameIn(Document):
    account: AccountName | None = None
    name: EntryName
    totp_code: TotpCode | None = None


class AddressOut(Document):
    id: int = Field(examples=[7])
    chain: str = Field(examples=["ethereum"])
    address: str = Field(examples=["0x71C7656EC7ab88b098defB751B7401B5f6d8976F"])
    name: EntryName
    state: EntryState
    cooling_until_ms: Millis | None
    """While it cools: nothing is withdrawn to it before."""
    is_contract: bool
    """It had code when it was added: make sure that it can hand out again what it is sent."""
    own_wallet: str | None = Field(examples=[None])
    """The label of this account's wallet with this address."""
    added_by: str | None = Field(examples=["ada"])
    """Null: the operator, on the host."""
    created_ms: Millis
    removed_ms: Millis | None


class CoolingOut(Document):
    """How long an entry that is added now cools, and what that will be where a shorter time was asked for."""

    cooling_hours: Hours
    next_hours: Hours | None
    next_from_ms: Millis | None


class AddressBook(Document):
    account: AccountName
    cooling: CoolingOut
    addresses: list[AddressOut]
    unusable: list[str] = Field(examples=[[]])
    """Ids of entries whose rows are not as the service wrote them: they are no destinations."""


class CoolingIn(Document):
    account: AccountName | None = None
    cooling_hours: Hours
    totp_code: TotpCode | None = None
