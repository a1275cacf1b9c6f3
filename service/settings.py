"""What the operator can set: environment variables `CAMBIST_*`, then `cambist.toml`, then the defaults here.

    CAMBIST_PORT=8000                      a field, in capitals
    CAMBIST_ALLOWED_HOSTS=a.example,b      a list, with commas
    CAMBIST_ETHEREUM_RPC=https://...       a chain's endpoint, or several (chains/rpc/addresses.py); in TOML:
                                           [rpc] ethereum = "https://..."  or  ["a=https://...", "b=https://..."]
    CAMBIST_ETHEREUM_WS=wss://...          the same for WebSockets that tell of new blocks sooner; in TOML [ws]
    CAMBIST_CONFIG_FILE=/etc/cambist.toml  in place of cambist.toml in the working directory

Guarantees: frozen; an unknown name is refused, not ignored, with the nearest known one; secrets are masked in repr
and in dumps, and no error quotes a value. `Settings(...)` itself reads nothing; `load_settings` reads the host.
Not guaranteed: that files exist or endpoints answer; `cambist config check` looks.
"""

import difflib
import os
import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from chains.rpc.addresses import EndpointAddress, InvalidEndpoints, parse_endpoints, parse_sockets
from chains.rpc.hints import SocketAddress
from chains.rpc.transport import SecretUrl
from service.markets.bounds import Bounds, Required
from service.private_files import read_private
from service.signer_settings import Signers

PREFIX: Final = "CAMBIST_"
WIDEST_PROXY_PREFIX: Final = {4: 8, 6: 7}
"""Of a trusted network: 10.0.0.0/8 and fc00::/7, the largest that are private. Everybody is not a proxy in front."""
CONFIG_FILE: Final = f"{PREFIX}CONFIG_FILE"
_OF_CHAIN: Final = re.compile(rf"{PREFIX}([A-Z0-9_]+)_(RPC|WS)")
_OTHERS: Final = re.compile(
    # What commands, the demo's bot and the set-up read; not the server's business.
    rf"{PREFIX}(CONFIG_FILE|CACHE|URL|PROFILE|KEY|SECRET_FILE|WITHDRAW_ADDRESS|(READ|TRADE|WITHDRAW)_(KEY|SECRET))"
)


Parse = Callable[..., tuple[EndpointAddress, ...] | tuple[SocketAddress, ...]]


