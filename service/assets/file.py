"""The file of an operator's additions to one chain's list: `<data_dir>/assets-<chain id>.json`.

Guarantees: the file is replaced as a whole or not at all (temporary file, fsync, rename), mode 0600; what is written
was loaded together with the packaged list first.
Not guaranteed: two writers at once (the owner's acts run in the one process that has the database's lock), or that a
later version's own list does not have the same symbol; the start says so then, and the file is to be corrected.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chains.types import ChainId
from contracts.assets import ADDITIONS_VERSION, Asset, AssetList, Feed, load_assets, read_additions
from contracts.datafiles import read_file
from contracts.errors import InvalidData


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """A token with its markets (`BASE/QUOTE`), some of them unguarded, and its feed where it brings one."""

    token: Asset
    markets: tuple[str, ...]
    unguarded: tuple[str, ...] = ()
    feed: Feed | None = None


def load_listed(chain_id: ChainId, file: Path) -> AssetList:
    """The packaged list with what the file adds, if there is one. Raises: InvalidData."""
    return load_assets(chain_id, additions=file if file.exists() else None)


def added_symbols(chain_id: ChainId, file: Path) -> tuple[str, ...]:
    """What the file added. Raises: InvalidData."""
    return tuple(asset.symbol for asset in read_additions(chain_id, file).tokens) if file.exists() else ()


def add(chain_id: ChainId, file: Path, addition: Addition) -> AssetList:
    """Write the token down; the answer is the list as the next start has it.

    Raises:
        InvalidData: it does not go together with what is listed; the file is as it was.
        OSError: it cannot be written; the file is as it was.
    """
    document = _document(chain_id, file)
    document["tokens"].append(_token(addition.token))
    document["markets"] += addition.markets
    document["unguarded"] += addition.unguarded
    if addition.feed is not None:
        document["feeds"][addition.feed.name] = _feed(addition.feed)
    return _replace(chain_id, file, document)


def remove(chain_id: ChainId, file: Path, symbol: str) -> AssetList:
    """Take an added token out again, with its markets and the feed that nothing else uses.

    Raises:
        InvalidData: the file does not have it, or something else of the file needs it; the file is as it was.
        OSError: it cannot be written; the file is as it was.
    """
    document = _document(chain_id, file)
    tokens = [token for token in document["tokens"] if token["symbol"] != symbol]
    if len(tokens) == len(document["tokens"]):
        raise InvalidData(f"{file.name}: {symbol!r} is not among the operator's additions")
    for key in ("markets", "unguarded"):
        document[key] = [pair for pair in document[key] if symbol not in pair.split("/")]
    used = {token.get("usd_feed") for token in tokens}
    document["feeds"] = {name: feed for name, feed in document["feeds"].items() if name in used}
    return _replace(chain_id, file, document | {"tokens": tokens})


def _document(chain_id: ChainId, file: Path) -> dict[str, Any]:
    """The file as it is, after it was read and checked as a whole; an empty one where there is none."""
    empty: dict[str, Any] = {"tokens": [], "feeds": {}, "markets": [], "unguarded": []}
    if not file.exists():
        return {"version": ADDITIONS_VERSION, "chain_id": chain_id, **empty}
    read_additions(chain_id, file)
    found: dict[str, Any] = read_file(file).plain()
    return empty | found


def _replace(chain_id: ChainId, file: Path, document: Mapping[str, Any]) -> AssetList:
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            json.dump(document, out, indent=2, ensure_ascii=True)
            out.write("\n")
            out.flush()
            os.fsync(out.fileno())
        listed = load_assets(chain_id, additions=draft)
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
    directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return listed


def _token(asset: Asset) -> dict[str, Any]:
    document: dict[str, Any] = {
        "symbol": asset.symbol,
        "name": asset.name,
        "decimals": asset.decimals,
        "address": asset.token_address,
        "flags": sorted(asset.flags),
        "onchain_symbols": list(asset.onchain_symbols),
    }
    return document if asset.usd_feed is None else document | {"usd_feed": asset.usd_feed}


def _feed(feed: Feed) -> dict[str, Any]:
    document = {"description": feed.description, "decimals": feed.decimals, "heartbeat_s": feed.heartbeat_s}
    return document if feed.address is None else document | {"address": feed.address}
