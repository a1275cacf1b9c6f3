"""Owner's acts on address books: list, add, remove.

What the operator adds on the host is in force at once: whoever is at the host has the master key and could sign without
this service, so that waiting would protect nothing. Cooling is against a session or an authenticator in other hands.

Guarantees: an address is checked as one that an owner adds in a session, look-alikes included; the audit log has every
act, and the account's members see the entry, as the operator's.
"""

from typing import Any

from pydantic import Field
from sqlalchemy import Connection

from service.addresses import book, checking, storage
from service.addresses.storage import Entry
from service.build import Services
from service.control.protocol import ActFailed
from service.control.wallet_acts import OfAccount, the_account
from service.errors import ApiError
from service.markets.lookup import chain_named


class AddAddress(OfAccount):
    chain: str = Field(max_length=64)
    address: str = Field(max_length=64)
    name: str = Field(max_length=64)
    accept_look_alike: bool = False


class RemoveAddress(OfAccount):
    entry: int = Field(ge=1, lt=2**53)


async def list_(services: Services, params: OfAccount) -> dict[str, Any]:
    """The account's book, by name."""
    account_id = await the_account(services, params.account)
    found = await services.db.read(lambda c: storage.sift_entries(c, account_id, master=services.master))
    return {"addresses": [_document(services, entry) for entry in found.intact], "unusable": list(found.unusable)}


async def add(services: Services, params: AddAddress) -> dict[str, Any]:
    """An entry that is in force at once."""
    account_id = await the_account(services, params.account)
    now_ms = services.clock.now_ms()
    try:
        runtime = chain_named(services, params.chain)
        examined = await checking.examine(runtime, params.address)
        asked = book.Asked(
            account_id=account_id,
            chain_id=runtime.config.chain_id,
            name=params.name,
            accept_look_alike=params.accept_look_alike,
            added_by=None,
        )
        entry = await services.db.run(lambda c: book.add(c, asked, examined, now_ms=now_ms, master=services.master))
    except ApiError as error:
        raise _failed(error) from error
    return _document(services, entry)


async def remove(services: Services, params: RemoveAddress) -> dict[str, Any]:
    """Take an entry out of the book at once."""
    account_id = await the_account(services, params.account)
    now_ms = services.clock.now_ms()

    def write(c: Connection) -> Entry:
        return book.remove(c, account_id, entry_id=params.entry, now_ms=now_ms, master=services.master)

    try:
        return _document(services, await services.db.run(write))
    except ApiError as error:
        raise _failed(error) from error


def _failed(error: ApiError) -> ActFailed:
    hint = "Compare all of it, then add --accept-look-alike." if error.code == "looks_alike" else error.hint
    return ActFailed(error.code, error.message, hint=hint)


def _document(services: Services, entry: Entry) -> dict[str, Any]:
    chains = {config.chain_id: key for key, config in services.configs.items()}
    return {
        "entry": entry.id,
        "chain": chains.get(entry.chain_id, str(entry.chain_id)),
        "address": entry.address,
        "name": entry.name,
        "state": str(entry.state(services.clock.now_ms())),
        "in_force_ms": entry.in_force_ms,
        "is_contract": entry.is_contract,
        "by_operator": entry.added_by is None,
        "removed_ms": entry.removed_ms,
    }
