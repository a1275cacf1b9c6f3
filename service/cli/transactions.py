"""`cambist wrap|unwrap|allowance|transaction`: what a wallet signs besides orders and withdrawals, through the HTTP API
with a key, like any client."""

import uuid
from typing import Annotated, Any

import typer

from service.cli.api import Api
from service.cli.failures import CommandFailed, ExitStatus
from service.cli.json_arguments import json_argument
from service.cli.options import JsonOption
from service.cli.output import moment, print_fields, print_json, print_table, shortened
from service.cli.profile import load_profile
from service.cli.trading import ChainArgument, ProfileOption, block_title
from service.cli.waiting import SENT_ENDED, TimeoutOption, WaitOption, judge, wait_for

ClientIdOption = Annotated[
    str | None, typer.Option(help="Your own id; the same id is never sent twice. A fresh one by default.")
]
AmountArgument = Annotated[str, typer.Argument(help="Amount, as 1.5.")]
ContractArgument = Annotated[str, typer.Argument(help="The contract's address.")]
FunctionArgument = Annotated[str, typer.Argument(help="Its signature, as 'deposit(uint256)'.")]
ArgsArgument = Annotated[
    list[str] | None, typer.Argument(help="Its arguments: numbers as they are, lists and tuples as JSON.")
]
ValueOption = Annotated[str | None, typer.Option(help="Native coins to send with it, as 0.1.")]
ApproveOption = Annotated[
    list[str] | None,
    typer.Option(help="Approve the contract before, exactly, as USDC=25; repeat. Counts as --max-out."),
]
MaxOutOption = Annotated[list[str] | None, typer.Option(help="Most that may leave, as USDC=25; repeat. Else nothing.")]

allowances = typer.Typer(no_args_is_help=True, help="What others may take of the wallet's tokens.")
app = typer.Typer(no_args_is_help=True, help="Wraps, revocations and calls of contracts, and how far they are.")


def wrap(
    chain: ChainArgument,
    amount: AmountArgument,
    client_id: ClientIdOption = None,
    wait: WaitOption = False,
    timeout: TimeoutOption = 180,
    profile: ProfileOption = None,
    json: JsonOption = False,
) -> None:
    """Turn native coins into wrapped ones, one for one."""
    body = {"amount": amount, "client_transaction_id": _client_id(client_id)}
    with Api(load_profile(profile)) as api:
        _placed(api, f"/v1/{chain}/wrap", body, timeout_s=timeout if wait else None, as_json=json)


def unwrap(
    chain: ChainArgument,
    amount: AmountArgument,
    client_id: ClientIdOption = None,
    wait: WaitOption = False,
    timeout: TimeoutOption = 180,
    profile: ProfileOption = None,
    json: JsonOption = False,
) -> None:
    """Turn wrapped coins into native ones, one for one."""
    body = {"amount": amount, "client_transaction_id": _client_id(client_id)}
    with Api(load_profile(profile)) as api:
        _placed(api, f"/v1/{chain}/unwrap", body, timeout_s=timeout if wait else None, as_json=json)


@allowances.command("list", epilog="Example:\n\n  cambist allowance list ethereum")
def list_allowances(
    chain: ChainArgument,
    spender: Annotated[list[str] | None, typer.Option(help="Look at this spender too; repeat.")] = None,
    profile: ProfileOption = None,
    json: JsonOption = False,
) -> None:
    """Allowances that are not zero, at one block, of the spenders that are known here and those that you name."""
    query = {"spender": ",".join(spender)} if spender else None
    with Api(load_profile(profile)) as api:
        answer = api.get(f"/v1/{chain}/allowances", query)
    if json:
        print_json(answer)
        return
    rows = [
        [row["asset"], row["spender"], row["spender_name"] or "-", _allowed(row), "yes" if row["needed"] else "no"]
        for row in answer["allowances"]
    ]
    print_table(["asset", "spender", "name", "may take", "needed now"], rows, title=block_title(answer))


@allowances.command(
    "revoke",
    epilog="Example:\n\n  cambist allowance revoke ethereum USDC 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed --wait",
)
def revoke(
    chain: ChainArgument,
    asset: Annotated[str, typer.Argument(help="Symbol or asset id, as USDC.")],
    spender: Annotated[str, typer.Argument(help="Who may take it no longer.")],
    client_id: ClientIdOption = None,
    wait: WaitOption = False,
    timeout: TimeoutOption = 180,
    profile: ProfileOption = None,
    json: JsonOption = False,
) -> None:
    """Set one allowance to zero."""
    body = {"asset": asset, "spender": spender, "client_transaction_id": _client_id(client_id)}
    with Api(load_profile(profile)) as api:
        _placed(api, f"/v1/{chain}/allowances/revoke", body, timeout_s=timeout if wait else None, as_json=json)


