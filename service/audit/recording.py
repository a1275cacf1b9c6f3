"""What a person does in a session, as an entry of the audit log.

Guarantees: in the unit of work of what is recorded, so that both commit or neither does. What is about one account goes
into that account's chain, which its owner reads; what is about the person alone into the installation's.
Not here: what keys place (`service.plans.recording`), operators' acts (`service.control.audit_acts`), and refusals
(`service.audit.refusals`).
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from service.accounts.people import Account
from service.audit.acts import ACCOUNT_MADE
from service.audit.appending import append
from service.audit.model import INSTALLATION, Actor, ActorKind, NewEntry, Subject
from service.auth.secrets import MasterKey
from service.auth.session_caller import SessionCaller


def person(user_id: int, name: str) -> Actor:
    """The actor of what a user does."""
    return Actor(kind=ActorKind.USER, id=f"{name}:{user_id}")


def account_made(account: Account, *, owner: str, actor: Actor) -> NewEntry:
    """The entry with which an account's chain begins."""
    subject = Subject(kind="account", id=str(account.id))
    details = {"account": account.name, "owner": owner}
    return NewEntry(act=ACCOUNT_MADE, actor=actor, subject=subject, account_id=account.id, details=details)


def record_by_person(
    c: Connection,
    caller: SessionCaller,
    *,
    act: str,
    subject: Subject | None = None,
    details: Mapping[str, Any] | None = None,
    account_id: int | None = None,
    master: MasterKey,
    now_ms: int,
) -> None:
    """Append the entry of what was done in a session; `account_id` where it is about an account. Raises: UnknownAct."""
    entry = NewEntry(
        act=act,
        actor=person(caller.user_id, caller.name),
        subject=subject,
        account_id=account_id,
        client_ip=None if caller.client_ip is None else str(caller.client_ip),
        details={"session": caller.session.id, **(details or {})},
    )
    chain = INSTALLATION if account_id is None else account_id
    append(c, [entry], master=master, now_ms=now_ms, chain=chain)
