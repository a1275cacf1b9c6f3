"""`cambist approval`: withdrawals that need a second person, by that person in a session or with a key; `pending` by
the operator."""

from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli.api import Api
from service.cli.door import act
from service.cli.failures import CommandFailed, ExitStatus
from service.cli.options import JsonOption, settings_of_host
from service.cli.output import moment, print_fields, print_json, print_table, stderr, warn_unusable
from service.cli.profile import Profile, load_profile
from service.cli.session_file import SignedIn, load_session
from service.cli.session_input import CodeOption, with_code
from service.cli.trading import money

app = typer.Typer(no_args_is_help=True, help="Withdrawals that need a second person: see, approve and reject them.")

AsKeyOption = Annotated[
    Path | None,
    typer.Option("--profile", help="As the key of this profile, one with withdraw, in place of the session."),
]
IdArgument = Annotated[int, typer.Argument(min=1, help="The withdrawal's number.")]
AccountOption = Annotated[str | None, typer.Option(help="The account, if you are a member of several.")]
_NONE = "none"


@app.command("list", epilog="Example:\n\n  cambist approval list")
def list_(
    every: Annotated[bool, typer.Option("--all", help="Also those that are decided or over.")] = False,
    account: AccountOption = None,
    profile: AsKeyOption = None,
    json: JsonOption = False,
) -> None:
    """What waits for a second person."""
    query = {"pending": str(not every).lower()} | _of(account)
    with Api(_who(profile)) as api:
        answer = api.get("/v1/approvals", query)
    if json:
        print_json(answer)
        return
    rows = [
        [
            str(one["id"]),
            f"{one['amount'] or '?'} {one['asset'] or one['asset_id']}",
            one["address"],
            one["address_name"] or "-",
            one["requester"] or one["key_label"],
            one["state"],
            moment(one["expires_ms"]),
        ]
        for one in answer["approvals"]
    ]
    print_table(["id", "amount", "to", "called", "asked by", "state", "until"], rows, right="id, amount", whole="to")
    warn_unusable(answer)


@app.command(epilog="Example:\n\n  cambist approval show 7")
def show(
    withdrawal: IdArgument, account: AccountOption = None, profile: AsKeyOption = None, json: JsonOption = False
) -> None:
    """A withdrawal that waits or has waited, decoded."""
    with Api(_who(profile)) as api:
        _show(api.get(f"/v1/approvals/{withdrawal}", _of(account)), json=json)


@app.command(
    epilog="Examples:\n\n  cambist approval approve 7\n\n  cambist approval approve 7 --profile mine.toml --yes"
)
def approve(
    withdrawal: IdArgument,
    account: AccountOption = None,
    profile: AsKeyOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Approve it as it is, without being asked.")] = False,
    code_file: CodeOption = None,
    json: JsonOption = False,
) -> None:
    """Look at a withdrawal, and let it be sent: with a code of your authenticator, or a key of yours with withdraw."""
    with Api(_who(profile)) as api:
        seen = api.get(f"/v1/approvals/{withdrawal}", _of(account))
        if not seen["intact"]:
            raise CommandFailed(
                "record_tampered",
                f"withdrawal {withdrawal} was changed in the database since it was accepted",
                hint="Do not approve it: reject it, and tell the operator (cambist audit verify).",
                status=ExitStatus.REFUSED,
            )
        if not yes:
            _show(seen, json=False)
            typer.confirm("Approve exactly this?", abort=True, err=True)
        # What was seen is what is approved: another one by then is refused.
        body = {"binding": seen["binding"]} | _of(account)
        path = f"/v1/approvals/{withdrawal}/approve"
        answer = with_code(lambda more: api.post(path, {**body, **more}), code_file)
    if json:
        print_json(answer)
    else:
        stderr().print(f"approved: withdrawal {withdrawal} is being sent")


@app.command(epilog='Example:\n\n  cambist approval reject 7 --reason "not ours"')
def reject(
    withdrawal: IdArgument,
    reason: Annotated[str, typer.Option(help="What its client reads.")] = "",
    account: AccountOption = None,
    profile: AsKeyOption = None,
    json: JsonOption = False,
) -> None:
    """End a withdrawal that waits: nothing is sent, its funds are free."""
    with Api(_who(profile)) as api:
        answer = api.post(f"/v1/approvals/{withdrawal}/reject", {"reason": reason} | _of(account))
    if json:
        print_json(answer)
    else:
        stderr().print(f"rejected: nothing of withdrawal {withdrawal} is sent")


