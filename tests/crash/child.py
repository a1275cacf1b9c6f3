"""One life of the service in a forked process: real services on the trial's database, requests over the real app.

What survives a kill is written at once: `promises` has a line for each request that was answered with success,
`broken` one for each promise that a later life did not find kept.
"""

import asyncio
import json
import signal
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr
from sqlalchemy import Connection

from chains import crashpoints
from chains.errors import ChainError
from chains.rpc.transport import SecretUrl
from chains.signing.signer import UnlockedKey
from scripts.devnet.rpc import DevRpc
from service.approvals.expiring import expire_late
from service.build import Services, build
from service.clock import SystemClock
from service.control import audit_acts
from service.journal import reservations
from service.orders.keeper.running import PAUSES, Keeper
from service.settings import Settings
from service.workers.keeper import keeper_of
from tests.crash import promises
from tests.crash.asking import Client
from tests.crash.household import read_household, settle_in, wallet_of
from tests.crash.pushing import PoolAt, push
from tests.crash.subjects import RESTING, Subject
from tests.e2e.harness import DONE, Stack, client_of
from tests.faults.remote import ProxyControl
from tests.faults.rules import rule_from_json

SETTLED: Final = DONE | {"unknown"}
CALM_FROM_ROUND: Final = 5
PUSHED_FROM_ROUND: Final = 1
RESTED_ROUNDS: Final = 4
"""Rounds that are made at least where an order rests that the push should reach."""
MOST_ROUNDS: Final = 25
STARTS: Final = 20
BURY_BLOCKS: Final = 270
"""Past every finality: Anvil's tag is 64 blocks behind, Polygon's floor 256."""
NEXT_DAY_MS: Final = 25 * 3_600_000
"""After all else: whatever has waited for a day is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """What a child is to do. `kill` as CAMBIST_CRASH_AT; without one, and unless killed from outside, it runs to its
    end. `names` are addresses by what subjects call them; `pushed` is where the pools' price goes."""

    folder: str
    chain: str
    market: str
    database_url: str | None
    node_url: str
    proxy_url: str
    key: str
    names: Mapping[str, str]
    pushed: Sequence[Mapping[str, Any]]
    subjects: Sequence[Mapping[str, Any]]
    rules: Sequence[Mapping[str, Any]]
    kill: str | None
    kill_after_ms: int | None
    reorg: bool
    first: bool


class JumpingClock(SystemClock):
    """The system's, except that time-outs, and days, can be made to pass at once."""

    def __init__(self) -> None:
        self._jumped_s = 0.0
        self._ahead_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self._ahead_ms

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self._jumped_s

    def jump(self, seconds: float) -> None:
        """Of the time that passes; no date changes."""
        self._jumped_s += seconds

    def jump_ahead(self, milliseconds: int) -> None:
        self._ahead_ms += milliseconds


def main(values: Mapping[str, Any]) -> None:
    """In the forked process. Writes `result.json` when it comes to its end."""
    asyncio.run(_live(Life(**values)))


