"""The hold that a changed password or authenticator, or a used recovery code, begins: what it stops of a person's keys.

In a session it stops what widens (`confirming`). A key acts for the person who made it, so that for as long nothing
leaves by their keys, and none of them approves what leaves: whoever got hold of a person's mailbox and phone may have
their keys, too. Keys that were made on the host are nobody's.

Guarantees: asked inside the unit of work that accepts. Not here: what was accepted before the hold goes on.
"""

from sqlalchemy import Connection

from service.accounts import users
from service.auth.keys import ApiKey
from service.auth.secrets import MasterKey


def refuse_if_maker_held(c: Connection, key: ApiKey, *, master: MasterKey, now_ms: int) -> None:
    """Raises: ApiError: held. Tampered."""
    if key.made_by is None:
        return
    maker = users.credential_of(c, key.made_by, master=master)
    if maker is not None:
        maker.check_not_held(now_ms)
