"""Kill -9 in the middle of a migration (K15) and of writing a key file (K16), from outside, in a process of its own."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from chains import crashpoints
from chains.signing.keystore import Keystore
from service.db.engine import Database

pytestmark = pytest.mark.chain
"""Not for a chain's sake: they start processes, which unit tests do not."""

MIGRATE: Final = """
import asyncio, sys
from chains import crashpoints
from service.db.engine import Database
crashpoints.arm()
async def main():
    database = await Database.open(sys.argv[1])
    await database.migrate()
    await database.close()
asyncio.run(main())
"""
CREATE_KEY: Final = """
import sys
from pathlib import Path
from chains import crashpoints
from chains.signing.keystore import MIN_SCRYPT_N, Keystore
crashpoints.arm()
Keystore(Path(sys.argv[1]), scrypt_n=MIN_SCRYPT_N).create("password")
"""


def killed(program: str, argument: str, *, at: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", program, argument],
        env={**os.environ, crashpoints.VARIABLE: at},
        check=False,
        capture_output=True,
        timeout=60,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()


async def test_F91_killed_inside_a_migration_nothing_of_it_is_left_and_the_next_start_migrates(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'cambist.sqlite'}"
    for _ in range(2):
        killed(MIGRATE, url, at="K15")
    database = await Database.open(url)
    try:
        with pytest.raises(Exception, match="older"):
            await database.check_schema()
        await database.migrate()
        await database.check_schema()
    finally:
        await database.close()


async def test_F86_killed_while_a_key_file_is_written_the_other_wallets_unlock(tmp_path: Path) -> None:
    directory = tmp_path / "keystore"
    keys = Keystore(directory, scrypt_n=4096)
    try:
        address = keys.create("password")
        killed(CREATE_KEY, str(directory), at="K16")
        assert keys.list() == (address,)
        assert (await keys.unlock(address, "password")).address == address
        assert keys.create("password") in keys.list()
    finally:
        keys.close()


@pytest.mark.parametrize("wanted", ["K99", "K6:0", "K6:x", "k6"])
def test_an_unknown_crash_point_is_refused(wanted: str) -> None:
    with pytest.raises(crashpoints.UnknownPoint):
        crashpoints.arm(wanted)


def test_unarmed_every_point_is_passed() -> None:
    for point in crashpoints.POINTS:
        crashpoints.reach(point)
