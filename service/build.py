"""Putting the service together from its settings: the one place that knows all the parts.

Guarantees: nothing is done in constructors; `build` opens what the service needs, in order, and closes what it had
opened when a later step fails; a chain without an endpoint is not active; an active chain is the one the database
belongs to, and one endpoint of several is enough to start, or none, where nodes are `AWAITED`. Signing keys are locked
until `unlock` (so an owner's act on a stopped service needs no password).
Not guaranteed: that an endpoint keeps answering; that is seen in use.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from types import MappingProxyType

import structlog
from sqlalchemy import Connection

from chains.client import EvmClient
from chains.config import ChainConfig, load_chains
from chains.errors import RpcError
from chains.recent import NotingClient, RecentHead
from chains.rpc.pool import RpcPool
from chains.signing.keystore import Keystore
from chains.tx.engine import TxEngine
from chains.tx.store import Clock
from chains.types import ChainId
from contracts.assets import AssetList, load_assets
from contracts.deployments import Deployments, load_deployments
from contracts.pools import PoolDirectory
from service.accounts.passwords import PasswordHasher
from service.audit.refusals import Refusals
from service.auth.last_use import LastUses
from service.auth.secrets import MasterKey
from service.clock import SystemClock
from service.db.engine import Database
from service.db.errors import DatabaseError
from service.db.headstore import SqlHeadStore
from service.endpoints import pool_of
from service.markets.board import MarketBoard
from service.markets.fees import FeeBoard
from service.markets.guards_reading import OpinionBoard
from service.markets.state.states import PoolStates
from service.meeting import Meeting
from service.observability.metrics import Metrics
from service.settings import Settings
from service.workers.counting import CountingStore, TimingObserver
from service.workers.heartbeats import Heartbeats, WatchedClient
from service.workers.keyring import Keyring, unlock_all
from service.workers.membership import Membership
from service.workers.observer import ChainObserver
from service.workers.presign import PreSign
from service.workers.signers import Signers, open_signers
from service.workers.simulated import SimulatedCheck


class ChainNotConfigured(ValueError):
    """The settings name endpoints of a chain that no chain file describes, or whose assets nobody listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainRuntime:
    """One active chain. `pools` only remembers which liquidity pools exist; `states` holds them as they are.

    `client` asks the best endpoint, and `recent_head` is the head as it was last read here; `witnessed` is the same
    chain where two endpoints must say the same, as far as there are two.
    """

    config: ChainConfig
    endpoints: RpcPool
    client: EvmClient
    recent_head: RecentHead
    witnessed: EvmClient
    assets: AssetList
    deployments: Deployments
    pools: PoolDirectory
    states: PoolStates
    fees: FeeBoard
    board: MarketBoard
    opinions: OpinionBoard
    engine: TxEngine[Connection]


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything the HTTP side and the workers use. `configs` are all known chains, `chains` the active ones."""

    settings: Settings
    db: Database
    clock: Clock
    master: MasterKey
    configs: Mapping[str, ChainConfig]
    assets: Mapping[ChainId, AssetList]
    chains: Mapping[str, ChainRuntime]
    keystore: Keystore
    keyring: Keyring
    signers: Signers
    membership: Membership
    metrics: Metrics
    heartbeats: Heartbeats
    refusals: Refusals
    passwords: PasswordHasher = field(default_factory=PasswordHasher)
    key_uses: LastUses = field(default_factory=LastUses)

    async def unlock(self, password: str) -> None:
        """Unlock all key files, each in a thread. Raises: SigningError."""
        await unlock_all(self.keyring, self.keystore, password=password)

    async def close(self) -> None:
        """Let go of connections, threads and the database. Calling it again does nothing."""
        # A database that is gone frees what this process holds by its silence.
        with contextlib.suppress(DatabaseError):
            await self.membership.leave()
        for chain in self.chains.values():
            await chain.endpoints.close()
        await self.signers.close()
        self.keystore.close()
        self.passwords.close()
        await self.db.close()


class Nodes(Enum):
    """What is asked of the configured chains at the start."""

    REQUIRED = auto()
    """An endpoint of each answers."""
    AWAITED = auto()
    """Where none answers, the chain is met when one does; until then nothing of it is read or sent."""


async def build(settings: Settings, *, clock: Clock | None = None, nodes: Nodes = Nodes.REQUIRED) -> Services:
    """Open the database (migrated), read the data files, and meet the configured chains.

    Raises:
        DatabaseError, ChainError, InvalidData, InvalidChainConfig, ChainNotConfigured, SignerUnusable: a part cannot
        be used as configured; nothing stays open.
    """
    clock = SystemClock() if clock is None else clock
    configs = load_chains(settings.chains_file)
    if unknown := sorted({*settings.rpc, *settings.v3_fee_tiers} - set(configs)):
        raise ChainNotConfigured(f"no chain is called {', '.join(unknown)}; known: {', '.join(configs)}")
    deployments = load_deployments()
    listed = {chain_id: listed_assets(settings, chain_id) for chain_id in deployments.chain_ids()}
    if unlisted := sorted(key for key in settings.rpc if configs[key].chain_id not in listed):
        raise ChainNotConfigured(f"no assets and contracts are listed for {', '.join(unlisted)} (contracts/data)")
    master = MasterKey.load(settings.master_key_file)
    async with contextlib.AsyncExitStack() as opened:
        db = await Database.open(settings.database_address)
        opened.push_async_callback(db.close)
        await db.migrate()
        keyring, metrics, heartbeats = Keyring(), Metrics(), Heartbeats(clock)
        signers = await open_signers(settings.signers, keyring)
        opened.push_async_callback(signers.close)
        membership = Membership(db, clock=clock, wallets=signers.addresses)
        chains: dict[str, ChainRuntime] = {}
        for key, endpoints in settings.rpc.items():
            pool = await pool_of(configs[key], endpoints, db=db, clock=clock)
            opened.push_async_callback(pool.close)
            recent_head = RecentHead(clock)
            meeting = Meeting(configs[key], pool, db=db, clock=clock)
            await _meet(meeting, chain=key, nodes=nodes)
            client = NotingClient(configs[key], meeting.before(pool), recent=recent_head, clock=clock)
            chains[key] = _runtime(
                client, pool, recent_head, meeting=meeting, assets=listed[client.config.chain_id],
                extra_fees=settings.v3_fee_tiers.get(key, ()), deployments=deployments, db=db, signers=signers,
                membership=membership, master=master, metrics=metrics, heartbeats=heartbeats, clock=clock,
            )  # fmt: skip
        opened.pop_all()
    return Services(
        settings=settings,
        db=db,
        clock=clock,
        master=master,
        configs=configs,
        assets=MappingProxyType(listed),
        chains=MappingProxyType(chains),
        keystore=Keystore(settings.keystore_dir),
        keyring=keyring,
        signers=signers,
        membership=membership,
        metrics=metrics,
        heartbeats=heartbeats,
        refusals=Refusals(clock),
    )


def listed_assets(settings: Settings, chain_id: ChainId) -> AssetList:
    """The chain's packaged assets and what the operator added. Raises: InvalidData."""
    file = settings.assets_file(chain_id)
    return load_assets(chain_id, additions=file if file.exists() else None)


