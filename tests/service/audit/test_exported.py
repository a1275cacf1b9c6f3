"""F98: an exported log is checked with nothing but itself, and whatever was done to the file is found."""

from collections.abc import Sequence
from typing import Any, Final

import orjson
import pytest
from sqlalchemy import Connection

from service.audit import exported, reading
from service.audit.appending import PURPOSE, append, heads
from service.audit.exported import NotAnExport
from service.audit.model import Actor, ActorKind, NewEntry, entry_hash
from service.auth.secrets import MasterKey
from service.db.engine import Database

MASTER: Final = MasterKey(bytes(range(32)))
KEY: Final = MASTER.subkey(PURPOSE)
NOW_MS: Final = 1_800_000_000_000


def entry(number: int) -> NewEntry:
    return NewEntry(
        act="panic.on", actor=Actor(kind=ActorKind.OPERATOR, id="ada:1000"), details={"closing": number, "reason": "é"}
    )


@pytest.fixture
async def lines(sqlite_db: Database) -> Sequence[bytes]:
    """An export of two chains: four entries of the installation's, two of an account's."""
    for chain in (0, 0, 7, 7, 0):
        await sqlite_db.run(lambda c, chain=chain: append(c, [entry(chain)], master=MASTER, now_ms=NOW_MS, chain=chain))  # type: ignore[misc]

    def read(c: Connection) -> Sequence[bytes]:
        ends = [head for head, _ in heads(c)]
        found = [exported.first_line([exported.head_document(one) for one in ends], exported_ms=NOW_MS)]
        for end in ends:
            rows = reading.following(c, end.chain, after_seq=0, up_to=end.seq, limit=100)
            found += [exported.line_of(exported.document(row)) for row in rows]
        return found

    return await sqlite_db.read(read)


def altered(line: bytes, **values: Any) -> bytes:
    return orjson.dumps(orjson.loads(line) | values)


def test_an_untouched_export_is_right_with_and_without_the_key(lines: Sequence[bytes]) -> None:
    for key in (None, KEY):
        found = exported.check(lines, key=key)
        assert (found.entries, found.broken) == (6, None)
        assert [(head.chain, head.seq) for head in found.heads] == [(0, 4), (7, 2)]


@pytest.mark.parametrize("number", range(1, 7))
def test_a_line_that_is_gone_is_found(lines: Sequence[bytes], number: int) -> None:
    """F98"""
    assert exported.check([*lines[:number], *lines[number + 1 :]], key=None).broken is not None


@pytest.mark.parametrize("name", ["time_ms", "act", "outcome", "actor", "code", "details", "account_id", "client_ip"])
def test_an_edited_field_is_found_at_its_entry(lines: Sequence[bytes], name: str) -> None:
    """F98"""
    other: Any = {"time_ms": 1, "details": {"closing": 9}, "account_id": 9}.get(name, "other")
    found = exported.check([*lines[:2], altered(lines[2], **{name: other}), *lines[3:]], key=None).broken
    assert found is not None
    assert (found.chain, found.seq) == (0, 2)


def test_two_lines_in_each_others_place_and_one_twice_are_found(lines: Sequence[bytes]) -> None:
    """F98"""
    swapped = [lines[0], lines[2], lines[1], *lines[3:]]
    doubled = [*lines[:3], *lines[2:]]
    assert exported.check(swapped, key=None).broken is not None
    assert exported.check(doubled, key=None).broken is not None


def test_a_chain_made_up_by_somebody_without_the_master_key_is_found_with_it(lines: Sequence[bytes]) -> None:
    """F98: hashes are anybody's to compute."""
    last = orjson.loads(lines[4]) | {"actor": "nobody:0"}
    fields = {name: value for name, value in last.items() if name not in ("hash", "mac")}
    digest = entry_hash(fields, previous=bytes.fromhex(orjson.loads(lines[3])["hash"]))
    header = orjson.loads(lines[0])
    header["heads"][0]["hash"] = digest.hex()
    forged = [orjson.dumps(header), *lines[1:4], orjson.dumps(last | {"hash": digest.hex()}), *lines[5:]]
    assert exported.check(forged, key=None).broken is None
    found = exported.check(forged, key=KEY).broken
    assert found is not None
    assert (found.chain, found.seq) == (0, 4)


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"{}",
        b"[]",
        b"not json",
        b'{"format": "cambist-audit/1", "exported_ms": 1, "heads": [{}]}',
        b'{"format": "cambist-audit/1", "exported_ms": 1, "heads": 5}',
        b'{"format": "cambist-audit/2", "exported_ms": 1, "heads": []}',
    ],
)
def test_a_file_of_another_form_is_refused(lines: Sequence[bytes], broken: bytes) -> None:
    with pytest.raises(NotAnExport):
        exported.check([broken, *lines[1:]], key=None)
    with pytest.raises(NotAnExport):
        exported.check([lines[0], broken or b"\n", *lines[1:]], key=None)
