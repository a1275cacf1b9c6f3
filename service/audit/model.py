"""An entry of the audit log and how entries are chained. Pure: no database, no clock.

    hash = SHA-256( hash of the entry before, or 32 zero bytes | canonical JSON of the entry's other fields )
    mac  = HMAC-SHA256( audit key, "entry" | hash )            the key is derived from the master key

The hash is anybody's to recompute, so that an exported file is checked with nothing but itself; the MAC is not, so that
whoever writes to the database without the master key makes no entry that passes.

Guarantees: every stored field but the two at the end is in the hash, and the one before is too; canonical JSON has one
form (UTF-8, names sorted, no space, integers and text only).
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final

import orjson

INSTALLATION: Final = 0
"""The chain of what concerns no account's requests; every other chain has the id of its account."""
NOTHING: Final = bytes(32)
"""What stands before the first entry of a chain."""


class Outcome(StrEnum):
    """`started` is for what is done outside the database: its end is an entry of its own, or was not reached."""

    STARTED = "started"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


class ActorKind(StrEnum):
    OPERATOR = "operator"
    KEY = "key"
    USER = "user"
    SYSTEM = "system"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who. `id`: `name:uid` of the host's user, `name:id` of a person who signs in, the API key's id, or empty."""

    kind: ActorKind
    id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What it was done to, such as ("key", "ck_...")."""

    kind: str
    id: str


SYSTEM: Final = Actor(kind=ActorKind.SYSTEM)
UNKNOWN: Final = Actor(kind=ActorKind.UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEntry:
    """What is to be appended. `details` that `service.audit.acts` does not list for the act are left out."""

    act: str
    actor: Actor
    outcome: Outcome = Outcome.DONE
    code: str | None = None
    subject: Subject | None = None
    account_id: int | None = None
    request_id: str | None = None
    client_ip: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A stored entry. `details` is canonical JSON text, as it is hashed."""

    chain: int
    seq: int
    time_ms: int
    act: str
    outcome: str
    code: str | None
    actor_kind: str
    actor: str
    subject_kind: str | None
    subject: str | None
    account_id: int | None
    request_id: str | None
    client_ip: str | None
    details: str
    hash: bytes
    mac: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The end of a chain: its last sequence number and that entry's hash."""

    chain: int
    seq: int
    hash: bytes


def canonical(document: Mapping[str, Any]) -> bytes:
    """The one form of a JSON document. Raises: TypeError: it has a float, or something that is no JSON."""
    _refuse_floats(document)
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


def fields_of(entry: Entry) -> dict[str, Any]:
    """What is hashed of an entry. Raises: ValueError: its details are not JSON."""
    return {
        "chain": entry.chain,
        "seq": entry.seq,
        "time_ms": entry.time_ms,
        "act": entry.act,
        "outcome": entry.outcome,
        "code": entry.code,
        "actor_kind": entry.actor_kind,
        "actor": entry.actor,
        "subject_kind": entry.subject_kind,
        "subject": entry.subject,
        "account_id": entry.account_id,
        "request_id": entry.request_id,
        "client_ip": entry.client_ip,
        "details": orjson.loads(entry.details),
    }


def entry_hash(fields: Mapping[str, Any], *, previous: bytes) -> bytes:
    """The hash of an entry with those fields after that one."""
    return sha256(previous + canonical(fields)).digest()


def entry_mac(key: bytes, digest: bytes) -> bytes:
    """The MAC of an entry's hash."""
    return hmac.digest(key, b"entry" + digest, sha256)


def head_mac(key: bytes, head: Head, *, marked: bytes = b"") -> bytes:
    """The MAC of a chain's end. `marked` makes another one, of a chain whose end was once found altered."""
    return hmac.digest(key, b"head" + marked + canonical({"chain": head.chain, "seq": head.seq}) + head.hash, sha256)


def _refuse_floats(value: Any) -> None:
    match value:
        case float():
            raise TypeError("an audit entry has no floats")
        case Mapping():
            for one in value.values():
                _refuse_floats(one)
        case list() | tuple():
            for one in value:
                _refuse_floats(one)
