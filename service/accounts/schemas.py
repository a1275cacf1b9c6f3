"""Bodies and answers of the sign-in routes."""

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from service.accounts.people import Role
from service.markets.schemas import Document, Millis

Name = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,64}$", examples=["ada"])]
AccountName = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,64}$", examples=["main"])]
Password = Annotated[SecretStr, Field(min_length=1, max_length=256, examples=["correct horse battery staple"])]
Totp = Annotated[str, Field(pattern=r"^[0-9]{6}$", examples=["492039"])]
RecoveryCode = Annotated[str, Field(min_length=16, max_length=32, examples=["mzxw-6ytb-oi4d-k2lq"])]


class Factor(Document):
    """The second factor, once there is an authenticator: one of the two."""

    totp: Totp | None = None
    recovery_code: RecoveryCode | None = None


class RegisterIn(Document):
    name: Name
    password: Password
    invitation: SecretStr | None = Field(default=None, max_length=64, examples=["ci_3q2-7wAB..."])


class UserOut(Document):
    id: int = Field(examples=[1])
    name: Name
    owns_installation: bool


class SignInIn(Factor):
    name: Name
    password: Password
    cookie: bool = False
    """For browsers: the token comes as a cookie that no script can read, and not in the answer."""


class SessionOut(Document):
    id: str = Field(examples=["01936f2c-7d1e-7a52-9c40-2b9d1f0e5a77"])
    carrier: Literal["cookie", "bearer"]
    created_ms: Millis
    last_seen_ms: Millis
    expires_ms: Millis
    client_ip: str = Field(examples=["203.0.113.7"])
    agent: str = Field(examples=["Mozilla/5.0"])
    """What the client says it is."""
    current: bool


class SignedInOut(Document):
    token: str | None = Field(examples=["cs_3q2-7wAB..."])
    """For `Authorization: Bearer`; null with a cookie."""
    csrf_token: str | None = Field(examples=["9f86d081884c7d659a2feaa0c55ad015"])
    """For X-Cambist-CSRF; null without a cookie."""
    held_until_ms: Millis | None
    session: SessionOut


class Sessions(Document):
    sessions: list[SessionOut]
    unusable: list[str] = Field(examples=[[]])
    """Ids of sessions whose rows are not as the service wrote them: they work nowhere. Ending one takes it away."""


class Membership(Document):
    account: str = Field(examples=["main"])
    role: Role


class Me(Document):
    user: UserOut
    accounts: list[Membership]
    totp: bool
    recovery_codes_left: int = Field(examples=[10])
    held_until_ms: Millis | None
    """Until then nothing is withdrawn and nothing widened in a session of this user."""
    csrf_token: str | None = Field(examples=[None])
    session: SessionOut


class ProofIn(Factor):
    password: Password


class PasswordIn(ProofIn):
    new_password: Password


class TotpBegun(Document):
    """Shown this once. Nothing is in use until a code of it is confirmed."""

    secret: str = Field(examples=["JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"])
    otpauth_uri: str = Field(examples=["otpauth://totp/Cambist:ada?secret=JBSWY3DPEHPK3PXP..."])


class TotpConfirmIn(Document):
    totp: Totp


class RecoveryCodes(Document):
    """Shown this once."""

    recovery_codes: list[str] = Field(examples=[["mzxw-6ytb-oi4d-k2lq"]])
    held_until_ms: Millis | None


class Done(Document):
    held_until_ms: Millis | None


class SignedOut(Document):
    ended: bool