def _addresses(parse: Parse) -> Callable[[object], object]:
    """Texts to addresses, by chain. What is no text at all is left to pydantic."""

    def of_chains(value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        return {str(chain): _addresses_of(str(chain), setting, parse) for chain, setting in value.items()}

    return of_chains


def _addresses_of(chain: str, setting: object, parse: Parse) -> object:
    if isinstance(setting, SecretUrl):
        setting = setting.reveal()
    if isinstance(setting, list) and all(isinstance(one, str) for one in setting):
        setting = ",".join(setting)
    if not isinstance(setting, str):
        return setting
    try:
        return parse(setting, chain=chain)
    except InvalidEndpoints as exc:
        # `from None`, and no value in the text: an address may hold a key.
        raise PydanticCustomError("endpoints", "{chain}: {problem}", {"chain": chain, "problem": str(exc)}) from None


def _names(by_chain: Mapping[str, tuple[EndpointAddress, ...] | tuple[SocketAddress, ...]]) -> dict[str, list[str]]:
    return {chain: [one.name for one in found] for chain, found in by_chain.items()}


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _named(networks: tuple[IPv4Network | IPv6Network, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    """Networks that somebody can stand for: what an allowlist of addresses is worth hangs on whom they let in."""
    for network in networks:
        if network.prefixlen < (widest := WIDEST_PROXY_PREFIX[network.version]):
            text = "{network} is too wide for proxies: /{widest} at widest; name the one in front of the service"
            raise PydanticCustomError("proxies", text, {"network": str(network), "widest": widest})
    return networks


def _home(path: Path) -> Path:
    return path.expanduser().absolute()


Endpoints = Annotated[
    Mapping[str, tuple[EndpointAddress, ...]], BeforeValidator(_addresses(parse_endpoints)), PlainSerializer(_names)
]
Sockets = Annotated[
    Mapping[str, tuple[SocketAddress, ...]], BeforeValidator(_addresses(parse_sockets)), PlainSerializer(_names)
]
Place = Annotated[Path, AfterValidator(_home)]
Proxies = Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_split), AfterValidator(_named)]
Hosts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Bps = Annotated[int, Field(ge=0, le=10_000)]
FeePips = Annotated[int, Field(ge=1, lt=1_000_000)]
"""Hundredths of a basis point; 1,000,000 would be all of it."""


class Settings(BaseSettings):
    """All settings, checked."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=PREFIX,
        hide_input_in_errors=True,
        arbitrary_types_allowed=True,
        validate_default=True,
    )

    # Where things are.
    data_dir: Place = Path("~/.local/share/cambist")
    master_key_file: Place = Path("~/.config/cambist/master.key")
    """Outside the data directory, so that a copy of the data alone opens nothing."""
    database_url: SecretStr | None = None
    """`postgresql://...`; without one, SQLite in the data directory."""
    keystore_dir: Place = Field(default_factory=lambda data: data["data_dir"] / "keystore")
    keystore_password_file: Place | None = None
    control_socket: Place = Field(default_factory=lambda data: data["data_dir"] / "run" / "control.sock")
    chains_file: Place | None = None
    """More chains, or other values for the packaged ones."""

    # Chains, by key.
    rpc: Endpoints = {}
    """Addresses with their names; only the names are shown."""
    ws: Sockets = {}
    """Of chains that have an `rpc` endpoint. What they say is a hint to look there."""

    # Signing outside this process, by name.
    signers: Signers = {}

    # HTTP.
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65_535)
    tls_certificate: Place | None = None
    tls_key: Place | None = None
    allowed_hosts: Hosts = ("localhost", "127.0.0.1", "::1")
    """Names in the Host header, without the port."""
    trusted_proxies: Proxies = ()
    """Whose X-Forwarded-For is believed."""
    max_body_bytes: int = Field(default=65_536, ge=1_024, le=16 * 1024 * 1024)
    body_timeout_s: int = Field(default=10, ge=1, le=120)
    ip_weight_per_minute: int = Field(default=6_000, ge=1)
    """Of one address (IPv6: one /64), for what is not signed or is signed wrong (`service.ratelimits.weights`)."""
    key_weight_per_minute: int = Field(default=6_000, ge=1)
    """Of one key or session, unless `key_tiers` names a tier for the key."""
    rate_tiers: Mapping[str, Annotated[int, Field(ge=1)]] = {}
    """Weight a minute, by the tier's name."""
    key_tiers: Mapping[str, str] = {}
    """A tier by the key's id."""
    orders_per_10s: int = Field(default=100, ge=1)
    """Of one account, whichever of its keys sends them."""
    orders_per_day: int = Field(default=200_000, ge=1)

    # People who sign in.
    registration: Literal["open", "invited", "closed"] = "invited"
    """Who may make a user; an invitation is the operator's."""
    session_hours: int = Field(default=24, ge=1, le=24 * 30)
    session_idle_minutes: int = Field(default=60, ge=5, le=24 * 60 * 7)
    sign_in_requests_per_minute: int = Field(default=30, ge=1)
    """Of one address, before any password is hashed."""

    # Figures for Prometheus.
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(default=0, ge=0, le=65_535)
    """Where /metrics is served, without any authentication; 0 is nowhere."""

    # Trading.
    default_slippage_bps: Bps = 50
    max_slippage_bps: Bps = 300
    max_price_impact_bps: Bps = 500
    max_price_deviation_bps: Bps = 200
    """From each second opinion. Feeds follow their market by 0.25 to 1 %, averages by minutes of movement."""
    price_opinions: Required = Required.ANY
    limit_price_band_bps: Bps = 5_000
    """From the guarded price: limit and stop prices further away are refused."""
    count_gas: bool = False
    """Whether the gas of a limit order counts as part of its price, where the order does not say."""
    max_rest_hours: int = Field(default=2_160, ge=1, le=8_760)
    """How long an order rests at most, and without an `expires_ms` of its own."""
    max_open_orders: int = Field(default=200, ge=1, le=10_000)
    """Of an account."""
    max_open_orders_market: int = Field(default=100, ge=1, le=10_000)
    """Of an account, on one market."""
    max_block_age_s: int = Field(default=0, ge=0, le=86_400)
    """Orders are refused while the newest block is older, by its own time; 0: of any age, as on a local chain."""
    v3_fee_tiers: Mapping[str, tuple[FeePips, ...]] = {}
    """By chain: Uniswap V3 fees beside 100, 500, 3000 and 10000 whose pools are traded with too, where the pinned
    factory has them."""
    order_deadline_s: int = Field(default=180, ge=30, le=3_600)

    key_idle_days: int = Field(default=30, ge=1, le=3_650)
    """A key without an IP allowlist ends when it was not used for so long."""

    # What a new key with the trade permission may take in a UTC day, where its owner says nothing else.
    trade_key_daily_usd: int = Field(default=100_000, ge=0)
    """The worth of its orders, in whole dollars; 0: no limit."""
    trade_key_daily_orders: int = Field(default=2_000, ge=0)
    """0: no limit."""
    trade_key_daily_gas: Mapping[str, str] = {"ethereum": "0.5", "polygon": "200"}
    """By chain, set aside for gas, in the native asset; none for a chain that is not named."""

    # Market history: trades and candles of the listed markets, written by whichever process works.
    history_enabled: bool = True
    """Without it the node is asked for no logs, and trades and candles stay as they are."""
    history_backfill_hours: int = Field(default=24, ge=0, le=24 * 365)
    """How far back it is read at first, and after a pause."""
    history_trades_days: int = Field(default=7, ge=2, le=3_650)
    """Trades, which candles of a second are made of."""
    history_minutes_days: int = Field(default=90, ge=2, le=3_650)
    """Candles of a minute. Those of two hours and of a day are kept for good."""
    history_quarters_days: int = Field(default=730, ge=2, le=3_650)
    """Candles of a quarter of an hour."""

    # Logs.
    log_format: Literal["json", "console"] = "json"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def price_bounds(self) -> Bounds:
        """What second opinions on a price must satisfy."""
        return Bounds(max_deviation_bps=self.max_price_deviation_bps, required=self.price_opinions)

    def assets_file(self, chain_id: int) -> Path:
        """Where the operator's additions to a chain's list are, if there are any."""
        return self.data_dir / f"assets-{chain_id}.json"

    @property
    def database_address(self) -> str:
        """What to open. A secret: it may hold a password."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.data_dir / 'cambist.sqlite'}"

    def keystore_password(self) -> str | None:
        """Read the keystore's password from its file; None where none is set.

        Raises:
            PermissionError: others can read the file.
            OSError: it cannot be read.
        """
        if self.keystore_password_file is None:
            return None
        return read_private(self.keystore_password_file) or None

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.master_key_file.is_relative_to(self.data_dir):
            raise PydanticCustomError("master_key_place", "master_key_file must be outside data_dir")
        if alone := sorted(set(self.ws) - set(self.rpc)):
            raise PydanticCustomError(
                "ws_alone", "ws without rpc: {chains}; heads are read there", {"chains": ", ".join(alone)}
            )
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise PydanticCustomError("tls_half", "tls_certificate and tls_key go together")
        if unknown := sorted(set(self.key_tiers.values()) - set(self.rate_tiers)):
            raise PydanticCustomError("tier_unknown", "key_tiers: no such tier: {tiers}", {"tiers": ", ".join(unknown)})
        if self.default_slippage_bps > self.max_slippage_bps:
            raise PydanticCustomError("slippage_bounds", "default_slippage_bps is over max_slippage_bps")
        if not self.history_trades_days <= self.history_minutes_days <= self.history_quarters_days:
            raise PydanticCustomError(
                "history_bounds", "history: trades are kept no longer than minutes, and those no longer than quarters"
            )
        if self.history_backfill_hours > 24 * self.history_trades_days:
            raise PydanticCustomError("history_backfill", "history_backfill_hours is over history_trades_days")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


class _HostSettings(Settings):
    """The same, from the environment and the file."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        named = os.environ.get(CONFIG_FILE)
        file = Path(named or "cambist.toml")
        if named and not file.is_file():
            # A missing default file is normal, a missing named one a mistake.
            raise _refused(CONFIG_FILE, "names a file that does not exist")
        return (_Environment(settings_cls), TomlConfigSettingsSource(settings_cls, toml_file=file))


class _Environment(EnvSettingsSource):
    """Adds CAMBIST_<CHAIN>_RPC and _WS, and refuses names that mean nothing."""

    def __call__(self) -> dict[str, Any]:
        fields = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} - {f"{PREFIX}RPC", f"{PREFIX}WS"}
        of_chains: dict[str, dict[str, str]] = {}
        for name, value in os.environ.items():
            if not name.startswith(PREFIX) or name in fields or _OTHERS.fullmatch(name):
                continue
            named = _OF_CHAIN.fullmatch(name)
            if named is None:
                near = difflib.get_close_matches(name, sorted(fields), n=1)
                raise _refused(name, "is not a setting" + (f"; is {near[0]} meant?" if near else ""))
            of_chains.setdefault(named[2].lower(), {})[named[1].lower()] = value
        return {**super().__call__(), **of_chains}


def load_settings() -> Settings:
    """The settings of this host.

    Raises:
        pydantic.ValidationError: a name or a value is wrong; which one, never the value.
    """
    return _HostSettings()


def _refused(name: str, message: str) -> ValidationError:
    error = PydanticCustomError("setting_refused", "{problem}", {"problem": message})
    return ValidationError.from_exception_data(
        "Settings", [{"type": error, "loc": (name,), "input": None}], hide_input=True
    )