async def _live(life: Life) -> None:
    folder, clock, node = Path(life.folder), JumpingClock(), DevRpc(life.node_url)
    proxy = ProxyControl(life.proxy_url)
    settings = Settings(
        data_dir=folder / "data",
        master_key_file=folder / "master.key",
        rpc={life.chain: SecretUrl(life.proxy_url)},
        database_url=None if life.database_url is None else SecretStr(life.database_url),
    )
    services = await _built(settings, clock)
    key, file = UnlockedKey(bytes.fromhex(life.key)), folder / "household.json"
    services.keyring.add(key)
    if life.first:
        await services.chains[life.chain].engine.step()
        await settle_in(services, key, chain=life.chain, market=life.market, names=life.names, file=file)
        proxy.add(*(rule_from_json(rule) for rule in life.rules))
    crashpoints.arm(life.kill)
    if life.kill_after_ms is not None:
        # Nobody catches this signal: the process ends wherever it is.
        signal.setitimer(signal.ITIMER_REAL, life.kill_after_ms / 1000)
    household = read_household(file)
    async with client_of(services) as http:
        stack = Stack(
            services=services,
            client=http,
            wallet=await wallet_of(services, household),
            keys=household.api_keys(),
            rpcs={life.chain: node},
            signing_key=key,
        )
        client = Client(
            stack=stack, household=household, chain=life.chain, names=life.names, promises=folder / "promises"
        )
        keeper = keeper_of(services, services.chains[life.chain])
        await _Work(stack=stack, life=life, clock=clock, proxy=proxy, client=client, keeper=keeper).run()
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
    client: Client
    keeper: Keeper
    subjects: Sequence[Subject] = field(init=False)

    def __post_init__(self) -> None:
        self.subjects = [Subject(**subject) for subject in self.life.subjects]

    async def run(self) -> None:
        await self._look_at_promises()
        chain = self.life.chain
        runtime = self.stack.chain(chain)
        depth = runtime.config.finality.confirmed_depth
        block_s = runtime.config.block_time_ms / 1000
        await runtime.engine.recover()
        for number in range(MOST_ROUNDS):
            if number == CALM_FROM_ROUND:
                self.proxy.clear()
            await self._ask_all()
            if number >= PUSHED_FROM_ROUND:
                await self._push()
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
            await self._look_at_orders()
            if await self._is_done(number):
                break
        self.proxy.clear()
        await self.stack.mine(chain, BURY_BLOCKS)
        for _ in range(3):
            await self._step()
        await self._report()

    async def _ask_all(self) -> None:
        """What was not answered yet; and what follows what was, at the same time as the lanes go on."""
        await asyncio.gather(*(self.client.ask(one) for one in self.subjects if self.client.is_open(one)))
        following = [one for one in self.subjects if self.client.follows(one)]
        if following:
            await asyncio.gather(self._step(), *(self.client.follow(one) for one in following))
        if any(one.kind == "entry" and not self.client.is_open(one) for one in self.subjects):
            answered = await self.client.try_cooling()
            if answered is not None:
                self._note([f"a withdrawal to an address that cools was answered with {answered}"])

    async def _push(self) -> None:
        if any(one.kind in RESTING for one in self.subjects):
            wanted = [PoolAt(**pool) for pool in self.life.pushed]
            await asyncio.to_thread(push, self.stack.rpcs[self.life.chain], self.life.chain, wanted)

    async def _step(self) -> None:
        await self.stack.chain(self.life.chain).engine.step()

    async def _look_at_orders(self) -> None:
        """As the keeper's loop does: a node that fails for a while is asked again later."""
        try:
            await self.keeper.step()
        except PAUSES as exc:
            print(f"orders are looked at later: {exc}", flush=True)

    async def _is_done(self, number: int) -> bool:
        """Nothing is to be asked for or under way; what rests had time to trade."""
        rows = await self.stack.services.db.read(promises.read_rows)
        if any(self.client.is_open(one) or self.client.follows(one) for one in self.subjects):
            return False
        resting = [row for row in rows["orders"] if promises.rests(row)]
        if resting and number < RESTED_ROUNDS:
            return False
        withheld = {one.client_id for one in self.subjects if one.then}
        return all(
            row["state"] in SETTLED
            or row in resting
            or (row["state"] == "awaiting_approval" and row["client_id"] in withheld)
            for table in ("orders", "withdrawals", "transactions")
            for row in rows[table]
        )

    async def _look_at_promises(self) -> None:
        rows = await self.stack.services.db.read(promises.read_rows)
        promised = self.client.promised()
        self._note([*promises.lost(rows, promised), *promises.broken(rows, promised)])

    def _note(self, found: Sequence[str]) -> None:
        with (Path(self.life.folder) / "broken").open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in found)

    async def _report(self) -> None:
        """What this life finds at its end, and once more a day later."""
        report = await self.stack.books(self.life.chain)
        rows = [
            {"asset": row.asset_id, "unexplained": row.unexplained, "why": row.why}
            for row in report.rows
            if row.verdict != "ok"
        ]
        await self._look_at_promises()
        before = await self.stack.services.db.read(promises.read_rows)
        self.clock.jump_ahead(NEXT_DAY_MS)
        await expire_late(self.stack.services)
        await self._look_at_orders()
        after = await self.stack.services.db.read(promises.read_rows)
        subjects = [row for table in ("orders", "withdrawals", "transactions") for row in after[table]]
        result = {
            "states": {row["client_id"]: row["state"] for row in subjects},
            "waited": [row["client_id"] for row in before["withdrawals"] if row["state"] == "awaiting_approval"],
            "refused": self.client.refused,
            "wrong_rows": rows,
            "compared_rows": len(report.rows),
            "held": await self._held(),
            "audit": await audit_acts.verify(self.stack.services, audit_acts.Verify()),
        }
        (Path(self.life.folder) / "result.json").write_text(json.dumps(result))

    async def _held(self) -> dict[str, str]:
        """What the service says that is held."""
        chain_id = self.stack.chain(self.life.chain).config.chain_id

        def read(c: Connection) -> Mapping[Any, int]:
            return reservations.held(c, self.stack.wallet.id, chain_id)

        return {str(asset): str(raw) for asset, raw in (await self.stack.services.db.read(read)).items()}


def life_to_json(life: Life) -> dict[str, Any]:
    return asdict(life)
