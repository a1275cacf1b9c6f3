"""Runs kill trials: a chain, a proxy in front of it, one life of the service after another, the oracle.

A `Ground` serves many trials one after another, each with its own database, wallet and destination.
"""

import contextlib
import json
import secrets
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from chains.signing.signer import UnlockedKey
from chains.types import Address, address_from_bytes
from scripts.devnet import artifacts
from scripts.devnet.catalogue import CHAINS
from scripts.devnet.cheats import fund_native, fund_token, refresh_feeds, sync_clock
from scripts.devnet.network import LocalChain, Origin, start_chains
from scripts.devnet.rpc import DevRpc, RpcError
from service.auth.secrets import MasterKey
from tests.crash.child import BURY_BLOCKS, Life, life_to_json
from tests.crash.databases import Databases
from tests.crash.oracle import THERE_BEFORE, Category, Evidence, Finding, judge
from tests.crash.pushing import PoolAt, begin, moved, push
from tests.crash.subjects import PUSH_BPS
from tests.crash.trials import K7, SEND, Kill, Trial
from tests.crash.zygote import TIMED_OUT, Zygote
from tests.e2e.vaults import place_vault
from tests.faults.proxy import FaultProxy
from tests.faults.remote import ThreadedProxy
from tests.faults.rules import Phase, Rule, Silence, rule_to_json

ETHER: Final = 10**18
FUNDING_DEPTH: Final = 20
KILLED: Final = (-signal.SIGKILL, -signal.SIGALRM)
"""SIGALRM has nobody who catches it, and is as sudden."""
POLL_S: Final = 0.003
TRIALS_A_CHAIN: Final = 1
"""A chain grows slow, and its clock runs ahead of ours by a second a block, some minutes a trial: on one of its own a
trial is the same whatever came before it. One starts in a fraction of a second."""


