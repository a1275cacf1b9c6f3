"""Compile the Vyper tokens of this folder and write `<name>.json` beside each source.

Run after editing a source: `python -m scripts.devnet.tokens.compile` (add `--check` to compare only).

Guarantees: the same sources and compiler give the same files; the compiler's version, the EVM version and the
source's sha256 are in each file. The compiler is pinned and lives in a throw-away virtual environment, so it
is no dependency of the project. Does not guarantee anything offline: the environment comes from PyPI.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
VYPER = "0.4.3"
# The oldest EVM that both networks have left behind, so that any recent Anvil runs the code.
EVM = "cancun"


def source_digest(source: Path) -> str:
    """Hex sha256 of a source file, as written into its JSON."""
    return hashlib.sha256(source.read_bytes()).hexdigest()


def main(argv: Sequence[str] | None = None) -> int:
    """Compile all sources; with `--check`, only say whether the committed files are what comes out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare with the committed files, write nothing")
    check: bool = parser.parse_args(argv).check
    stale = []
    with tempfile.TemporaryDirectory(prefix="cambist-vyper-") as folder:
        print(f"installing vyper {VYPER} into a throw-away environment")
        compiler = _install(Path(folder))
        for source in sorted(FOLDER.glob("*.vy")):
            text = json.dumps(_compile(compiler, source), indent=1, sort_keys=True) + "\n"
            target = source.with_suffix(".json")
            if target.exists() and target.read_text() == text:
                print(f"{target.name}: unchanged")
            elif check:
                stale.append(target.name)
            else:
                target.write_text(text)
                print(f"{target.name}: written")
    if stale:
        print(f"not what the sources compile to: {', '.join(stale)}", file=sys.stderr)
    return 1 if stale else 0


def _install(folder: Path) -> Path:
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", f"vyper=={VYPER}"], check=True)
    return folder / "bin" / "vyper"


def _compile(compiler: Path, source: Path) -> Mapping[str, Any]:
    command = [str(compiler), "-f", "abi,bytecode", "--evm-version", EVM, source.name]
    result = subprocess.run(command, check=True, capture_output=True, text=True, cwd=source.parent)
    abi, bytecode = result.stdout.strip().splitlines()
    return {
        "abi": json.loads(abi),
        "bytecode": bytecode,
        "compiler": f"vyper {VYPER}",
        "evm": EVM,
        "source": source.name,
        "sourceSha256": source_digest(source),
    }


if __name__ == "__main__":
    raise SystemExit(main())
