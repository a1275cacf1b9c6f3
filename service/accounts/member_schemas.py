"""Bodies and answers of the routes about who belongs to an account."""

from typing import Annotated, Literal

from pydantic import Field

from service.accounts.confirming import TotpCode
from service.accounts.people import Role
from service.accounts.schemas import AccountName, Name
from service.markets.schemas import Document, Millis

RoleName = Annotated[Literal["owner", "trader", "approver", "viewer"], Field(examples=["viewer"])]


class MemberIn(Document):
    account: AccountName | None = None
    user: Name
    role: RoleName
    totp_code: TotpCode | None = None


class RoleIn(Document):
    account: AccountName | None = None
    role: RoleName
    totp_code: TotpCode | None = None
    """Where the role allows what the one of before did not."""


class RemoveIn(Document):
    totp_code: TotpCode | None = None
    """For an owner or approver, and for an owner who leaves."""


class InviteIn(Document):
    account: AccountName | None = None
    role: RoleName
    totp_code: TotpCode | None = None


class JoinIn(Document):
    invitation: Annotated[str, Field(pattern=r"^[!-~]{1,64}$", examples=["ci_3q2-7wAB..."])]


class MemberOut(Document):
    user_id: int = Field(examples=[3])
    user: Name
    role: Role
    since_ms: Millis
    new_until_ms: Millis | None
    """Until then they approve nothing, and neither add members nor remove owners or approvers; null: they may."""
    is_you: bool


class InvitationOut(Document):
    """One that waits to be used. Its token is never shown again."""

    id: str = Field(examples=["9f86d081884c7d65"])
    role: Role
    created_ms: Millis
    expires_ms: Millis


class Members(Document):
    account: AccountName
    members: list[MemberOut]
    invitations: list[InvitationOut]
    """For owners; nobody else is shown them."""
    unusable: list[str] = Field(examples=[[]])
    """Ids of users, and for owners of invitations, whose rows are not as the service wrote them: they grant nothing."""


class Changed(Document):
    """`revoked_keys` are those that the member had made and that the role of now does not allow."""

    member: MemberOut | None
    revoked_keys: list[str] = Field(examples=[["ck_5a1c09f3d2e4b687"]])


class Invited(Document):
    """Shown this once."""

    invitation: str = Field(examples=["ci_3q2-7wAB..."])
    role: Role
    expires_ms: Millis


class Joined(Document):
    account: AccountName
    role: Role


class TakenBack(Document):
    taken_back: bool
