"""One Anvil process: started on a free port, watched, and gone when its owner is.

Guarantees: the port is Anvil's own choice unless given, so that no race for it exists; the process runs with a
HOME of its own and without the fork cache on disk (a rebuilt base chain at the same height would be served
stale values from it); when the owning process ends in any way, SIGKILL included, Anvil is killed within
moments. Does not guarantee that the temporary HOME is removed after a SIGKILL.

Why a watcher and not PR_SET_PDEATHSIG: that signal fires when the *thread* that started the child ends, and
exists on Linux only. The watcher is a shell that reads a pipe whose writing end only the owner holds; the
kernel closes it when the owner dies, and the shell then kills Anvil's process group.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.devnet.rpc import DevRpc

# A cold start takes about 0.1 s; a fork of a real network asks its endpoint first.
START_TIMEOUT_S = 60.0
POLL_S = 0.005
LISTENING = re.compile(rb"Listening on (127\.0\.0\.1:\d+)")
URL = re.compile(r"(https?://)(?:[^/@\s]*@)?([^/?\s]+)[^\s]*")
WATCHER = 'while read -r _; do :; done; kill -s KILL -- "-$1"'
LOG_TAIL_LINES = 15
# Anvil's name for the endpoint to fork. The URL may hold a key, and arguments can be read by every process of
# the machine: it goes through a file that exists until Anvil has read it.
FORK_ALIAS = "origin"
KEPT_STATES = 2_000
"""Past states kept in memory. By default Anvil 1.7.1 moves them to disk after about a thousand blocks, contracts' code
not included: reads at a past block of a fork then fail with `missing bytecode for code hash` (measured). A state takes
about half a megabyte, so this bounds a fork at about one gigabyte."""
FOUNDRY_TOML = """[rpc_endpoints]
{alias} = "{url}"
"""


class AnvilFailed(Exception):
    """Anvil did not start; the message carries the end of its log, endpoints cut to their host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Anvil:
    """A running Anvil."""

    url: str
    pid: int
    log: Path


@contextmanager
def run_anvil(
    binary: Path,
    name: str,
    *,
    arguments: Sequence[str],
    fork_url: str | None = None,
    log_dir: Path | None = None,
    port: int | None = None,
) -> Iterator[Anvil]:
    """Start Anvil, yield it when it answers, kill it at the end. `name` names the log file.

    Without `log_dir` the log lives as long as the process. It holds `fork_url`, and only its owner can read it.

    Raises:
        AnvilFailed: it exited or did not listen in time.
    """
    with tempfile.TemporaryDirectory(prefix=f"cambist-anvil-{name}-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        log = (log_dir or home) / f"anvil-{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.unlink(missing_ok=True)
        # No dev accounts: their keys are public, and a fork of a real network would hold real accounts.
        command = [str(binary), "--port", str(port or 0), "--accounts", "0", "--color", "never", *arguments]
        command += ["--prune-history", str(KEPT_STATES)]
        settings = home / "foundry.toml"
        if fork_url is not None:
            settings.write_text(FOUNDRY_TOML.format(alias=FORK_ALIAS, url=fork_url))
            command += ["--no-storage-caching", "--fork-url", FORK_ALIAS]
        with open(log, "wb", opener=_owner_only) as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "HOME": folder},
                cwd=home,
                start_new_session=True,
            )
        with _killed_at_the_end(process):
            url = "http://" + _wait_until_listening(process, log, name=name)
            settings.unlink(missing_ok=True)
            rpc = DevRpc(url)
            # Else every call of every client is a line in the log.
            rpc("anvil_setLoggingEnabled", False)
            rpc.close()
            yield Anvil(url=url, pid=process.pid, log=log)


@contextmanager
def _killed_at_the_end(process: subprocess.Popen[bytes]) -> Iterator[None]:
    watcher = subprocess.Popen(
        ["/bin/sh", "-c", WATCHER, "anvil-watcher", str(process.pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        # In this order: until Anvil is waited for, its number cannot belong to another process.
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        watcher.kill()
        watcher.communicate()
        process.wait()


def _owner_only(path: str, flags: int) -> int:
    return os.open(path, flags, mode=0o600)


def _wait_until_listening(process: subprocess.Popen[bytes], log: Path, *, name: str) -> str:
    deadline = time.monotonic() + START_TIMEOUT_S
    while (match := LISTENING.search(log.read_bytes())) is None:
        if process.poll() is not None:
            raise AnvilFailed(f"anvil ({name}) exited with {process.returncode}:\n{_tail(log)}")
        if time.monotonic() > deadline:
            raise AnvilFailed(f"anvil ({name}) did not listen within {START_TIMEOUT_S:.0f} s:\n{_tail(log)}")
        time.sleep(POLL_S)
    return match[1].decode()


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
    return redacted("\n".join(lines))


def redacted(text: str) -> str:
    """The text with every URL cut to scheme and host: an endpoint's path or query is often its key."""
    return URL.sub(r"\1\2", text)
