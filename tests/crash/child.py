"""One life of the service in a forked process: real services on the trial's database, requests over the real app.

What survives a kill is written at once: `acks` has a line for each request that was answered with success.
"""

import asyncio
import json
import os
import secrets
import signal
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, select

from chains import crashpoints
from chains.errors import ChainError
from chains.rpc.transport import SecretUrl
from chains.signing.signer import UnlockedKey
from chains.types import parse_address
from scripts.devnet.rpc import DevRpc
from service.accounts.people import ensure_account
from service.accounts.registration import register_wallet
from service.accounts.wallets import Wallet, get_wallet
from service.auth.keys import Destination, NewKey, Permission, create_key, parse_network
from service.build import Services, build
from service.clock import SystemClock
from service.db import models as m
from service.settings import Settings
from tests.crash.trials import Subject
from tests.e2e.harness import DONE, ApiKey, Stack, client_of
from tests.faults.remote import ProxyControl
from tests.faults.rules import rule_from_json

SETTLED: Final = DONE | {"cancelled", "unknown"}
CALM_FROM_ROUND: Final = 5
MOST_ROUNDS: Final = 25
STARTS: Final = 20
BURY_BLOCKS: Final = 270
"""Past every finality: Anvil's tag is 64 blocks behind, Polygon's floor 256."""
KEY_LIFETIME_MS: Final = 3_600_000
ANSWERED: Final = (200, 202)


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """What a child is to do. `kill` as CAMBIST_CRASH_AT; without one, and unless killed from outside, it runs to its
    end."""

    folder: str
    chain: str
    node_url: str
    proxy_url: str
    key: str
    destination: str
    subjects: Sequence[Mapping[str, Any]]
    rules: Sequence[Mapping[str, Any]]
    kill: str | None
    kill_after_ms: int | None
    reorg: bool
    first: bool


class JumpingClock(SystemClock):
    """The system's, except that time-outs can be made to pass at once."""

    def __init__(self) -> None:
        self._jumped_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self._jumped_s

    def jump(self, seconds: float) -> None:
        self._jumped_s += seconds


def main(values: Mapping[str, Any]) -> None:
    """In the forked process. Writes `result.json` when it comes to its end."""
    asyncio.run(_live(Life(**values)))


async def _live(life: Life) -> None:
    folder, clock, node = Path(life.folder), JumpingClock(), DevRpc(life.node_url)
    proxy = ProxyControl(life.proxy_url)
    settings = Settings(
        data_dir=folder / "data", master_key_file=folder / "master.key", rpc={life.chain: SecretUrl(life.proxy_url)}
    )
    services = await _built(settings, clock)
    key = UnlockedKey(bytes.fromhex(life.key))
    services.keyring.add(key)
    if life.first:
        await services.chains[life.chain].engine.step()
        await _account(services, key, life, file=folder / "account.json")
        proxy.add(*(rule_from_json(rule) for rule in life.rules))
    crashpoints.arm(life.kill)
    if life.kill_after_ms is not None:
        # Nobody catches this signal: the process ends wherever it is.
        signal.setitimer(signal.ITIMER_REAL, life.kill_after_ms / 1000)
    wallet, keys = await _found(services, (folder / "account.json").read_text())
    async with client_of(services) as client:
        stack = Stack(
            services=services, client=client, wallet=wallet, keys=keys, rpcs={life.chain: node}, signing_key=key
        )
        await _Work(stack=stack, life=life, clock=clock, proxy=proxy, acks=folder / "acks").run()
    await services.close()


async def _built(settings: Settings, clock: JumpingClock) -> Services:
    """As a supervisor would: a start that fails for an endpoint is tried again."""
    for _ in range(STARTS):
        try:
            return await build(settings, clock=clock)
        except ChainError as exc:
            print(f"not started: {exc}", flush=True)
    return await build(settings, clock=clock)


