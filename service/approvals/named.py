"""What somebody who approves a withdrawal reads about it beside itself: which key asked, and what the account's book
calls the destination and since when.

Guarantees: only from rows as the service wrote them.
"""

from dataclasses import dataclass

from sqlalchemy import Connection

from service.addresses.storage import Entry, entry_for
from service.auth import keys
from service.auth.authority import UNREADABLE, Tampered
from service.auth.secrets import MasterKey
from service.db.models import api_keys
from service.withdrawals.model import Withdrawal


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """`entry` None: the destination is not in the account's book."""

    key_label: str
    entry: Entry | None


def named_by(c: Connection, withdrawal: Withdrawal, *, master: MasterKey) -> Named:
    """Raises: Tampered."""
    try:
        key = keys.load_key(c, withdrawal.key_id, master=master)
        entry = entry_for(
            c,
            withdrawal.account_id,
            chain_id=withdrawal.chain_id,
            address=withdrawal.destination,
            master=master,
        )
    except UNREADABLE as exc:
        raise Tampered(api_keys) from exc
    if key is None:
        raise Tampered(api_keys)
    return Named(key_label=key.label, entry=entry)
