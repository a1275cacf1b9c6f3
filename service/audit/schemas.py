"""The audit log as its account's owners see it over HTTP."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class AuditEntryOut(BaseModel):
    """One entry. `hash` covers it and the one before it (docs/audit.md)."""

    model_config = ConfigDict(extra="forbid")

    seq: int = Field(examples=[17])
    time_ms: int = Field(examples=[1800000000000])
    act: str = Field(examples=["order.place"])
    outcome: Literal["started", "done", "refused", "failed"] = Field(examples=["done"])
    code: str | None = Field(examples=[None])
    actor_kind: Literal["operator", "key", "user", "system", "unknown"] = Field(examples=["key"])
    actor: str = Field(examples=["ck_5d0c8a11f2b34e67"])
    subject_kind: str | None = Field(examples=["order"])
    subject: str | None = Field(examples=["42"])
    client_ip: str | None = Field(examples=["192.0.2.7"])
    details: dict[str, Any] = Field(examples=[{"market": "ETHUSDC"}])
    hash: str = Field(examples=["9f" * 32])


class AuditEntriesOut(BaseModel):
    """Newest first. `next_before` is the `before` of the next page, null at the end."""

    model_config = ConfigDict(extra="forbid")

    account: str = Field(examples=["main"])
    entries: list[AuditEntryOut]
    next_before: int | None = Field(examples=[17])
