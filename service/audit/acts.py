"""What the audit log records: every act by its stable name, and the details that an entry of it may have.

Guarantees: only what is listed here can get into an entry's details, cut to a bounded size, so that a secret that is
passed by mistake is not written; a name keeps its meaning for good. The table is also in `docs/audit.md`, which a test
holds equal.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from service.audit.model import canonical

MAX_TEXT: Final = 200
"""Characters of one text in the details."""
MAX_ITEMS: Final = 24
"""Items of one list in the details."""
MAX_DETAILS_BYTES: Final = 4_096
CUT: Final = "(cut)"

BEGUN: Final = "audit.chain"
EXPORTED: Final = "audit.export"
ACCOUNT_MADE: Final = "account.create"
KEY_MADE: Final = "key.create"
KEY_ACTIVATED: Final = "key.activate"
KEY_CHANGED: Final = "key.change"
KEY_ROTATED: Final = "key.rotate"
KEY_REVOKED: Final = "key.revoke"
ORDER_PLACED: Final = "order.place"
ORDER_CANCELLED: Final = "order.cancel"
ORDER_REPLACED: Final = "order.replace"
ORDER_ALTERED: Final = "order.altered"
SIGNING_REFUSED: Final = "signing.refused"
WITHDRAWAL_PLACED: Final = "withdrawal.place"
TRANSACTION_PLACED: Final = "transaction.place"
WITHDRAWAL_CANCELLED: Final = "withdrawal.cancel"
APPROVED: Final = "approval.approve"
APPROVAL_REJECTED: Final = "approval.reject"
APPROVAL_EXPIRED: Final = "approval.expire"
APPROVAL_POLICY: Final = "approval.policy"
REFUSED: Final = "request.refused"
REGISTERED: Final = "user.register"
MEMBER_ADDED: Final = "member.add"
MEMBER_JOINED: Final = "member.join"
SIGNED_IN: Final = "session.open"
SESSION_ENDED: Final = "session.end"
PASSWORD_SET: Final = "password.set"
TOTP_BEGUN: Final = "totp.begin"
TOTP_CONFIRMED: Final = "totp.confirm"
RECOVERY_USED: Final = "recovery.use"
RECOVERY_RENEWED: Final = "recovery.renew"
TOTP_RESET: Final = "totp.reset"
TAMPERED: Final = "record.tampered"


class UnknownAct(LookupError):
    """An act without a name in the table: a bug in the caller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditAct:
    """One row of the table."""

    name: str
    what: str
    fields: tuple[str, ...]


