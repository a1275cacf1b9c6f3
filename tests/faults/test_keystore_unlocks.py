"""F87: fifty unlocks at once, at the cost that key files really have."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

UNLOCKS: Final = 50
WATCHED: Final = 4
"""Unlocks waited for; as many threads as there would be without a bound have started long before."""
ONE_MB: Final = 256
"""Of scrypt with N = 2^18 and r = 8: 128 * N * r bytes."""
REST_MB: Final = 200
"""Interpreter and libraries."""

CHILD: Final = f"""
import asyncio, sys
from pathlib import Path
from chains.signing.keystore import DEFAULT_SCRYPT_N, Keystore

assert DEFAULT_SCRYPT_N == 2**18

async def main():
    keys = Keystore(Path(sys.argv[1]))
    address = keys.create("password")
    waiting = {{asyncio.ensure_future(keys.unlock(address, "password")) for _ in range({UNLOCKS})}}
    done = set()
    while len(done) < {WATCHED}:
        some, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        done |= some
    assert all(one.result().address == address for one in done)
    keys.close()
    # Not getrusage's ru_maxrss: across an exec that keeps the largest size of whoever started this process.
    status = Path("/proc/self/status").read_text()
    print(int(status.split("VmHWM:")[1].split()[0]) // 1024)

asyncio.run(main())
"""


@pytest.mark.deep
def test_F87_fifty_unlocks_at_once_take_the_memory_of_one(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path / "keys")], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < ONE_MB + REST_MB
