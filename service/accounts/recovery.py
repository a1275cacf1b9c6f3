"""Recovery codes: ten, each once in place of a code of the authenticator.

Guarantees: shown when they are made and never again; stored as keyed hashes for their user; using one is a guarded
update that one of several at once wins; making new ones ends the old ones.
"""

import base64
import hmac
import secrets
from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, delete, func, insert, select, update

from service.auth import authority
from service.auth.secrets import MasterKey
from service.db.models import recovery_codes

COUNT: Final = 10
CODE_BYTES: Final = 10
"""80 bits: no number of guesses that the lockout allows comes near."""
_GROUP: Final = 4


def renew(c: Connection, user_id: int, *, master: MasterKey, now_ms: int) -> Sequence[str]:
    """New codes in place of all others, as they are to be shown."""
    c.execute(delete(recovery_codes).where(recovery_codes.c.user_id == user_id))
    codes = [_new() for _ in range(COUNT)]
    for code in codes:
        hashed = _hash(master, user_id, code)
        row = {"user_id": user_id, "code_hash": hashed, "created_ms": now_ms, "used_ms": None}
        c.execute(insert(recovery_codes), row | {"mac": authority.mac(master, recovery_codes, row)})
    return codes


def use(c: Connection, user_id: int, *, code: str, master: MasterKey, now_ms: int) -> bool:
    """Use a code up. False: it is none, or was used. Raises: authority.Tampered."""
    t = recovery_codes
    mine = (t.c.user_id == user_id, t.c.code_hash == _hash(master, user_id, code))
    row = c.execute(select(t).where(*mine)).mappings().one_or_none()
    if row is None:
        return False
    authority.verify(master, t, row)
    if row["used_ms"] is not None:
        return False
    used = {**row, "used_ms": now_ms}
    mac = authority.mac(master, t, used)
    return c.execute(update(t).where(*mine, t.c.used_ms.is_(None)).values(used_ms=now_ms, mac=mac)).rowcount == 1


def forget(c: Connection, user_id: int) -> None:
    """End all of them: there is no authenticator that they stand in for."""
    c.execute(delete(recovery_codes).where(recovery_codes.c.user_id == user_id))


def left(c: Connection, user_id: int) -> int:
    """How many are not used."""
    t = recovery_codes
    return c.execute(select(func.count()).where(t.c.user_id == user_id, t.c.used_ms.is_(None))).scalar_one()


def _new() -> str:
    text = base64.b32encode(secrets.token_bytes(CODE_BYTES)).decode().lower()
    return "-".join(text[at : at + _GROUP] for at in range(0, len(text), _GROUP))


def _hash(master: MasterKey, user_id: int, code: str) -> bytes:
    plain = "".join(code.split()).replace("-", "").lower()
    return hmac.digest(master.subkey("recovery"), f"{user_id}/{plain}".encode(), "sha256")