_ROWS: Final = (
    ("account.create", "An account and its owner were made (`cambist init`, or a user registered).",
     ("account", "owner")),
    ("wallet.create", "A new key and its wallet.", ("account", "label", "address", "signer")),
    ("wallet.import", "An existing key and its wallet.", ("account", "label", "kind", "address", "signer")),
    ("wallet.register", "The wallet of a key that is held elsewhere, or was stored before.",
     ("account", "label", "address", "signer")),
    ("key.create", "An API key, never its secret.",
     ("label", "wallet", "permissions", "ip_allowlist", "destinations", "lifetime_hours", "expires_ms", "algorithm",
      "key", "limits", "session")),
    ("key.activate", "A key that waited is in use; the one that it `rotates` ends after its overlap.",
     ("key", "label", "permissions", "ip_allowlist", "expires_ms", "limits", "rotates", "session")),
    ("key.change", "A key's label or rights: which fields are wider now, and which narrower.",
     ("key", "label", "wider", "narrower", "permissions", "ip_allowlist", "expires_ms", "limits", "cancelled",
      "session")),
    ("key.rotate", "A key was made in place of another; it waits for its activation.",
     ("key", "label", "successor", "overlap_hours", "session")),
    ("key.revoke", "An API key ended: what rested cancelled, what was queued rejected, what is open to be closed.",
     ("key", "label", "closing", "rejected", "cancelled", "session")),
    ("panic.on", "A pause of everything, a chain, a wallet or a key.",
     ("chain", "wallet", "key", "scope", "subject", "reason", "closing")),
    ("panic.off", "The end of a pause.", ("chain", "wallet", "key", "scope", "subject")),
    ("tx.bump", "A higher price asked for a nonce.", ("tx", "reason", "is_new")),
    ("tx.cancel", "A self-send asked for a nonce.", ("tx", "reason", "is_new")),
    ("tx.reject", "An order or withdrawal given up that waited without a nonce.", ("named", "reason", "plan")),
    ("tx.resolve", "A held wallet let go on.", ("chain", "wallet", "hold_reason", "nonce_before", "next_nonce")),
    ("tx.thaw", "A frozen chain let go on.", ("chain", "freeze_reason")),
    ("asset.add", "A token listed, in the operator's file.",
     ("chain", "address", "label", "quotes", "accepted", "unguarded", "feed", "markets")),
    ("asset.remove", "A token taken out of the operator's file.",
     ("chain", "symbol", "despite_balances", "left_behind")),
    ("user.invite", "An invitation for a new user, or to set a user's password; never its token.", ("user",)),
    ("user.reset-totp", "The operator took a user's authenticator and codes away: sessions end, the hold begins.",
     ("user", "sessions", "held_until_ms")),
    ("user.register", "A user can sign in who could not; `invited` where it took an invitation.",
     ("user", "owns_installation", "invited")),
    ("session.open", "Somebody signed in: what with, and whether the session is a cookie's or a program's.",
     ("session", "carrier", "factor", "agent")),
    ("session.end", "A session was ended by its user; `ended` is its id, or how many others were.",
     ("session", "ended")),
    ("password.set", "A password was set: the user's other sessions end, and the hold begins.", ("session", "invited")),
    ("totp.begin", "A new authenticator was shown, not in use yet.", ("session",)),
    ("totp.confirm", "A new authenticator is in use: the user's other sessions end, and the hold begins.",
     ("session",)),
    ("recovery.use", "A recovery code was used up: the user's other sessions end, and the hold begins.",
     ("session", "left")),
    ("recovery.renew", "Ten new recovery codes in place of the others.", ("session",)),
    ("totp.reset", "The same, in the chains of the accounts in which the user has a role, for their owners.",
     ("user", "held_until_ms")),
    ("request.refused", "Requests or sign-ins that were refused, counted together by code, key or user, and address.",
     ("reason", "route", "count", "first_ms", "last_ms", "also_keys", "sources", "more")),
    ("record.tampered", "A row that grants authority was left out of a list: it is not as the service wrote it.",
     ("reason", "count", "first_ms", "last_ms", "sources", "more")),
    ("order.place", "An order accepted.",
     ("client_id", "market", "side", "type", "base_raw", "quote_raw", "max_sold_raw", "min_bought_raw",
      "params_hash", "time_in_force", "price", "stop_price", "expires_ms", "reason", "plan")),
    ("order.cancel", "Open orders that a key cancelled.",
     ("orders", "client_ids", "why")),
    ("order.replace", "An order cancelled for another one, in one step.", ("cancelled", "placed", "mode")),
    ("order.altered", "An open order, or a try of it, was not as the service wrote it: closed, nothing signed for it.",
     ("why", "plan")),
    ("signing.refused", "The last look before a signature refused a plan, which is of what is named, or of nothing.",
     ("why", "plan", "chain", "wallet")),
    ("withdrawal.place", "A withdrawal accepted.",
     ("client_id", "asset", "amount_raw", "amount_is", "destination", "params_hash", "plan", "needs_approval")),
    ("transaction.place", "A wrap, unwrap, revocation or call of a contract accepted.",
     ("kind", "client_id", "asset", "amount_raw", "spender", "contract", "function", "value_wei", "approvals",
      "max_out", "params_hash", "plan")),
    ("withdrawal.cancel", "A withdrawal cancelled, or a self-send asked for at its nonce.",
     ("client_id", "was", "is", "session")),
    ("approval.approve", "A withdrawal approved by a second person, as `binding` has it.",
     ("binding", "why", "requester", "with", "session")),
    ("approval.reject", "A withdrawal refused by a second person; its funds released.",
     ("binding", "why", "requester", "with", "reason", "session")),
    ("approval.expire", "A withdrawal that nobody approved in time; its funds released.", ("binding", "why")),
    ("approval.policy", "Other thresholds asked for, above which a second person approves.",
     ("usd", "assets", "waits_until_ms", "session")),
    ("member.add", "A user was given a role in an account.", ("member", "role", "session")),
    ("member.change", "A member's role is another one; the keys that it does not allow were revoked.",
     ("member", "was", "role", "keys", "session")),
    ("member.remove", "A member has no role in the account any more; the keys they made were revoked.",
     ("member", "was", "keys", "session")),
    ("member.invite", "An invitation into an account; never its token.", ("invitation", "role", "session")),
    ("member.uninvite", "An invitation into an account was taken back.", ("invitation", "session")),
    ("member.join", "A user used an invitation into an account.", ("role", "invited_by", "session")),
    ("address.add", "An entry in an account's address book, and until when it cools.",
     ("entry", "chain", "address", "name", "is_contract", "accept_look_alike", "in_force_ms", "account", "session")),
    ("address.rename", "An entry of an address book has another name.", ("entry", "address", "was", "name", "session")),
    ("address.remove", "An entry is out of the address book.",
     ("entry", "chain", "address", "name", "account", "session")),
    ("address.cooling", "Another cooling time was asked for; a shorter one waits.",
     ("cooling_hours", "was_hours", "from_ms", "session")),
    ("audit.chain", "The first entry of an account's chain was written.", ("chain",)),
    ("audit.export", "The log was read out into a file; the ends of its chains by then.", ("entries", "heads")),
)  # fmt: skip

