"""`cambist market ...`: prices, books, candles, trades, pools and routes, through the HTTP API.

All but routes and check is public: it needs the address of a service (CAMBIST_URL, else this host's settings), no key.
"""

import time
from enum import StrEnum
from typing import Annotated, Any, Final

import typer
from rich.live import Live
from rich.table import Table

from service.cli.api import Api
from service.cli.charts import MAX_CANDLES, candle_chart, depth_table
from service.cli.door import act
from service.cli.failures import ExitStatus
from service.cli.options import JsonOption, settings_of_host
from service.cli.output import moment, print_json, print_table, shortened, stdout
from service.cli.profile import load_profile, server_url
from service.cli.trading import (
    BaseOption,
    ChainArgument,
    ProfileOption,
    QuoteOption,
    SideArgument,
    block_title,
    trade_params,
)

WATCH_MIN_S: Final = 1.0
AXIS_CELLS: Final = 16
"""Columns kept for the prices beside a chart."""

app = typer.Typer(no_args_is_help=True, help="Markets and assets, prices, books, candles, trades, pools and routes.")

MarketArgument = Annotated[str, typer.Argument(help="Market, as ETHUSDC.")]
LimitOption = Annotated[int, typer.Option(min=1, max=1000, help="How many.")]


class Interval(StrEnum):
    """Of a candle."""

    S1 = "1s"
    M1 = "1m"
    M3 = "3m"
    M5 = "5m"
    M15 = "15m"
    M30 = "30m"
    H1 = "1h"
    H2 = "2h"
    H4 = "4h"
    H6 = "6h"
    H8 = "8h"
    H12 = "12h"
    D1 = "1d"


@app.command("list", epilog="Example:\n\n  cambist market list ethereum")
def list_markets(chain: ChainArgument, json: JsonOption = False) -> None:
    """The markets of a chain, with their price tick, base step and least notional."""
    answer = _public(f"/v1/{chain}/markets")
    if json:
        print_json(answer)
        return
    rows = [
        [one["symbol"], one["base"], one["quote"], one["tick"] or "unknown", one["step"], one["min_quote"] or "unknown"]
        for one in answer["markets"]
    ]
    columns = ["market", "base", "quote", "tick", "step", "least"]
    print_table(columns, rows, title=answer["chain"], right="tick, step, least")


@app.command("assets", epilog="Example:\n\n  cambist market assets ethereum")
def list_assets(chain: ChainArgument, json: JsonOption = False) -> None:
    """The listed assets of a chain, the native one first."""
    answer = _public(f"/v1/{chain}/assets")
    if json:
        print_json(answer)
        return
    rows = [[one["symbol"], one["name"], str(one["decimals"]), one["address"] or "native"] for one in answer["assets"]]
    print_table(["asset", "name", "decimals", "contract"], rows, title=answer["chain"], right="decimals")


@app.command(
    "ticker", epilog="Examples:\n\n  cambist market ticker ethereum\n\n  cambist market ticker polygon POLUSDC --json"
)
def ticker(
    chain: ChainArgument,
    market: Annotated[str | None, typer.Argument(help="Market, as ETHUSDC; all without it.")] = None,
    json: JsonOption = False,
) -> None:
    """Best bid and ask, and the last 24 hours."""
    answer = _public(f"/v1/{chain}/ticker", {} if market is None else {"market": market})
    if json:
        print_json(answer)
        return
    rows = [
        [
            one["market"],
            _text(one["bid"]),
            _text(one["ask"]),
            _text(one["last"]),
            "-" if (day := one["day"]) is None else f"{_percent(day['change_bps'])}",
            "-" if day is None else shortened(day["base_volume"]),
            one["problem"] or "",
        ]
        for one in answer["tickers"]
    ]
    columns = ["market", "bid", "ask", "last", "24 h", "volume", ""]
    print_table(columns, rows, title=block_title(answer), right="bid, ask, last, 24 h, volume")


@app.command(
    "depth", epilog="Example:\n\n  cambist market depth ethereum ETHUSDC --levels 15 --aggregate 100 --watch 2"
)
def depth(
    chain: ChainArgument,
    market: MarketArgument,
    levels: Annotated[int, typer.Option(min=1, max=1000, help="Levels a side.")] = 10,
    aggregate: Annotated[int, typer.Option(help="Ticks a level spans: 1, 10, 100 or 1000.")] = 1,
    watch: Annotated[float, typer.Option(min=0, help="Look again every so many seconds, until Ctrl-C.")] = 0,
    json: JsonOption = False,
) -> None:
    """The order book that the market's pools amount to."""
    params = {"market": market, "limit": str(levels), "aggregate": str(aggregate)}

    def look() -> dict[str, Any]:
        return _public(f"/v1/{chain}/depth", params)

    def view(answer: dict[str, Any]) -> Table:
        table = depth_table(answer, levels=levels)
        table.title, table.title_justify = f"{market} on {block_title(answer)}", "left"
        return table

    answer = look()
    if json:
        print_json(answer)
        return
    if not watch:
        stdout().print(view(answer))
        return
    with Live(view(answer), console=stdout(), auto_refresh=False) as shown:
        try:
            while True:
                time.sleep(max(watch, WATCH_MIN_S))
                shown.update(view(look()), refresh=True)
        except KeyboardInterrupt:
            return


