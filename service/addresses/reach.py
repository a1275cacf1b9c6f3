"""Where a key's withdrawals may go: its own destinations if the operator gave it any, else the account's address book.

Guarantees: asked in the unit of work that accepts a withdrawal and again before each signature; an entry that was
removed, or is still cooling, is no destination, and a row without its MAC is refused (`authority.Tampered`).
Not guaranteed: against somebody who can write to the database and deletes the own destinations of a key: the key then
reaches the account's book, which only owners fill.
"""

from sqlalchemy import Connection

from chains.types import Address, ChainId
from service.addresses import storage
from service.addresses.storage import EntryState
from service.auth import keys
from service.auth.keys import ApiKey, Destination
from service.auth.secrets import MasterKey
from service.errors import ApiError


def destinations_of(
    c: Connection, key: ApiKey, *, chain_id: ChainId, now_ms: int, master: MasterKey
) -> frozenset[Destination]:
    """The key's destinations on a chain, now. Raises: authority.Tampered."""
    if own := keys.list_destinations(c, key.id, master=master):
        return frozenset(one for one in own if one.chain_id == chain_id)
    entries = storage.entries_of(c, key.account_id, chain_id=chain_id, master=master)
    in_force = (entry for entry in entries if entry.state(now_ms) is EntryState.IN_FORCE)
    return frozenset(Destination(chain_id=chain_id, address=entry.address) for entry in in_force)


def check_call_cooled(key: ApiKey, *, now_ms: int) -> None:
    """That the key lists what it may call for long enough (`cooling`). Raises: ApiError: call_cooling."""
    if key.calls_from_ms is not None and now_ms < key.calls_from_ms:
        seconds = -(-(key.calls_from_ms - now_ms) // 1_000)
        raise ApiError(
            "call_cooling",
            f"what this key may call was added lately and cools until {key.calls_from_ms} (milliseconds UTC,"
            f" {seconds} s from now)",
        )


def check_cooled(
    c: Connection, key: ApiKey, *, chain_id: ChainId, address: Address, now_ms: int, master: MasterKey
) -> None:
    """The refusal that says how long to wait. An address that is in no book is the caveat's to refuse.

    Raises:
        ApiError: destination_cooling.
        authority.Tampered.
    """
    if keys.list_destinations(c, key.id, master=master):
        return
    entry = storage.entry_for(c, key.account_id, chain_id=chain_id, address=address, master=master)
    if entry is not None and entry.state(now_ms) is EntryState.COOLING:
        seconds = -(-(entry.in_force_ms - now_ms) // 1_000)
        raise ApiError(
            "destination_cooling",
            f"{address} is in the address book as {entry.name!r} and cools until {entry.in_force_ms}"
            f" (milliseconds UTC, {seconds} s from now)",
        )