async def _meet(meeting: Meeting, *, chain: str, nodes: Nodes) -> None:
    try:
        await meeting.meet()
    except RpcError as exc:
        if nodes is Nodes.REQUIRED:
            raise
        structlog.get_logger("cambist.endpoints").warning("no endpoint answers", chain=chain, reason=str(exc))


def _runtime(
    client: EvmClient,
    pool: RpcPool,
    recent_head: RecentHead,
    *,
    meeting: Meeting,
    assets: AssetList,
    extra_fees: Sequence[int],
    deployments: Deployments,
    db: Database,
    signers: Signers,
    membership: Membership,
    master: MasterKey,
    metrics: Metrics,
    heartbeats: Heartbeats,
    clock: Clock,
) -> ChainRuntime:
    config = client.config
    pools = PoolDirectory(config.chain_id)
    store = CountingStore(config, metrics)
    witnessed = EvmClient(config, meeting.before(pool.with_quorum())) if pool.can_agree else client
    observer = ChainObserver(config, assets, deployments=deployments, store=store, master=master, clock=clock)
    engine = TxEngine(
        client=WatchedClient(config, meeting.before(pool), recent=recent_head, clock=clock, heartbeats=heartbeats),
        config=config,
        signer=signers,
        store=store,
        heads=SqlHeadStore(),
        uow=db,
        check=SimulatedCheck(
            inner=PreSign(db=db, assets=assets, deployments=deployments, master=master, clock=clock),
            db=db,
            config=config,
            client=client,
            assets=assets,
            deployments=deployments,
        ),
        observer=TimingObserver(observer, config, metrics=metrics, clock=clock),
        clock=clock,
        witness=witnessed if pool.can_agree else None,
        leases=membership,
    )
    return ChainRuntime(
        config=config,
        endpoints=pool,
        client=client,
        recent_head=recent_head,
        witnessed=witnessed,
        assets=assets,
        deployments=deployments,
        pools=pools,
        states=PoolStates(
            client,
            assets=assets,
            deployments=deployments,
            directory=pools,
            recent=recent_head,
            clock=clock,
            extra_fees=extra_fees,
        ),
        fees=FeeBoard(),
        board=MarketBoard(),
        opinions=OpinionBoard(config.chain_id, clock=clock),
        engine=engine,
    )
