"""What the commands for keys have in common, by whoever makes one: kinds, durations, public keys, limits."""

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from service.cli.failures import CommandFailed, ExitStatus
from service.cli.output import moment

_DURATION: Final = re.compile(r"([1-9][0-9]{0,4})([hd])", re.ASCII)
_HOURS: Final = {"h": 1, "d": 24}

ANYWHERE: Final = "anywhere"
"""In place of networks: none are given."""
NONE: Final = "none"
"""In place of a limit: there is none, whatever the default is."""

IpOption = Annotated[
    list[str] | None,
    typer.Option(help="Address or network it may come from, as 203.0.113.7 or 2001:db8::/64; repeat."),
]
ChainOption = Annotated[list[str] | None, typer.Option(help="Only this chain; repeat.")]
AssetOption = Annotated[list[str] | None, typer.Option(help="Only this asset, as ethereum:USDC; repeat.")]
MarketOption = Annotated[list[str] | None, typer.Option(help="Orders only here, as ethereum:ETHUSDC; repeat.")]
OrderUsdOption = Annotated[str | None, typer.Option(help="Most that one order may be worth, in dollars.")]
DailyUsdOption = Annotated[
    str | None, typer.Option(help="Most that a day's orders may be worth (UTC), in dollars, or none.")
]
DailyOrdersOption = Annotated[str | None, typer.Option(help="Most orders a day, or none.")]
DailyGasOption = Annotated[
    list[str] | None,
    typer.Option(help="Most set aside for gas a day, as ethereum=0.5 in the native asset; repeat; or none."),
]
DailySoldOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Most that a day's orders may sell of an asset, as ethereum:ETH=2 (WETH counts with it); repeat; or none."
    ),
]
DailyWithdrawalsOption = Annotated[str | None, typer.Option(help="Most withdrawals a day.")]
DailyWithdrawalUsdOption = Annotated[
    str | None, typer.Option(help="Most that a day's withdrawals may be worth, in dollars.")
]
DailyWithdrawnOption = Annotated[
    list[str] | None, typer.Option(help="Most withdrawn of an asset a day, as ethereum:USDC=1000; repeat.")
]
CallOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Function it may call, as 'ethereum:0x…:deposit(uint256)', =0.5 after it for native value; repeat."
        " None without it."
    ),
]


class Permission(StrEnum):
    """What a key may do. `trade` and `withdraw` each stand alone; most bots want `read` beside them."""

    READ = "read"
    TRADE = "trade"
    WITHDRAW = "withdraw"


class Algorithm(StrEnum):
    """How its requests are signed."""

    HMAC = "hmac-sha256"
    ED25519 = "ed25519"


def limits_of(**given: Any) -> dict[str, Any]:
    """The limits of a request body from the options of those names; what is not given is left out.

    Raises: CommandFailed.
    """
    return {name: _limit(name, value) for name, value in given.items() if value is not None}


def _limit(name: str, value: Any) -> Any:
    if value in (NONE, [NONE]):
        return None
    match name:
        case "daily_orders" | "daily_withdrawals":
            if not str(value).isdecimal():
                raise CommandFailed("bad_limit", f"{value!r} is not a number of them", status=ExitStatus.USAGE)
            return int(value)
        case "daily_gas" | "daily_sold" | "daily_withdrawn":
            return dict(_halves(text) for text in value)
        case _:
            return value


def _halves(text: str) -> tuple[str, str]:
    name, separator, amount = text.partition("=")
    if not separator:
        raise CommandFailed("bad_limit", f"{text!r} is not name=amount", status=ExitStatus.USAGE)
    return name, amount


def limits_shown(limits: Mapping[str, Any]) -> str:
    """All limits that there are, a line each."""
    return "\n".join(f"{name}: {limit_shown(value)}" for name, value in limits.items() if value is not None)


def limit_shown(value: Any) -> str:
    """A limit on one line."""
    match value:
        case dict():
            return "  ".join(f"{name}={amount}" for name, amount in value.items())
        case list():
            return "  ".join(value)
        case other:
            return str(other)


def key_fields(key: Mapping[str, Any], *, secret: str | None = None) -> dict[str, str]:
    """A key as the API shows it, for reading."""
    fields = {"key": key["key"], "state": key["state"]}
    if secret is not None:
        fields["secret"] = secret
    fields |= {
        "account": key["account"],
        "wallet": f"{key['wallet']['label']}  {key['wallet']['address']}",
        "may": " ".join(key["permissions"]),
        "from": " ".join(key["ip_allowlist"]) or ANYWHERE,
        "expires": moment(key["expires_ms"]),
    }
    if key["lapses_ms"] is not None:
        fields["activate by"] = moment(key["lapses_ms"])
    if key["idle_end_ms"] is not None:
        fields["ends unused"] = moment(key["idle_end_ms"])
    if limits := limits_shown(key["limits"]):
        fields["limits"] = limits
    if key["destinations"]:
        fields["withdraws to"] = "\n".join(f"{to['chain']}:{to['address']}" for to in key["destinations"])
    elif "withdraw" in key["permissions"]:
        fields["withdraws to"] = "the account's address book"
    return fields


def hours(text: str | None) -> int | None:
    """Of a lifetime such as 12h or 90d. Raises: CommandFailed."""
    if text is None:
        return None
    match = _DURATION.fullmatch(text)
    if match is None:
        raise CommandFailed("bad_duration", f"{text!r} is not a lifetime", hint="12h or 90d", status=ExitStatus.USAGE)
    return int(match[1]) * _HOURS[match[2]]


def public_key(algorithm: Algorithm, path: Path | None) -> str | None:
    """The text of the file, exactly for an ed25519 key. Raises: CommandFailed."""
    if (algorithm is Algorithm.ED25519) != (path is not None):
        raise CommandFailed(
            "public_key_mismatch",
            "an ed25519 key needs --public-key-file, and only that kind does",
            status=ExitStatus.USAGE,
        )
    if path is None:
        return None
    try:
        return path.read_text().strip()
    except OSError as exc:
        raise CommandFailed("file_unreadable", f"{path}: {exc.strerror}", status=ExitStatus.UNREACHABLE) from exc