@app.command(
    "call",
    epilog="Examples:\n\n  cambist transaction call ethereum 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
    " 'deposit(uint256)' 25000000 --approve USDC=25\n\n"
    "  cambist transaction call ethereum 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed 'stake()' --value 0.5 --test",
)
def call(
    chain: ChainArgument,
    contract: ContractArgument,
    function: FunctionArgument,
    args: ArgsArgument = None,
    value: ValueOption = None,
    approve: ApproveOption = None,
    max_out: MaxOutOption = None,
    client_id: ClientIdOption = None,
    test: Annotated[bool, typer.Option("--test", help="Simulate and show the changes, send nothing.")] = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = 180,
    profile: ProfileOption = None,
    json: JsonOption = False,
) -> None:
    """Call a contract that the key lists."""
    body: dict[str, Any] = {
        "contract": contract,
        "function": function,
        "args": [json_argument(text) for text in args or []],
        "approvals": _amounts(approve or []),
        "max_out": _amounts(max_out if max_out is not None else approve or []),
    }
    if value is not None:
        body["value"] = value
    with Api(load_profile(profile)) as api:
        if test:
            _show_trial(api.post(f"/v1/{chain}/transactions/test", body), as_json=json)
            return
        body["client_transaction_id"] = _client_id(client_id)
        _placed(api, f"/v1/{chain}/transactions", body, timeout_s=timeout if wait else None, as_json=json)


@app.command("list", epilog="Example:\n\n  cambist transaction list --json")
def list_(profile: ProfileOption = None, json: JsonOption = False) -> None:
    """The newest transactions of the key's wallet besides orders and withdrawals."""
    with Api(load_profile(profile)) as api:
        answer = api.get("/v1/transactions")
    if json:
        print_json(answer)
        return
    rows = [
        [str(one["id"]), one["chain"], one["kind"], _what(one), one["state"], moment(one["created_ms"])]
        for one in answer["transactions"]
    ]
    print_table(["id", "chain", "kind", "what", "state", "since"], rows)


@app.command("show", epilog="Example:\n\n  cambist transaction show 7")
def show(
    number: Annotated[int, typer.Argument(help="Its id.", min=1)],
    profile: ProfileOption = None,
    json: JsonOption = False,
) -> None:
    """One transaction, with what it moved and what it cost."""
    with Api(load_profile(profile)) as api:
        answer = api.get(f"/v1/transactions/{number}")
    if json:
        print_json(answer)
    else:
        _show(answer)


def _placed(api: Api, path: str, body: dict[str, Any], *, timeout_s: int | None, as_json: bool) -> None:
    """Ask for it, wait if there is a time for that, show it, and end with its exit status."""
    answer = api.post(path, body)
    if timeout_s is not None:
        answer = wait_for(
            lambda: api.get(f"/v1/transactions/{answer['id']}"), answer, ended=SENT_ENDED, timeout_s=timeout_s
        )
    if as_json:
        print_json(answer)
    else:
        _show(answer)
    judge(answer, wait=timeout_s is not None)


def _client_id(given: str | None) -> str:
    return given or f"cli-{uuid.uuid4().hex}"


def _amounts(given: list[str]) -> list[dict[str, str]]:
    found = []
    for text in given:
        asset, separator, amount = text.partition("=")
        if not separator:
            raise CommandFailed("bad_amount", f"{text!r} is not ASSET=amount", hint="USDC=25", status=ExitStatus.USAGE)
        found.append({"asset": asset, "amount": amount})
    return found


def _show(answer: dict[str, Any]) -> None:
    moved = answer["moved"]
    fields = {
        "state": answer["state"] + (f" ({answer['reason']})" if answer["reason"] else ""),
        "what": _what(answer),
        "transaction": answer["tx_hash"] or "-",
        "moved": "-" if moved is None else ", ".join(_change(one) for one in moved) or "nothing",
        "gas": f"{shortened(answer['gas']['amount'])} {answer['gas']['asset']}",
        "client id": answer["client_transaction_id"],
    }
    print_fields(fields, title=f"Transaction {answer['id']}: {answer['kind']} on {answer['chain']}")


def _show_trial(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(answer)
    else:
        refused = answer["refused"]
        fields = {
            "result": "would be accepted" if refused is None else f"would be refused: {refused['detail']}",
            "changes": ", ".join(_change(one) for one in answer["changes"]) or "nothing",
            "gas limit": answer["gas_limit"],
        }
        print_fields(fields, title=block_title(answer))
    if not answer["would_be_accepted"]:
        raise typer.Exit(int(ExitStatus.REFUSED))


def _what(answer: dict[str, Any]) -> str:
    if answer["amount"] is not None:
        return _change(answer["amount"])
    if answer["allowance"] is not None:
        allowance = answer["allowance"]
        return f"{allowance['asset'] or allowance['asset_id']} for {allowance['spender']}"
    return f"{answer['call']['function']} of {answer['call']['contract']}"


def _change(amount: dict[str, Any]) -> str:
    if amount["amount"] is None:
        return f"some of {amount['asset_id']}"
    return f"{shortened(amount['amount'])} {amount['asset']}"


def _allowed(row: dict[str, Any]) -> str:
    if row["status"] == "unknown":
        return "unknown"
    return "anything" if row["unlimited"] else shortened(row["amount"])
