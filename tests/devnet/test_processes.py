"""No Anvil outlives who started it, and a failed start says why."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # ships no types
import pytest

from scripts.devnet import DevRpc, LocalChain, artifacts, start_devnet
from scripts.devnet.anvil import AnvilFailed, redacted, run_anvil

pytestmark = pytest.mark.chain

DEADLINE_S = 60.0
"""Bounds a wait, no promise."""
OWNER = """
import contextlib, json, threading, time
from scripts.devnet import start_devnet

stack = contextlib.ExitStack()

def begin():
    devnet = stack.enter_context(start_devnet())
    print(json.dumps(list(devnet.pids)), flush=True)

if {in_a_thread}:
    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()
else:
    begin()
print("running", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("in_a_thread", [False, True], ids=["started by main", "started by a thread that ended"])
def test_anvils_live_as_long_as_their_owner_and_not_longer(*, in_a_thread: bool) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER.format(in_a_thread=in_a_thread)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=artifacts.REPOSITORY,
    )
    assert owner.stdout is not None
    try:
        with owner.stdout as output:
            pids = json.loads(output.readline())
            assert output.readline() == "running\n"
        assert len(pids) == 2
        assert all(psutil.pid_exists(pid) for pid in pids)
    finally:
        owner.kill()
        owner.wait()
    _wait_until_gone(pids)


def test_the_context_ends_every_process_and_is_ready_in_seconds() -> None:
    started = time.monotonic()
    with start_devnet() as devnet:
        print(f"both chains ready in {time.monotonic() - started:.2f} s")
        pids = list(devnet.pids)
        assert set(devnet.chains) == {"ethereum", "polygon"}
        for chain in devnet.chains.values():
            rpc = DevRpc(chain.rpc_url)
            assert int(rpc("eth_chainId"), 16) == chain.chain_id
            assert rpc("eth_accounts") == []
            rpc.close()
    _wait_until_gone(pids)


def test_a_port_in_use_is_reported_with_anvils_own_words(tmp_path: Path) -> None:
    anvil = artifacts.ensure().anvil
    with run_anvil(anvil, "first", arguments=[], log_dir=tmp_path) as first:
        port = int(first.url.rpartition(":")[2])
        with (
            pytest.raises(AnvilFailed, match="in use"),
            run_anvil(anvil, "second", arguments=[], log_dir=tmp_path, port=port),
        ):
            pass


def test_block_time_is_the_forks_and_ports_are_as_asked(tmp_path: Path) -> None:
    with start_devnet(names=["polygon"], block_time_s=0.2, log_dir=tmp_path) as devnet:
        chain = devnet.chains["polygon"]
        rpc = DevRpc(chain.rpc_url)
        first = int(rpc("eth_blockNumber"), 16)
        deadline = time.monotonic() + DEADLINE_S
        while int(rpc("eth_blockNumber"), 16) < first + 2:
            assert time.monotonic() < deadline, "no block came by itself"
            time.sleep(0.05)
        rpc.close()
        assert (tmp_path / "anvil-polygon.log").exists()


def test_the_command_writes_its_state_and_ends_on_sigterm(tmp_path: Path) -> None:
    state_file = tmp_path / "state.json"
    command = [sys.executable, "-m", "scripts.devnet", "up", "--ethereum-port", "0", "--polygon-port", "0"]
    process = subprocess.Popen(
        [*command, "--flow-rate", "5", "--state-file", str(state_file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=artifacts.REPOSITORY,
        env={**os.environ, "COLUMNS": "120"},
    )
    deadline = time.monotonic() + DEADLINE_S
    while not state_file.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "the chains did not come up"
        time.sleep(0.05)
    state = json.loads(state_file.read_text())
    process.terminate()
    output, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, output
    assert state["chains"]["ethereum"]["rpc_url"] in output
    assert not state_file.exists()
    _wait_until_gone(state["pids"])


def test_an_endpoints_key_is_cut_out_of_messages() -> None:
    text = redacted("error for https://user:pw@node.example/v2/SECRET?key=SECRET, retry")
    assert text == "error for https://node.example retry"


def test_an_endpoints_key_is_in_no_argument_and_no_file_others_can_read(
    ethereum: LocalChain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETH_RPC_URL", f"{ethereum.rpc_url}/?key=SECRET")
    monkeypatch.setenv("ETH_FORK_BLOCK", str(int(DevRpc(ethereum.rpc_url)("eth_blockNumber"), 16)))
    with start_devnet(names=["ethereum"], log_dir=tmp_path) as devnet:
        arguments = psutil.Process(devnet.pids[0]).cmdline()
        assert "SECRET" not in " ".join(arguments)
        assert (tmp_path / "anvil-ethereum.log").stat().st_mode & 0o077 == 0


def _is_alive(pid: int) -> bool:
    """Not a zombie either: who inherits a dead owner's children may be slow to take notice, or never do."""
    with suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


def _wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while alive := [pid for pid in pids if _is_alive(pid)]:
        assert time.monotonic() < deadline, f"still alive: {alive}"
        time.sleep(0.05)
