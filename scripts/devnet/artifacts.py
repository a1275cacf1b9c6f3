"""The pinned artifacts of the local chains: fetched, verified, reduced to one small bundle.

`artifacts.json` names every package with version, sha512 and the files that are read. Adding a contract is a
line of data there and a placement in `ethereum.py` or `polygon.py`.

Guarantees: nothing is read from a tarball whose sha512 is not the pinned one; a file in the cache is whole or
absent, so that an interrupted run can simply be repeated; several processes may call `ensure` at once.
Does not guarantee that upstream still serves a package; the cache keeps what was fetched.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from scripts.devnet import npm

REPOSITORY = Path(__file__).resolve().parents[2]
PINNED = Path(__file__).with_name("artifacts.json")
OWN_TOKENS = Path(__file__).with_name("tokens")
CACHE_VARIABLE = "CAMBIST_CACHE"
# npm is mostly waiting; more than a few at once only makes it fight for the processor.
PARALLEL_FETCHES = 3
# Creation bytecode inside a typechain factory: the one long hex literal of the module.
JS_BYTECODE = re.compile(r'"(0x6[0-9a-f]{400,})"')
VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")

NO_ANVIL = """\
No Anvil for this machine ({platform}): the pinned list has {known}.
Install Foundry, so that an `anvil` of version {minimum} or newer is on PATH, and run the same command again.
"""


class ArtifactError(Exception):
    """An artifact is missing or is not what was pinned; the message says which and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One pinned tarball. `files` maps our name of a contract to the path inside the package."""

    name: str
    version: str
    integrity: str
    files: Mapping[str, str]

    @property
    def spec(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def tarball(self) -> str:
        return f"{self.name.lstrip('@').replace('/', '-')}-{self.version}.tgz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """Creation bytecode of one contract, without constructor arguments.

    `links` maps a library's name to the byte offsets at which its address goes.
    """

    name: str
    initcode: bytes
    links: Mapping[str, tuple[int, ...]]

    def linked(self, libraries: Mapping[str, str]) -> bytes:
        """The creation bytecode with the libraries' addresses in place.

        Raises:
            ArtifactError: a library it needs is not in `libraries`.
        """
        code = bytearray(self.initcode)
        for library, offsets in self.links.items():
            if library not in libraries:
                raise ArtifactError(f"{self.name} needs the address of its library {library}")
            for offset in offsets:
                code[offset : offset + 20] = bytes.fromhex(libraries[library][2:])
        return bytes(code)


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolbox:
    """What building a chain needs: the Anvil to start and the contracts to place."""

    anvil: Path
    contracts: Mapping[str, Artifact]


def cache_folder() -> Path:
    """Where downloads live: `$CAMBIST_CACHE/devnet`, by default `.cambist/cache/devnet` of the repository."""
    root = os.environ.get(CACHE_VARIABLE)
    return (Path(root) if root else REPOSITORY / ".cambist" / "cache").resolve() / "devnet"


def ensure(console: Console | None = None) -> Toolbox:
    """Fetch what is missing, with progress on `console` (stderr by default), and load it.

    Raises:
        ArtifactError: a tarball differs from its pin, or there is no Anvil for this machine.
        npm.NpmUnavailable, npm.PackFailed: a download is impossible or failed.
    """
    pinned = PINNED.read_bytes()
    listing = json.loads(pinned)
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    bundle = cache / f"bundle-{hashlib.sha256(pinned).hexdigest()[:16]}.json"
    binary = _anvil_on_path(listing["anvil"]["minimum"])
    with _locked(cache / "lock"):
        packages = [] if bundle.exists() else [_package(entry) for entry in listing["packages"]]
        if binary is None:
            anvil = _anvil_package(listing["anvil"])
            binary = cache / f"anvil-{anvil.version}"
            if not binary.exists():
                packages.append(anvil)
        if packages:
            tarballs = _fetch(packages, cache=cache, console=console or Console(stderr=True))
            contracts = [(package, tarball) for package, tarball in tarballs if "anvil" not in package.files]
            if contracts:
                _write_atomically(bundle, json.dumps(_reduce(contracts), indent=0).encode())
            for package, tarball in tarballs:
                if "anvil" in package.files:
                    _write_atomically(binary, _read_member(tarball, package.files["anvil"]), mode=0o755)
                    tarball.unlink()
    return Toolbox(anvil=binary, contracts={**_load_bundle(bundle), **_load_own_tokens()})


def _package(entry: Mapping[str, Any]) -> Package:
    return Package(name=entry["name"], version=entry["version"], integrity=entry["integrity"], files=entry["files"])


def _fetch(packages: list[Package], *, cache: Path, console: Console) -> list[tuple[Package, Path]]:
    """Tarball of each package in the cache, downloaded and verified where it is not there yet."""
    folder = cache / "tarballs"
    targets = [(package, folder / package.tarball) for package in packages]
    missing = [(p, t) for p, t in targets if not (t.exists() and _integrity(t) == p.integrity)]
    if missing:
        command = npm.find_npm(cache / "node")
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console) as progress, ThreadPoolExecutor(PARALLEL_FETCHES) as pool:
            task = progress.add_task("fetching pinned packages", total=len(missing))
            futures = [pool.submit(_fetch_one, command, package, target) for package, target in missing]
            for (package, _), future in zip(missing, futures, strict=True):
                future.result()
                progress.update(task, advance=1, description=f"fetched {package.spec}")
    return targets


def _fetch_one(command: Sequence[str], package: Package, target: Path) -> None:
    arriving = target.with_suffix(".arriving")
    npm.pack(command, package.spec, destination=arriving)
    got = _integrity(arriving)
    if got != package.integrity:
        arriving.unlink()
        raise ArtifactError(
            f"{package.spec} is not the pinned package: expected {package.integrity}, got {got}. "
            "Nothing of it was used; check the registry that npm is set up for."
        )
    arriving.replace(target)


def _integrity(path: Path) -> str:
    digest = hashlib.sha512(path.read_bytes()).digest()
    return "sha512-" + base64.b64encode(digest).decode()


def _reduce(tarballs: Sequence[tuple[Package, Path]]) -> dict[str, Any]:
    """Just the creation bytecode and link offsets of every listed file."""
    reduced = {}
    for package, tarball in tarballs:
        for name, path in package.files.items():
            text = _read_member(tarball, path).decode()
            reduced[name] = _from_js(text) if path.endswith(".js") else _from_json(json.loads(text))
    return reduced


def _from_js(text: str) -> dict[str, Any]:
    return {"bytecode": max(JS_BYTECODE.findall(text), key=len), "links": {}}


def _from_json(document: Mapping[str, Any]) -> dict[str, Any]:
    """Hardhat, Truffle, Waffle and Chainlink's own layouts: they differ in where the bytecode is."""
    evm = document.get("evm") or document.get("compilerOutput", {}).get("evm") or {}
    bytecode = document.get("bytecode") or evm.get("bytecode")
    if isinstance(bytecode, Mapping):
        bytecode = bytecode["object"]
    links = {
        library: [place["start"] for place in places]
        for libraries in document.get("linkReferences", {}).values()
        for library, places in libraries.items()
    }
    return {"bytecode": bytecode, "links": links}