@app.command("candles", epilog="Example:\n\n  cambist market candles ethereum ETHUSDC --interval 15m --limit 96")
def candles(
    chain: ChainArgument,
    market: MarketArgument,
    interval: Annotated[Interval, typer.Option(help="Length of a candle.")] = Interval.M15,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 60,
    table: Annotated[bool, typer.Option("--table", help="Numbers instead of a chart.")] = False,
    json: JsonOption = False,
) -> None:
    """Open, high, low and close over time, as a chart in the terminal."""
    answer = _public(f"/v1/{chain}/candles", {"market": market, "interval": str(interval), "limit": str(limit)})
    if json:
        print_json(answer)
        return
    found = answer["candles"]
    if table:
        rows = [
            [
                moment(one["open_ms"]),
                *(shortened(one[name]) for name in ("open", "high", "low", "close", "base_volume")),
            ]
            for one in found
        ]
        columns = ["opened (UTC)", "open", "high", "low", "close", "volume"]
        print_table(columns, rows, title=f"{market} {interval}", right="open, high, low, close, volume")
        return
    console = stdout()
    console.print(f"{market} {interval} on {answer['chain']}")
    for line in candle_chart(found, width=min(MAX_CANDLES, max(10, console.width - AXIS_CELLS))):
        console.print(line)


@app.command("trades", epilog="Example:\n\n  cambist market trades ethereum ETHUSDC --limit 20")
def trades(chain: ChainArgument, market: MarketArgument, limit: LimitOption = 20, json: JsonOption = False) -> None:
    """The newest trades of the market's pools, whoever made them."""
    answer = _public(f"/v1/{chain}/trades", {"market": market, "limit": str(limit)})
    if json:
        print_json(answer)
        return
    rows = [
        [
            moment(one["time_ms"]),
            "sold" if one["is_buyer_maker"] else "bought",
            shortened(one["price"]),
            shortened(one["base"]),
            shortened(one["quote"]),
        ]
        for one in reversed(answer["trades"])
    ]
    print_table(["time (UTC)", "taker", "price", "base", "quote"], rows, title=market, right="price, base, quote")


@app.command("pools", epilog="Example:\n\n  cambist market pools ethereum ETHUSDC")
def pools(chain: ChainArgument, market: MarketArgument, json: JsonOption = False) -> None:
    """The pools that a market's price comes from."""
    answer = _public(f"/v1/{chain}/pools", {"market": market})
    if json:
        print_json(answer)
        return
    rows = [
        [one["venue"], f"{one['fee_pips'] // 100}.{one['fee_pips'] % 100:02d}", _text(one["price"]), one["address"]]
        for one in answer["pools"]
    ]
    print_table(["venue", "fee bps", "price", "address"], rows, title=block_title(answer), right="fee bps, price")


@app.command("routes", epilog="Example:\n\n  cambist market routes ethereum ETHUSDC sell --base 250")
def routes(
    chain: ChainArgument,
    market: MarketArgument,
    side: SideArgument,
    base: BaseOption = None,
    quote_amount: QuoteOption = None,
    profile: ProfileOption = None,
    json: JsonOption = False,
) -> None:
    """The ways a trade could go, what each would give, and why one was chosen. Needs a read key."""
    params = trade_params(market, side, base=base, quote=quote_amount, slippage_bps=None)
    with Api(load_profile(profile)) as api:
        answer = api.get(f"/v1/{chain}/routes", {name: str(value) for name, value in params.items()})
    if json:
        print_json(answer)
        return
    rows = [
        [
            "→" if one["chosen"] else "",
            one["path"],
            shortened(one["amount"]),
            shortened(one["net"]),
            f"{one['gas_units']:,}",
        ]
        for one in answer["candidates"]
    ]
    columns = ["", "path", f"{answer['judged_in']}", "net of gas", "gas"]
    print_table(columns, rows, title=block_title(answer), right=f"{answer['judged_in']}, net of gas, gas")
    gain = "" if answer["gain"] == "0" else f": {shortened(answer['gain'])} {answer['judged_in']}"
    stdout().print(answer["reason"] + gain)


@app.command("check", epilog="Example:\n\n  cambist market check ethereum")
def check(chain: ChainArgument, json: JsonOption = False) -> None:
    """Compare the pools in the running server's memory with the chain, on this host. Status 1: some differed."""
    answer = act(settings_of_host(), "market.check", {"chain": chain}, doing="comparing the pools with the chain")
    if json:
        print_json(answer)
    else:
        block = "" if answer["block"] is None else f" at block {answer['block']}"
        stdout().print(
            f"{chain}: {answer['pools']} pools in memory{block}, {answer['differing']} differ from the chain"
        )
        for difference in answer["differences"]:
            stdout().print(f"  {difference}; loaded anew", markup=False)
    if answer["differing"]:
        raise typer.Exit(int(ExitStatus.REFUSED))


def _public(path: str, query: dict[str, str] | None = None) -> dict[str, Any]:
    with Api.public(server_url()) as api:
        return api.get(path, query)


def _text(price: str | None) -> str:
    return "-" if price is None else shortened(price)


def _percent(bps: int | None) -> str:
    if bps is None:
        return "-"
    whole, part = divmod(abs(bps), 100)
    return f"{'-' if bps < 0 else '+'}{whole}.{part:02d} %"