@app.command(
    epilog="Examples:\n\n  cambist approval policy\n\n"
    "  cambist approval policy --usd 10000 --asset ethereum:USDC:5000\n\n"
    "  cambist approval policy --usd none"
)
def policy(
    usd: Annotated[str | None, typer.Option(help="Above so many dollars; 0: always; none: no such threshold.")] = None,
    asset: Annotated[
        list[str] | None, typer.Option(help="Above an amount, as ethereum:USDC:5000; repeat for more; or none.")
    ] = None,
    account: AccountOption = None,
    code_file: CodeOption = None,
    json: JsonOption = False,
) -> None:
    """From when on a withdrawal needs a second person; with options, set it. What is laxer waits for a day."""
    with Api(load_session()) as api:
        found = api.get("/v1/approval-policy", _of(account))
        if usd is not None or asset is not None:
            now = found["following"] or found["in_force"]
            body = {
                "usd": now["usd"] if usd is None else (None if usd == _NONE else usd),
                "assets": now["assets"] if asset is None else _thresholds(asset),
            } | _of(account)
            found = with_code(lambda more: api.put("/v1/approval-policy", {**body, **more}), code_file)
    if json:
        print_json(found)
        return
    following = found["following"]
    print_fields(
        {
            "in force": _text(found["in_force"]),
            "following": "-" if following is None else f"{_text(following)}, from {moment(found['following_from_ms'])}",
            "counted over": f"{found['window_hours']} h",
            "waits for": f"{found['expires_hours']} h",
            "may approve": f"{found['approvers']} people",
        },
        title="Above this a withdrawal needs a second person",
    )


@app.command(epilog="Example:\n\n  cambist approval pending")
def pending(json: JsonOption = False) -> None:
    """What waits for a second person in all accounts, by the operator of this host."""
    found = act(settings_of_host(), "approval.list", {}, doing="reading what waits for approval")
    if json:
        print_json(found)
        return
    rows = [
        [
            str(one["withdrawal"]),
            one["account"],
            f"{one['amount_raw']} of {one['asset']}",
            one["address"],
            one["key"],
            one["why"],
            moment(one["expires_ms"]),
        ]
        for one in found["pending"]
    ]
    print_table(["id", "account", "base units", "to", "key", "why", "until"], rows, right="id", whole="to")
    warn_unusable(found)


def _who(profile: Path | None) -> Profile | SignedIn:
    return load_session() if profile is None else load_profile(profile)


def _of(account: str | None) -> dict[str, str]:
    return {} if account is None else {"account": account}


def _thresholds(given: list[str]) -> list[dict[str, str]]:
    if given == [_NONE]:
        return []
    found = []
    for text in given:
        parts = text.split(":")
        if len(parts) != 3:
            raise CommandFailed(
                "bad_threshold", f"{text!r} is no threshold", hint="ethereum:USDC:5000", status=ExitStatus.USAGE
            )
        found.append({"chain": parts[0], "asset": parts[1], "amount": parts[2]})
    return found


def _text(thresholds: dict[str, Any]) -> str:
    parts = [] if thresholds["usd"] is None else [f"{thresholds['usd']} USD"]
    parts += [f"{one['amount']} {one['asset']} on {one['chain']}" for one in thresholds["assets"]]
    return ", ".join(parts) or _NONE


def _show(answer: dict[str, Any], *, json: bool) -> None:
    if json:
        print_json(answer)
        return
    print_fields(
        {
            "state": answer["state"],
            "arrives": f"{answer['amount']} {answer['asset'] or answer['asset_id']} on {answer['chain']}",
            "leaves at most": f"{answer['leaves_at_most']} {answer['asset']}",
            "fee at most": "-" if answer["max_fee"] is None else money(answer["max_fee"]),
            "worth": "not known" if answer["usd"] is None else f"{answer['usd']} USD",
            "to": answer["address"],
            "in the book as": answer["address_name"] or "not in the account's book",
            "in the book since": moment(answer["address_added_ms"]),
            "asked by": f"{answer['requester'] or 'the host'}, with key {answer['key_label']}",
            "why": answer["why"],
            "until": moment(answer["expires_ms"]),
            "as accepted": "yes" if answer["intact"] else "NO: it was changed since",
            "you may": "approve" if answer["may_approve"] else "not approve this",
        },
        title=f"Withdrawal {answer['id']}",
    )
