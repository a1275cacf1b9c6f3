"""`cambist ping|chains|deposit-address|reconciliation|contract`: what there is, through the HTTP API."""

import time
from typing import Annotated, Any, Final

import typer
from rich.markup import escape

from service.cli.api import Api
from service.cli.failures import ExitStatus
from service.cli.json_arguments import json_argument
from service.cli.options import JsonOption
from service.cli.output import print_fields, print_json, print_table, shortened, stderr, stdout
from service.cli.profile import load_profile, server_url
from service.cli.trading import ChainArgument, ProfileOption, block_title

MS: Final = 1_000_000
"""Nanoseconds in a millisecond."""

contract = typer.Typer(
    no_args_is_help=True, help="Read contracts. What changes something is `cambist transaction call`."
)


def ping(json: JsonOption = False) -> None:
    """Whether the service answers, and how far this machine's clock is from its. Needs no key."""
    url = server_url()
    with Api.public(url) as api:
        before_ms = time.time_ns() // MS
        server_ms = int(api.get("/v1/time")["server_time_ms"])
        after_ms = time.time_ns() // MS
    # The server looked at its clock at some time between.
    offset_ms = server_ms - (before_ms + after_ms) // 2
    answer = {"url": url, "round_trip_ms": after_ms - before_ms, "server_ahead_ms": offset_ms}
    if json:
        print_json(answer)
        return
    ahead = "ahead of" if offset_ms >= 0 else "behind"
    print_fields(
        {
            "service": url,
            "answered in": f"{answer['round_trip_ms']} ms",
            "its clock": f"{abs(offset_ms)} ms {ahead} this one",
        }
    )


def chains(json: JsonOption = False) -> None:
    """The chains of the service and their heads. Needs no key."""
    with Api.public(server_url()) as api:
        answer = api.get("/v1/chains")
    if json:
        print_json(answer)
        return
    rows = [
        [
            one["key"],
            str(one["chain_id"]),
            one["native_asset"],
            one["status"],
            "-" if one["head"] is None else f"{one['head']['number']:,}",
            "-" if one["head"] is None else f"{one['head']['age_ms'] // 1000} s",
            " ".join(one["aliases"]),
        ]
        for one in answer["chains"]
    ]
    columns = ["chain", "id", "native", "status", "head", "age", "also called"]
    print_table(columns, rows, right="id, head, age")


def deposit_address(chain: ChainArgument, profile: ProfileOption = None, json: JsonOption = False) -> None:
    """Where the key's wallet receives on a chain, and what may be sent there."""
    with Api(load_profile(profile)) as api:
        answer = api.get(f"/v1/{chain}/deposit-address")
    if json:
        print_json(answer)
        return
    fields = {"address": answer["address"], "chain": f"{answer['chain']} (id {answer['chain_id']})"}
    print_fields(fields)
    rows = [[one["symbol"], one["name"], one["address"] or "native"] for one in answer["assets"]]
    print_table(["asset", "name", "contract"], rows, title="\nsend only these")
    stderr().print(f"\n{answer['note']}")


def reconciliation(chain: ChainArgument, profile: ProfileOption = None, json: JsonOption = False) -> None:
    """The wallet's books against the chain, to the last unit. Status 1: something is unknown or unexplained."""
    with Api(load_profile(profile)) as api:
        answer = api.get(f"/v1/{chain}/reconciliation")
    if json:
        print_json(answer)
    else:
        _show_reconciliation(answer)
    if answer["verdict"] != "ok":
        raise typer.Exit(int(ExitStatus.REFUSED))


@contract.command(
    epilog="Examples:\n\n  cambist contract read ethereum USDC 'balanceOf(address)(uint256)'"
    " 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed\n\n"
    "  cambist contract read ethereum USDC name --abi erc20"
)
def read(
    chain: ChainArgument,
    to: Annotated[str, typer.Argument(help="An address, a contract's name in the registry, or a token's symbol.")],
    function: Annotated[
        str, typer.Argument(help="Its signature, as 'balanceOf(address)(uint256)'; with --abi its name.")
    ],
    args: Annotated[
        list[str] | None, typer.Argument(help="Its arguments: numbers as they are, lists and tuples as JSON.")
    ] = None,
    abi: Annotated[str | None, typer.Option(help="A packaged ABI, as erc20.")] = None,
    block: Annotated[str | None, typer.Option(help="A block's number or hash; else the head.")] = None,
    profile: ProfileOption = None,
    json: JsonOption = False,
) -> None:
    """Read a contract at one block; nothing is sent."""
    asked: dict[str, Any] = {"to": to, "function": function, "args": [json_argument(text) for text in args or []]}
    asked |= {name: value for name, value in (("abi", abi), ("block", block)) if value is not None}
    with Api(load_profile(profile)) as api:
        answer = api.post(f"/v1/{chain}/contracts/call", asked)
    if json:
        print_json(answer)
        return
    # What a contract answers is whatever its author wants a terminal to see.
    rows = [[one["name"] or "-", one["type"], escape(repr(one["value"]))] for one in answer["outputs"]]
    stdout().print(escape(f"{answer['function']} of {answer['to']} on {block_title(answer)}"))
    print_table(["output", "type", "value"], rows)


def _show_reconciliation(answer: dict[str, Any]) -> None:
    block = answer["block"]
    at = "books not open yet" if block is None else f"at block {block['number']}"
    why = "" if answer["why"] is None else f" ({answer['why']})"
    rows = [
        [
            one["asset"] or one["asset_id"],
            *(
                "unknown" if one[name] is None else shortened(one[name])
                for name in ("opening", "journal", "expected", "chain", "unexplained")
            ),
            one["verdict"] + ("" if one["why"] is None else f" ({one['why']})"),
        ]
        for one in answer["assets"]
    ]
    columns = ["asset", "opening", "journal", "expected", "chain", "unexplained", ""]
    title = f"{answer['chain']}, {at}: {answer['verdict']}{why}"
    print_table(columns, rows, title=title, right="opening, journal, expected, chain, unexplained")
