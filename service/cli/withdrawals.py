"""`cambist withdraw` and `cambist withdrawal`: out of the key's wallet, through the HTTP API like any client."""

import uuid
from enum import StrEnum
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import typer

from service.cli.api import Api
from service.cli.failures import CommandFailed, ExitStatus
from service.cli.options import JsonOption
from service.cli.output import moment, print_fields, print_json, print_table, stderr
from service.cli.profile import load_profile
from service.cli.session_file import load_session
from service.cli.trading import ChainArgument, ProfileOption, money
from service.cli.waiting import SENT_ENDED, TimeoutOption, WaitOption, judge, wait_for

ALL: Final = "all"
"""As the amount: everything that is free."""
WAITING_ENDED: Final = SENT_ENDED | {"awaiting_approval"}
"""Nobody waits at a terminal until somebody else has approved."""

app = typer.Typer(no_args_is_help=True, help="Withdrawals of the key's wallet: list, show and cancel them.")

IdArgument = Annotated[int, typer.Argument(min=1, help="The withdrawal's number.")]


class State(StrEnum):
    AWAITING_APPROVAL = "awaiting_approval"
    PROCESSING = "processing"
    SENT = "sent"
    CONFIRMED = "confirmed"
    FINAL = "final"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    FAILED = "failed"
    UNKNOWN = "unknown"


def withdraw(
    chain: ChainArgument,
    asset: Annotated[str, typer.Argument(help="Symbol or asset id, as USDC.")],
    amount: Annotated[str, typer.Argument(help="Amount, as 25.5, or `all` for everything that is free.")],
    address: Annotated[str, typer.Argument(help="Where to; one that the key may withdraw to.")],
    gross: Annotated[
        bool, typer.Option("--gross", help="Of the native asset: the amount leaves at most, the fee is taken off it.")
    ] = False,
    estimate: Annotated[bool, typer.Option("--estimate", help="Say what it would be, send nothing.")] = False,
    client_id: Annotated[
        str | None, typer.Option(help="Your own id; the same id never pays twice. A fresh one by default.")
    ] = None,
    wait: WaitOption = False,
    timeout: TimeoutOption = 180,
    profile: ProfileOption = None,
    json: JsonOption = False,
) -> None:
    """Withdraw to a destination of the key. The amount arrives and gas is on top, but with --gross or all."""
    if gross and amount == ALL:
        raise CommandFailed(
            "gross_of_all", "all of the native asset is gross anyway", hint="leave --gross out", status=ExitStatus.USAGE
        )
    body: dict[str, Any] = {"asset": asset, "address": address}
    body |= {"amount_is": ALL} if amount == ALL else {"amount": amount, "amount_is": "gross" if gross else "net"}
    with Api(load_profile(profile)) as api:
        if estimate:
            _show_estimate(api.post(f"/v1/{chain}/withdrawals/estimate", body), json=json)
            return
        body["client_withdrawal_id"] = client_id or f"cli-{uuid.uuid4().hex}"
        answer = api.post(f"/v1/{chain}/withdrawals", body)
        if wait:
            answer = wait_for(
                lambda: api.get(f"/v1/withdrawals/{answer['id']}"), answer, ended=WAITING_ENDED, timeout_s=timeout
            )
    _show(answer, json=json)
    judge(answer, wait=wait)


