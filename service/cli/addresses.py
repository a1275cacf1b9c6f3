"""`cambist address`: an account's address book, by the operator on this host; `cambist my-address`: by its owner.

What the operator adds is in force at once; what an owner adds, in a session and with a code, cools first.
"""

from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from service.cli.api import Api
from service.cli.door import act
from service.cli.options import JsonOption, settings_of_host
from service.cli.output import moment, print_fields, print_json, print_table, stderr, warn_unusable
from service.cli.session_file import load_session
from service.cli.session_input import CodeOption, with_code

app = typer.Typer(no_args_is_help=True, help="Where withdrawals may go: the address book, by the operator.")
mine = typer.Typer(no_args_is_help=True, help="Your account's address book, when signed in.")

ChainArgument = Annotated[str, typer.Argument(help="A chain's key, alias or id.")]
AddressArgument = Annotated[str, typer.Argument(help="The address, with its checksum.")]
NameArgument = Annotated[str, typer.Argument(help="What to call it.")]
EntryArgument = Annotated[int, typer.Argument(help="The entry's id, of the list.")]
AccountOption = Annotated[str | None, typer.Option(help="The account, where there are several.")]
AlikeOption = Annotated[
    bool, typer.Option("--accept-look-alike", help="You compared all of it with the address that it looks like.")
]


@app.command("list", epilog="Example:\n\n  cambist address list")
def list_(account: AccountOption = None, json: JsonOption = False) -> None:
    """The addresses in the book, by name."""
    found = act(settings_of_host(), "address.list", {"account": account}, doing="reading the address book")
    if json:
        print_json(found)
        return
    rows = [
        (str(one["entry"]), one["name"], one["chain"], one["address"], one["state"], _notes(one))
        for one in found["addresses"]
    ]
    print_table(("id", "name", "chain", "address", "state", ""), rows, title="address book", whole="address")
    warn_unusable(found)


@app.command(epilog="Example:\n\n  cambist address add ethereum 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed exchange")
def add(
    chain: ChainArgument,
    address: AddressArgument,
    name: NameArgument,
    accept_look_alike: AlikeOption = False,
    account: AccountOption = None,
    json: JsonOption = False,
) -> None:
    """Add an address. It is in force at once: whoever is at this host could sign anything."""
    params = {
        "chain": chain,
        "address": address,
        "name": name,
        "accept_look_alike": accept_look_alike,
        "account": account,
    }
    made = act(settings_of_host(), "address.add", params, doing="adding the address")
    _show(made, json=json)


@app.command(epilog="Example:\n\n  cambist address remove 7")
def remove(entry: EntryArgument, account: AccountOption = None, json: JsonOption = False) -> None:
    """Take an entry out of the book at once."""
    params = {"entry": entry, "account": account}
    _show(act(settings_of_host(), "address.remove", params, doing="removing the address"), json=json)


@mine.command("list", epilog="Example:\n\n  cambist my-address list")
def list_mine(account: AccountOption = None, json: JsonOption = False) -> None:
    """The addresses in the book, by name, and how long a new one cools."""
    with Api(load_session()) as api:
        found = api.get("/v1/addresses", None if account is None else {"account": account})
    if json:
        print_json(found)
        return
    rows = [
        (str(one["id"]), one["name"], one["chain"], one["address"], _state(one), _notes(one))
        for one in found["addresses"]
    ]
    print_table(
        ("id", "name", "chain", "address", "state", ""),
        rows,
        title=f"address book of {found['account']}",
        whole="address",
    )
    warn_unusable(found)
    stderr().print(_cooling(found["cooling"]))


@mine.command(
    "add", epilog="Example:\n\n  cambist my-address add ethereum 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed exchange"
)
def add_mine(
    chain: ChainArgument,
    address: AddressArgument,
    name: NameArgument,
    accept_look_alike: AlikeOption = False,
    account: AccountOption = None,
    code_file: CodeOption = None,
    json: JsonOption = False,
) -> None:
    """Add an address, with a code of your authenticator. It cools before withdrawals may go to it."""
    body = _body(account, chain=chain, address=address, name=name, accept_look_alike=accept_look_alike)
    with Api(load_session()) as api:
        made = with_code(lambda code: api.post("/v1/addresses", {**body, **code}), code_file)
    _show(made, json=json)


@mine.command("rename", epilog="Example:\n\n  cambist my-address rename 7 kraken")
def rename_mine(
    entry: EntryArgument,
    name: NameArgument,
    account: AccountOption = None,
    code_file: CodeOption = None,
    json: JsonOption = False,
) -> None:
    """Call an entry something else, with a code of your authenticator."""
    body = _body(account, name=name)
    with Api(load_session()) as api:
        renamed = with_code(lambda code: api.patch(f"/v1/addresses/{entry}", {**body, **code}), code_file)
    _show(renamed, json=json)


@mine.command("remove", epilog="Example:\n\n  cambist my-address remove 7")
def remove_mine(entry: EntryArgument, account: AccountOption = None, json: JsonOption = False) -> None:
    """Take an entry out of the book at once."""
    query = "" if account is None else "?" + urlencode({"account": account})
    with Api(load_session()) as api:
        _show(api.delete(f"/v1/addresses/{entry}{query}"), json=json)


@mine.command(epilog="Example:\n\n  cambist my-address cooling 48")
def cooling(
    hours: Annotated[int, typer.Argument(min=0, help="How long a new entry cools, in hours.")],
    account: AccountOption = None,
    code_file: CodeOption = None,
    json: JsonOption = False,
) -> None:
    """Another cooling time: a longer one at once, a shorter one after the time of before has passed."""
    body = _body(account, cooling_hours=hours)
    with Api(load_session()) as api:
        found = with_code(lambda code: api.put("/v1/address-cooling", {**body, **code}), code_file)
    if json:
        print_json(found)
    else:
        stderr().print(_cooling(found))


def _body(account: str | None, **fields: Any) -> dict[str, Any]:
    return fields | ({} if account is None else {"account": account})


def _show(entry: dict[str, Any], *, json: bool) -> None:
    if json:
        print_json(entry)
        return
    shown = {
        "id": str(entry.get("id", entry.get("entry"))),
        "name": entry["name"],
        "chain": entry["chain"],
        "address": entry["address"],
        "state": _state(entry),
    }
    print_fields(shown | ({"note": notes} if (notes := _notes(entry)) else {}), title="address")


def _state(entry: dict[str, Any]) -> str:
    until = entry.get("cooling_until_ms")
    return str(entry["state"]) if until is None else f"cooling until {moment(until)}"


def _notes(entry: dict[str, Any]) -> str:
    notes = ["a contract"] if entry["is_contract"] else []
    if entry.get("own_wallet"):
        notes.append(f"own wallet {entry['own_wallet']}")
    if entry.get("by_operator"):
        notes.append("by the operator")
    return ", ".join(notes)


def _cooling(rule: dict[str, Any]) -> str:
    text = f"a new entry cools for {rule['cooling_hours']} h"
    if rule["next_hours"] is not None:
        text += f"; {rule['next_hours']} h from {moment(rule['next_from_ms'])}"
    return text
