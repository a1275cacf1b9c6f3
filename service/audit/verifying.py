"""Finding what was done to the audit log: every entry again, from the first one on. Pure but for what is passed in.

Found: an entry that was edited, removed, inserted, moved or put into another chain; a chain that lost its end, its
beginning or all of it; an end that was altered, also when entries were appended to it since.
Not found: that the whole database is an older copy of itself, or that all of the log and the ends are gone. `missing`
finds both where the ends are known from an earlier export.
"""

import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import orjson

from service.audit.acts import BEGUN
from service.audit.appending import EndState, end_state
from service.audit.model import INSTALLATION, NOTHING, Entry, Head, canonical, entry_hash, entry_mac, fields_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """The first thing in a chain that is not as it was written. `seq` is where; 0 is the chain as a whole."""

    chain: int
    seq: int
    why: str


def check_entries(entries: Iterable[Entry], *, after: Head, key: bytes | None) -> Head | Broken:
    """Check entries of one chain that follow `after`, in order; the last one, or the first that is broken.

    Without `key` the MACs are not looked at: whoever can write the file can then also have made all of it.
    """
    at = after
    for entry in entries:
        found = _check(entry, after=at, key=key)
        if isinstance(found, str):
            return Broken(chain=at.chain, seq=at.seq + 1, why=found)
        at = found
    return at


def start_of(chain: int) -> Head:
    """What stands before a chain's first entry."""
    return Head(chain=chain, seq=0, hash=NOTHING)


def check_end(head: Head, mac: bytes, *, key: bytes) -> Broken | None:
    """Whether the stored end of a chain is what the service wrote."""
    match end_state(key, head, mac):
        case EndState.RIGHT:
            return None
        case EndState.ALTERED:
            return Broken(chain=head.chain, seq=0, why="its end was altered or removed once, and it went on from there")
        case EndState.WRONG:
            return Broken(chain=head.chain, seq=head.seq, why="its end was not written by this service")


def check_reached(reached: Head, head: Head) -> Broken | None:
    """Whether a chain's entries go up to its end, and to that very entry."""
    if reached.seq < head.seq:
        return Broken(chain=head.chain, seq=reached.seq + 1, why=f"entries up to {head.seq} are gone")
    if reached != head:
        return Broken(chain=head.chain, seq=head.seq, why="its end is another entry than the stored one")
    return None


def check_chains(heads: Sequence[Head], *, begun: Iterable[int], newest: Mapping[int, int]) -> Broken | None:
    """Whether all chains are there: those that the installation's chain tells of, and no others.

    `newest` is the highest sequence number that entries of a chain have.
    """
    known = {head.chain: head for head in heads}
    told = set(begun)
    for chain in sorted(told - set(known)):
        return Broken(chain=chain, seq=0, why="the whole chain's end is gone")
    for chain in sorted(set(known) - told - {INSTALLATION}):
        return Broken(chain=chain, seq=0, why="nothing tells of this chain's beginning")
    for chain, seq in sorted(newest.items()):
        if chain not in known:
            return Broken(chain=chain, seq=seq, why="entries of a chain that has no end")
        if seq > known[chain].seq:
            return Broken(chain=chain, seq=known[chain].seq + 1, why="entries beyond the chain's end")
    if INSTALLATION not in known and (known or newest):
        return Broken(chain=INSTALLATION, seq=0, why="the whole chain's end is gone")
    return None


def missing(known: Iterable[Head], *, hashes: Mapping[tuple[int, int], bytes]) -> Broken | None:
    """Whether entries that were there once, by an earlier export, are still the same.

    `hashes` are those stored now, by chain and sequence number.
    """
    for head in known:
        if head.seq and hashes.get((head.chain, head.seq)) != head.hash:
            why = "this entry was exported once, and is gone or another one: an older copy of the database?"
            return Broken(chain=head.chain, seq=head.seq, why=why)
    return None


def begun_by(entry: Entry) -> int | None:
    """The chain whose beginning an entry of the installation's chain tells of."""
    if entry.act != BEGUN or entry.subject is None or not entry.subject.isdecimal():
        return None
    return int(entry.subject)


def _check(entry: Entry, *, after: Head, key: bytes | None) -> Head | str:
    if entry.chain != after.chain:
        return f"an entry of chain {entry.chain} is here"
    if entry.seq <= after.seq:
        return f"entry {entry.seq} comes again"
    if entry.seq != after.seq + 1:
        return f"it is gone: the next one is {entry.seq}"
    try:
        fields = fields_of(entry)
        plain = isinstance(fields["details"], dict) and canonical(fields["details"]).decode() == entry.details
        digest = entry_hash(fields, previous=after.hash)
    except (orjson.JSONDecodeError, TypeError, ValueError, AttributeError):
        return "its details are not what was written"
    if not plain:
        return "its details are not what was written"
    if not hmac.compare_digest(digest, entry.hash):
        return "it was changed, or the one before it was"
    if key is not None and not hmac.compare_digest(entry_mac(key, digest), entry.mac):
        return "it was not written by this service"
    return Head(chain=entry.chain, seq=entry.seq, hash=digest)