@app.command("list", epilog="Example:\n\n  cambist withdrawal list --asset USDC --state sent")
def list_(
    chain: Annotated[str | None, typer.Option(help="Only of this chain.")] = None,
    asset: Annotated[str | None, typer.Option(help="Only of this asset.")] = None,
    state: Annotated[State | None, typer.Option(help="Only in this state.")] = None,
    client_id: Annotated[str | None, typer.Option(help="The one with this id of yours.")] = None,
    before: Annotated[int | None, typer.Option(min=1, help="Only those with a lower number: continues a list.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="At most so many.")] = 50,
    profile: ProfileOption = None,
    json: JsonOption = False,
) -> None:
    """The wallet's withdrawals, newest first."""
    asked = {
        "chain": chain,
        "asset": asset,
        "state": None if state is None else str(state),
        "client_withdrawal_id": client_id,
        "before": before,
        "limit": limit,
    }
    with Api(load_profile(profile)) as api:
        answer = api.get("/v1/withdrawals", {name: str(value) for name, value in asked.items() if value is not None})
    if json:
        print_json(answer)
        return
    rows = [
        [
            str(one["id"]),
            moment(one["created_ms"]),
            one["chain"],
            f"{one['amount'] or '?'} {one['asset'] or one['asset_id']}",
            one["address"],
            one["state"],
            one["tx_hash"] or "-",
        ]
        for one in answer["withdrawals"]
    ]
    print_table(["id", "asked", "chain", "amount", "to", "state", "transaction"], rows, right="id, amount")


@app.command(epilog="Example:\n\n  cambist withdrawal show 7")
def show(withdrawal: IdArgument, profile: ProfileOption = None, json: JsonOption = False) -> None:
    """One withdrawal, with its fee and confirmations."""
    with Api(load_profile(profile)) as api:
        _show(api.get(f"/v1/withdrawals/{withdrawal}"), json=json)


@app.command(
    epilog="Examples:\n\n  cambist withdrawal cancel 7\n\n  cambist withdrawal cancel 7 --self-send\n\n"
    "  cambist withdrawal cancel 7 --session"
)
def cancel(
    withdrawal: IdArgument,
    self_send: Annotated[
        bool, typer.Option("--self-send", help="If it was sent: try to overtake it. What is mined decides.")
    ] = False,
    in_session: Annotated[
        bool, typer.Option("--session", help="As who is signed in, an owner of the account, in place of a key.")
    ] = False,
    account: Annotated[str | None, typer.Option(help="In a session: the account, if you own several.")] = None,
    profile: ProfileOption = None,
    json: JsonOption = False,
) -> None:
    """Cancel a withdrawal, at once while nothing of it is sent."""
    if in_session and profile is not None:
        raise CommandFailed("one_caller_needed", "give --session or --profile", status=ExitStatus.USAGE)
    given = {"if_sent": "self_send" if self_send else None, "account": account}
    said = {name: value for name, value in given.items() if value is not None}
    query = f"?{urlencode(said)}" if said else ""
    with Api(load_session() if in_session else load_profile(profile)) as api:
        answer = api.delete(f"/v1/withdrawals/{withdrawal}{query}")
    _show(answer, json=json)
    if answer["state"] != "cancelled" and not json:
        stderr().print("a self-send was asked for; what is mined decides: cambist withdrawal show")


def _show_estimate(answer: dict[str, Any], *, json: bool) -> None:
    if json:
        print_json(answer)
        return
    fields = {
        "arrives": f"{answer['amount']} {answer['asset']}",
        "leaves at most": f"{answer['leaves_at_most']} {answer['asset']}",
        "fee": f"{money(answer['expected_fee'])}, at most {money(answer['max_fee'])}",
        "to": answer["address"],
        "covered": "yes" if answer["covered"] else "no",
        "approval": answer["needs_approval"] or "not needed",
    }
    for warning in answer["warnings"]:
        fields[warning["code"]] = warning["text"]
    print_fields(fields, title=f"What it would be on {answer['chain']} after block {answer['block_number']}")


def _show(answer: dict[str, Any], *, json: bool) -> None:
    if json:
        print_json(answer)
        return
    confirmations = answer.get("confirmations")
    print_fields(
        {
            "state": answer["state"] + (f" ({answer['reason']})" if answer["reason"] else ""),
            "amount": f"{answer['amount']} {answer['asset']}",
            "leaves at most": f"{answer['leaves_at_most']} {answer['asset']}",
            "to": answer["address"],
            "fee": f"{money(answer['gas'])} paid"
            + (f", at most {money(answer['max_fee'])} set aside" if answer["max_fee"] else ""),
            "transaction": answer["tx_hash"] or "-",
            "confirmations": "-" if confirmations is None else str(confirmations),
            "client id": answer["client_withdrawal_id"],
        },
        title=f"Withdrawal {answer['id']} on {answer['chain']}",
    )