ACTS: Final[Mapping[str, AuditAct]] = MappingProxyType(
    {name: AuditAct(name=name, what=what, fields=fields) for name, what, fields in _ROWS}
)


def details_of(act: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The part of `given` that the act's row allows, cut to size. Raises: UnknownAct."""
    row = ACTS.get(act)
    if row is None:
        raise UnknownAct(act)
    kept = {name: _bounded(given[name]) for name in row.fields if given.get(name) is not None}
    while len(canonical(kept)) > MAX_DETAILS_BYTES:
        largest = max(kept, key=lambda name: len(canonical({name: kept[name]})))
        kept[largest] = CUT
    return kept


def as_markdown() -> str:
    """The table of `docs/audit.md`."""
    lines = ["| act | recorded when | details |", "|---|---|---|"]
    lines += [
        f"| `{act.name}` | {act.what} | {', '.join(f'`{name}`' for name in act.fields)} |" for act in ACTS.values()
    ]
    return "\n".join(lines) + "\n"


def _bounded(value: Any) -> Any:
    """Text, integers, and lists of these, of limited length; an object becomes the text of its values."""
    match value:
        case bool() | int():
            # As text beyond what every JSON reader keeps exactly.
            return value if abs(value) < 1 << 53 else str(value)
        case str():
            return _text(value)
        case list() | tuple():
            items = [_bounded(one) for one in value[:MAX_ITEMS]]
            return items if len(value) <= MAX_ITEMS else [*items, f"({len(value) - MAX_ITEMS} more)"]
        case Mapping():
            return _text(":".join(str(one) for one in value.values()))
        case other:
            raise TypeError(f"{type(other).__name__} has no place in an audit entry")


def _text(value: str) -> str:
    # What is not UTF-8 (lone surrogates) would not be JSON.
    clean = value.encode("utf-8", "replace").decode()
    return clean if len(clean) <= MAX_TEXT else clean[: MAX_TEXT - len(CUT)] + CUT
