"""The audit log as a file: one JSON document a line, which is checked with nothing but itself.

    {"format": "cambist-audit/1", "exported_ms": ..., "heads": [{"chain": 0, "seq": 12, "hash": "..."}, ...]}
    {"chain": 0, "seq": 1, ..., "details": {...}, "hash": "...", "mac": "..."}       each entry, a chain after another

Guarantees: `check` finds an entry that was edited, removed, added or moved, and a file that ends early; with the master
key's audit key also one that was made up as a whole. What it returns are the ends of the chains, against which a later
database can be held (`verifying.missing`).
Not guaranteed without that key: that the file as a whole was not written by somebody else.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from service.audit import verifying
from service.audit.model import Entry, Head, canonical, fields_of
from service.audit.verifying import Broken

FORMAT: Final = "cambist-audit/1"
MAX_LINE: Final = 65_536
"""Bytes; an entry has at most some 6 KB, and the first line some 110 a chain."""
MAX_HEADS: Final = 100_000
_TEXTS: Final = ("act", "outcome", "actor_kind", "actor")
_MAYBE: Final = ("code", "subject_kind", "subject", "request_id", "client_ip")


class NotAnExport(ValueError):
    """The file is not one of this format; `line` is the first that is not."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(f"line {line}: {why}")
        self.line = line


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a file was found to be. `heads` are the ends that it claims, right where `broken` is None."""

    entries: int
    exported_ms: int
    heads: Sequence[Head]
    broken: Broken | None


def document(entry: Entry) -> dict[str, Any]:
    """An entry as it is shown and exported."""
    return fields_of(entry) | {"hash": entry.hash.hex(), "mac": entry.mac.hex()}


def head_document(head: Head) -> dict[str, Any]:
    return {"chain": head.chain, "seq": head.seq, "hash": head.hash.hex()}


def first_line(heads: Iterable[Mapping[str, Any]], *, exported_ms: int) -> bytes:
    """What an export begins with; `heads` as `head_document` makes them."""
    return orjson.dumps({"format": FORMAT, "exported_ms": exported_ms, "heads": list(heads)}) + b"\n"


def line_of(entry: Mapping[str, Any]) -> bytes:
    """One entry, as `document` made it."""
    return orjson.dumps(entry) + b"\n"


def parse_head(found: Mapping[str, Any]) -> Head:
    """Raises: ValueError."""
    chain, seq, digest = found.get("chain"), found.get("seq"), found.get("hash")
    if type(chain) is not int or type(seq) is not int or not isinstance(digest, str) or len(digest) != 64:
        raise ValueError("an end has a chain, a sequence number and a hash")
    return Head(chain=chain, seq=seq, hash=bytes.fromhex(digest))


def check(lines: Iterable[bytes], *, key: bytes | None) -> Checked:
    """Check a whole file. Raises: NotAnExport."""
    numbered = enumerate(lines, 1)
    exported_ms, heads = _header(numbered)
    wanted = {head.chain: head for head in heads}
    reached: dict[int, Head] = {}
    begun: set[int] = set()
    count = 0
    for entry in _entries(numbered):
        after = reached.get(entry.chain, verifying.start_of(entry.chain))
        found = verifying.check_entries([entry], after=after, key=key)
        if isinstance(found, Broken):
            return Checked(entries=count, exported_ms=exported_ms, heads=heads, broken=found)
        reached[entry.chain] = found
        count += 1
        if (chain := verifying.begun_by(entry)) is not None:
            begun.add(chain)
    broken = verifying.check_chains(heads, begun=begun, newest={chain: head.seq for chain, head in reached.items()})
    for chain, head in wanted.items():
        broken = broken or verifying.check_reached(reached.get(chain, verifying.start_of(chain)), head)
    return Checked(entries=count, exported_ms=exported_ms, heads=heads, broken=broken)


def _header(numbered: Iterator[tuple[int, bytes]]) -> tuple[int, Sequence[Head]]:
    number, line = next(numbered, (1, b""))
    found = _object(number, line, limit=MAX_HEADS * 128)
    if found.get("format") != FORMAT or type(found.get("exported_ms")) is not int:
        raise NotAnExport(number, f"it does not begin as {FORMAT}")
    try:
        heads = [parse_head(one) for one in found["heads"]]
    except (KeyError, TypeError, AttributeError, ValueError) as exc:
        raise NotAnExport(number, "its ends of chains are not readable") from exc
    if len({head.chain for head in heads}) != len(heads):
        raise NotAnExport(number, "a chain has two ends")
    return found["exported_ms"], heads


def _entries(numbered: Iterator[tuple[int, bytes]]) -> Iterator[Entry]:
    for number, line in numbered:
        yield _entry(number, _object(number, line, limit=MAX_LINE))


def _object(number: int, line: bytes, *, limit: int) -> dict[str, Any]:
    if len(line) > limit:
        raise NotAnExport(number, "it is too long")
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError as exc:
        raise NotAnExport(number, "it is no JSON") from exc
    if not isinstance(found, dict):
        raise NotAnExport(number, "it is no JSON object")
    return found


def _entry(number: int, found: dict[str, Any]) -> Entry:
    integers = all(type(found.get(name)) is int for name in ("chain", "seq", "time_ms"))
    texts = all(isinstance(found.get(name), str) for name in (*_TEXTS, "hash", "mac"))
    others = all(found.get(name) is None or isinstance(found[name], str) for name in _MAYBE)
    account_id, details = found.get("account_id"), found.get("details")
    account = account_id is None or type(account_id) is int
    if not (integers and texts and others and account and isinstance(details, dict)):
        raise NotAnExport(number, "it is no entry")
    try:
        fields = {name: found.get(name) for name in ("chain", "seq", "time_ms", *_TEXTS, *_MAYBE)}
        made: dict[str, Any] = fields | {
            "account_id": account_id,
            "details": canonical(details).decode(),
            "hash": bytes.fromhex(found["hash"]),
            "mac": bytes.fromhex(found["mac"]),
        }
    except (TypeError, ValueError) as exc:
        raise NotAnExport(number, "it is no entry") from exc
    return Entry(**made)