Look = Callable[[Evidence], list[Finding]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How a trial went. `killed_at` are the points at which a life really ended."""

    trial: Trial
    findings: tuple[Finding, ...]
    killed_at: tuple[str, ...]
    seconds: float
    states: Mapping[str, int]
    """How many requests ended as what, by kind and state."""
    refused: int
    log: str = ""

    @property
    def held(self) -> bool:
        return not self.findings


@dataclass(slots=True, kw_only=True)
class _Fork:
    chain: LocalChain
    rpc: DevRpc
    stack: contextlib.ExitStack
    pools: Sequence[PoolAt]
    """Where they were at first."""
    used: int = 0


@dataclass(slots=True, kw_only=True)
class Ground:
    """Where trials run. `origins` are what the chains begin from, by name."""

    zygote: Zygote
    origins: Mapping[str, Origin]
    databases: Databases
    _forks: dict[str, _Fork] = field(default_factory=dict)

    def run(self, trial: Trial, *, look: Look = judge) -> Verdict:
        """One trial from beginning to end. Never raises for what the trial finds. `look` is the oracle.

        A trial that could not be judged because Anvil lost code of its own past is run again on a new chain.
        """
        verdict = self._run(trial, look=look)
        unjudged = {finding.category for finding in verdict.findings} <= {Category.BROKEN, Category.BOOKS}
        if verdict.held or not unjudged or self._remembers(trial.chain):
            return verdict
        self._forks.pop(trial.chain).stack.close()
        return self._run(trial, look=look)

    def _remembers(self, name: str) -> bool:
        """Whether the chain serves its recent past. Anvil 1.7.1 at times does not: "missing bytecode for code hash"."""
        rpc, spec = self._forks[name].rpc, CHAINS[name]
        block = hex(int(rpc("eth_blockNumber"), 16) - BURY_BLOCKS)
        targets = [token.address for token in spec.tokens.values()] + list(spec.contracts.values())
        for target in targets:
            try:
                rpc("eth_call", {"to": target, "data": "0x18160ddd"}, block)
            except RpcError as exc:
                if "missing bytecode" in exc.message:
                    return False
        return True

    def _run(self, trial: Trial, *, look: Look) -> Verdict:
        began, kinds = time.monotonic(), {subject.client_id: subject.kind for subject in trial.subjects}
        fork = self._fork(trial.chain)
        with tempfile.TemporaryDirectory(prefix="cambist-crash-") as name:
            folder = Path(name)
            proxy = FaultProxy(fork.chain.rpc_url, seed=trial.seed, emulation=trial.emulation)
            with ThreadedProxy(proxy):
                findings, killed_at = self._lives(trial, folder, fork, proxy=proxy, look=look)
            log = (folder / "log").read_text() if findings and (folder / "log").exists() else ""
            told = folder / "result.json"
            result = json.loads(told.read_text()) if told.exists() else {"states": {}, "refused": {}}
        return Verdict(
            trial=trial,
            findings=tuple(findings),
            killed_at=tuple(killed_at),
            seconds=time.monotonic() - began,
            states=Counter(f"{kinds.get(name, 'new')} {state}" for name, state in result["states"].items()),
            refused=len(result["refused"]),
            log=log[-20_000:],
        )

    def close(self) -> None:
        for fork in self._forks.values():
            fork.stack.close()
        self._forks.clear()

    def _lives(
        self, trial: Trial, folder: Path, fork: _Fork, *, proxy: FaultProxy, look: Look
    ) -> tuple[list[Finding], list[str]]:
        key = secrets.token_bytes(32)
        wallet = UnlockedKey(key).address
        names = {name: address_from_bytes(secrets.token_bytes(20)) for name in ("destination", "cooling", "spender")}
        names["usdc"] = Address(CHAINS[trial.chain].tokens["USDC"].address)
        database_url = self.databases.make(folder / "data")
        self._prepare(trial, folder, fork, wallet=wallet, names=names)
        killed_at: list[str] = []
        first = True
        for kill in (*trial.kills, None):
            life = Life(
                folder=str(folder),
                chain=trial.chain,
                market="ETHUSDC" if trial.chain == "ethereum" else "POLUSDC",
                database_url=database_url,
                node_url=fork.chain.rpc_url,
                proxy_url=proxy.url,
                key=key.hex(),
                names=names,
                pushed=[asdict(pool) for pool in moved(fork.pools, trial.chain, bps=trial.direction * PUSH_BPS)],
                subjects=[asdict(subject) for subject in trial.subjects],
                rules=[rule_to_json(rule) for rule in trial.rules],
                kill=_armed(kill),
                kill_after_ms=None if kill is None else kill.after_ms,
                reorg=trial.reorg,
                first=first,
            )
            ended = self._one(life, kill, proxy=proxy)
            if ended[TIMED_OUT] or ended["status"] not in (0, *KILLED):
                text = f"life {len(killed_at) + 1} ended with {ended}"
                return [Finding(category=Category.BROKEN, text=text)], killed_at
            if ended["status"] == 0:
                break
            killed_at.append(kill.point if kill is not None else "?")
            first = False
            if trial.blocks_down:
                fork.rpc("anvil_mine", hex(trial.blocks_down))
        evidence = Evidence(
            trial=trial,
            database_url=database_url,
            promised=_lines(folder / "promises"),
            broken=_lines(folder / "broken"),
            result=json.loads((folder / "result.json").read_text()),
            recorder=proxy.recorder,
            node=fork.rpc,
            wallet=wallet,
            names=names,
        )
        try:
            return look(evidence), killed_at
        finally:
            self.databases.drop(database_url)

    def _one(self, life: Life, kill: Kill | None, *, proxy: FaultProxy) -> dict[str, Any]:
        self.zygote.begin(life_to_json(life))
        if kill is None or kill.point != K7:
            return self.zygote.wait()
        # Before the trial's own rules: the answer is held, whatever it would have been.
        held, over = Rule(action=Silence(), method=SEND, phase=Phase.AFTER), threading.Event()
        proxy.prepend(held)
        seen = len(proxy.recorder.sendings)

        def watch() -> None:
            while not over.wait(POLL_S):
                if len(proxy.recorder.sendings) > seen:
                    self.zygote.kill()
                    return

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            return self.zygote.wait()
        finally:
            over.set()
            watcher.join()
            proxy.remove(held)

    def _prepare(self, trial: Trial, folder: Path, fork: _Fork, *, wallet: str, names: dict[str, Address]) -> None:
        rpc, spec = fork.rpc, CHAINS[trial.chain]
        MasterKey.create(folder / "master.key")
        fund_native(rpc, wallet, 1000 * ETHER)
        fund_token(rpc, trial.chain, "USDC", wallet, 100_000 * 10**6)
        fund_token(rpc, trial.chain, spec.wrapped, wallet, 10 * ETHER)
        # An order needs a price that Chainlink confirms; the base may be older than its feeds' heartbeat by now.
        rpc("evm_setAutomine", True)
        refresh_feeds(rpc, spec)
        names["vault"] = place_vault(rpc)
        push(rpc, trial.chain, fork.pools)
        rpc("evm_setAutomine", False)
        rpc("anvil_setERC20Allowance", wallet, names["spender"], names["usdc"], hex(10**9))
        # Anvil 1.7.1 does not take back accounts and slots that did not exist before the blocks that it reorganises.
        for name in ("destination", "cooling", "vault"):
            fund_native(rpc, names[name], THERE_BEFORE)
            fund_token(rpc, trial.chain, "USDC", names[name], THERE_BEFORE)
        rpc("anvil_mine", hex(FUNDING_DEPTH))

    def _fork(self, name: str) -> _Fork:
        fork = self._forks.get(name)
        if fork is not None and fork.used >= TRIALS_A_CHAIN:
            fork.stack.close()
            fork = None
        if fork is None:
            stack = contextlib.ExitStack()
            forks = stack.enter_context(start_chains(artifacts.ensure(), {name: self.origins[name]}))
            rpc = DevRpc(forks.chains[name].rpc_url)
            stack.callback(rpc.close)
            rpc("evm_setAutomine", True)
            pools = begin(rpc, name)
            rpc("evm_setAutomine", False)
            sync_clock(rpc)
            fork = self._forks[name] = _Fork(chain=forks.chains[name], rpc=rpc, stack=stack, pools=pools)
        fork.used += 1
        return fork


@contextlib.contextmanager
def ground(origins: Mapping[str, Origin], databases: Databases) -> Iterator[Ground]:
    """A ground with a zygote of its own."""
    with Zygote() as zygote:
        made = Ground(zygote=zygote, origins=origins, databases=databases)
        try:
            yield made
        finally:
            made.close()


def _lines(file: Path) -> Sequence[Any]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def _armed(kill: Kill | None) -> str | None:
    if kill is None or kill.point == K7 or kill.after_ms is not None:
        return None
    return f"{kill.point}:{kill.count}"