def _load_bundle(bundle: Path) -> dict[str, Artifact]:
    entries = json.loads(bundle.read_bytes())
    return {name: _artifact(name, entry["bytecode"], links=entry["links"]) for name, entry in entries.items()}


def _load_own_tokens() -> dict[str, Artifact]:
    documents = {path.stem: json.loads(path.read_bytes()) for path in OWN_TOKENS.glob("*.json")}
    return {name: _artifact(name, document["bytecode"], links={}) for name, document in documents.items()}


def _artifact(name: str, bytecode: str, *, links: Mapping[str, list[int]]) -> Artifact:
    # An unlinked library's address is written `__$<34 characters of its hash>$__`: zeros until linked.
    code = re.sub(r"__\$[0-9a-f]{34}\$__", "0" * 40, bytecode.removeprefix("0x"))
    places = {library: tuple(offsets) for library, offsets in links.items()}
    return Artifact(name=name, initcode=bytes.fromhex(code), links=places)


def _read_member(tarball: Path, path: str) -> bytes:
    with tarfile.open(tarball) as archive:
        member = archive.extractfile(f"package/{path}")
        if member is None:
            raise ArtifactError(f"{tarball.name} has no file {path}")
        return member.read()


def _anvil_on_path(minimum: str) -> Path | None:
    found = shutil.which("anvil")
    if found is None:
        return None
    try:
        output = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=10).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    return Path(found).absolute() if _version(output) >= _version(minimum) else None


def _version(text: str) -> tuple[int, ...]:
    match = VERSION.search(text)
    return tuple(int(part) for part in match.groups()) if match else ()


def _anvil_package(listing: Mapping[str, Any]) -> Package:
    machine = {"amd64": "x86_64", "aarch64": "arm64"}.get(platform.machine().lower(), platform.machine().lower())
    key = f"{platform.system().lower()}-{machine}"
    if key not in listing["platforms"]:
        known = ", ".join(listing["platforms"])
        raise ArtifactError(NO_ANVIL.format(platform=key, known=known, minimum=listing["minimum"]))
    return _package(listing["platforms"][key])


def _write_atomically(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    arriving = path.with_suffix(".arriving")
    arriving.write_bytes(content)
    arriving.chmod(mode)
    arriving.replace(path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