@dataclass(slots=True, kw_only=True)
class _Work:
    """Asks for everything, and makes rounds of engine steps and blocks until all is settled and final."""

    stack: Stack
    life: Life
    clock: JumpingClock
    proxy: ProxyControl
    acks: Path

    async def run(self) -> None:
        chain, refused = self.life.chain, dict[str, str]()
        runtime = self.stack.chain(chain)
        depth = runtime.config.finality.confirmed_depth
        block_s = runtime.config.block_time_ms / 1000
        await runtime.engine.recover()
        waiting = [Subject(**subject) for subject in self.life.subjects]
        states: dict[str, str] = {}
        for number in range(MOST_ROUNDS):
            if number == CALM_FROM_ROUND:
                self.proxy.clear()
            for subject, answer in zip(waiting, await asyncio.gather(*map(self._ask, waiting)), strict=True):
                if answer is not None and answer is not True:
                    refused[subject.client_id] = str(answer)
            waiting = [s for s in waiting if s.client_id not in self._acked() and s.client_id not in refused]
            await self._step()
            await self._step()  # a replacement may be due before there is a block
            await self.stack.mine(chain)
            await self._step()
            if self.life.reorg and number == 0:
                await asyncio.to_thread(self.stack.rpcs[chain], "anvil_reorg", 1, [])
                await self._step()
            await self.stack.mine(chain, depth)
            self.clock.jump(6 * block_s)
            await self._step()
            states = await self.stack.services.db.read(_states)
            if not waiting and all(state in SETTLED for state in states.values()):
                break
        self.proxy.clear()
        await self.stack.mine(chain, BURY_BLOCKS)
        for _ in range(3):
            await self._step()
        await self._report(refused)

    async def _step(self) -> None:
        await self.stack.chain(self.life.chain).engine.step()

    async def _ask(self, subject: Subject) -> bool | str | None:
        """True: answered. Text: refused for good. None: not answered, ask again."""
        noun, key = ("withdrawals", "withdraw") if subject.kind == "withdrawal" else ("orders", "trade")
        body = dict(subject.body)
        if subject.kind == "withdrawal":
            body["address"] = self.life.destination
        answer = await self.stack.post(f"/v1/{self.life.chain}/{noun}", body, key=key)
        if answer.status_code in ANSWERED:
            handle = os.open(self.acks, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.write(handle, f"{subject.client_id} {answer.json()['id']}\n".encode())
            os.close(handle)
            return True
        if answer.status_code >= 500 or answer.status_code in (409, 429):
            return None
        return answer.text

    def _acked(self) -> set[str]:
        return {line.split()[0] for line in self.acks.read_text().splitlines()} if self.acks.exists() else set()

    async def _report(self, refused: Mapping[str, str]) -> None:
        report = await self.stack.books(self.life.chain)
        rows = [
            {"asset": row.asset_id, "unexplained": row.unexplained, "why": row.why}
            for row in report.rows
            if row.verdict != "ok"
        ]
        result = {
            "states": await self.stack.services.db.read(_states),
            "refused": dict(refused),
            "wrong_rows": rows,
            "compared_rows": len(report.rows),
            "nothing_reserved": await self.stack.nothing_reserved(self.life.chain),
        }
        (Path(self.life.folder) / "result.json").write_text(json.dumps(result))


def _states(c: Connection) -> dict[str, str]:
    return {
        row.client_id: row.state
        for table in (m.orders, m.withdrawals)
        for row in c.execute(select(table.c.client_id, table.c.state))
    }


async def _account(services: Services, key: UnlockedKey, life: Life, *, file: Path) -> None:
    now_ms = services.clock.now_ms()
    account = await services.db.run(
        lambda c: ensure_account(c, "trial", owner="tester", master=services.master, now_ms=now_ms)
    )
    wallet = await register_wallet(
        services, account_id=account.id, address=key.address, label="main", signer="keystore"
    )
    chain_id = services.chains[life.chain].config.chain_id

    def make(c: Connection, permission: Permission) -> ApiKey:
        withdraws = permission is Permission.WITHDRAW
        new = NewKey(
            account_id=wallet.account_id,
            wallet_id=wallet.id,
            label=permission.value,
            permissions=frozenset({Permission.READ, permission}),
            ip_allowlist=(parse_network("127.0.0.1/32"),) if withdraws else (),
            destinations=(Destination(chain_id=chain_id, address=parse_address(life.destination)),)
            if withdraws
            else (),
            expires_ms=now_ms + KEY_LIFETIME_MS,
        )
        made = create_key(c, new, master=services.master, now_ms=now_ms)
        assert made.secret is not None
        return ApiKey(id=made.key.id, secret=made.secret.encode())

    made = await services.db.run(lambda c: {p.value: make(c, p) for p in (Permission.TRADE, Permission.WITHDRAW)})
    keys = {name: {"id": held.id, "secret": held.secret.decode()} for name, held in made.items()}
    temporary = file.with_suffix(f".{secrets.token_hex(4)}")
    temporary.write_text(json.dumps({"wallet": wallet.id, "keys": keys}))
    temporary.rename(file)


async def _found(services: Services, account: str) -> tuple[Wallet, dict[str, ApiKey]]:
    stored = json.loads(account)
    wallet = await services.db.read(lambda c: get_wallet(c, stored["wallet"], master=services.master))
    assert wallet is not None
    return wallet, {
        name: ApiKey(id=held["id"], secret=held["secret"].encode()) for name, held in stored["keys"].items()
    }


def life_to_json(life: Life) -> dict[str, Any]:
    return asdict(life)
