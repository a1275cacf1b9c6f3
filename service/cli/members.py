"""`cambist member`: who belongs to an account, and as what, by an owner who is signed in; `member join` by anybody."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from service.cli.api import Api
from service.cli.failures import CommandFailed
from service.cli.options import JsonOption
from service.cli.output import moment, print_fields, print_json, print_table, stderr, warn_unusable, write_private
from service.cli.secret_input import read_secret
from service.cli.session_file import load_session
from service.cli.session_input import CodeOption, with_code

app = typer.Typer(no_args_is_help=True, help="Members of an account and their roles, when signed in.")


class Role(StrEnum):
    """What a member may do."""

    OWNER = "owner"
    TRADER = "trader"
    APPROVER = "approver"
    VIEWER = "viewer"


UserArgument = Annotated[str, typer.Argument(help="The user's name.")]
RoleArgument = Annotated[Role, typer.Argument(help="owner, trader, approver or viewer.")]
AccountOption = Annotated[str | None, typer.Option(help="The account, if you are a member of several.")]


@app.command("list", epilog="Example:\n\n  cambist member list")
def list_(account: AccountOption = None, json: JsonOption = False) -> None:
    """Members, and for owners the invitations that wait."""
    with Api(load_session()) as api:
        found = api.get("/v1/members", None if account is None else {"account": account})
    if json:
        print_json(found)
        return
    rows = [
        (
            one["user"],
            one["role"],
            moment(one["since_ms"]),
            "" if one["new_until_ms"] is None else moment(one["new_until_ms"]),
            "you" if one["is_you"] else "",
        )
        for one in found["members"]
    ]
    print_table(("user", "role", "since", "new until", ""), rows, title=f"members of {found['account']}")
    warn_unusable(found)
    if found["invitations"]:
        waiting = [(one["id"], one["role"], moment(one["expires_ms"])) for one in found["invitations"]]
        print_table(("id", "role", "until"), waiting, title="\ninvitations")


@app.command(epilog="Example:\n\n  cambist member add bob viewer")
def add(
    user: UserArgument,
    role: RoleArgument,
    account: AccountOption = None,
    code_file: CodeOption = None,
    json: JsonOption = False,
) -> None:
    """Give a user who exists a role, with a code of your authenticator."""
    body = _body(account, user=user, role=str(role))
    with Api(load_session()) as api:
        made = with_code(lambda code: api.post("/v1/members", {**body, **code}), code_file)
    if json:
        print_json(made)
        return
    print_fields({"user": made["user"], "role": made["role"]}, title="member")


@app.command(epilog="Example:\n\n  cambist member role bob trader")
def role(
    user: UserArgument,
    role: RoleArgument,
    account: AccountOption = None,
    code_file: CodeOption = None,
    json: JsonOption = False,
) -> None:
    """Another role. One that allows more needs a code; one that allows less ends the keys that it does not allow."""
    with Api(load_session()) as api:
        path, body = f"/v1/members/{_id_of(api, user, account)}", _body(account, role=str(role))
        changed = with_code(lambda code: api.patch(path, {**body, **code}), code_file)
    _show_changed(user, changed, json=json)


@app.command(epilog="Example:\n\n  cambist member remove bob")
def remove(
    user: UserArgument, account: AccountOption = None, code_file: CodeOption = None, json: JsonOption = False
) -> None:
    """Take a member's role away, or leave. The keys they made in the account are revoked. For an owner or approver who
    has been one for 24 hours, and for an owner who leaves, with a code of your authenticator."""
    with Api(load_session()) as api:
        path = f"/v1/members/{_id_of(api, user, account)}{_query(account)}"
        changed = with_code(lambda code: api.delete(path, code), code_file)
    _show_changed(user, changed, json=json)


@app.command(epilog="Example:\n\n  cambist member invite viewer --file for-bob")
def invite(
    role: RoleArgument,
    account: AccountOption = None,
    file: Annotated[
        Path | None, typer.Option(help="Write the invitation to this new file (mode 600) instead of showing it.")
    ] = None,
    code_file: CodeOption = None,
    json: JsonOption = False,
) -> None:
    """An invitation with a role, with a code: for a user who joins, or who registers with it. It works once."""
    body = _body(account, role=str(role))
    with Api(load_session()) as api:
        made = with_code(lambda code: api.post("/v1/invitations", {**body, **code}), code_file)
    if file is not None:
        write_private(file, made["invitation"] + "\n")
        made |= {"invitation": None, "file": str(file)}
    if json:
        print_json(made)
        return
    shown = {
        "role": made["role"],
        "invitation": made["invitation"] or f"in {made['file']}",
        "until": moment(made["expires_ms"]),
    }
    print_fields(shown, title="invitation")
    if file is None:
        stderr().print("\n[bold yellow]The invitation is shown this once.[/] Give it to that person alone.")


@app.command(epilog="Example:\n\n  cambist member uninvite 9f86d081884c7d65")
def uninvite(
    invitation: Annotated[str, typer.Argument(help="The invitation's id, of the list.")],
    account: AccountOption = None,
    json: JsonOption = False,
) -> None:
    """End an invitation that nobody used yet."""
    with Api(load_session()) as api:
        done = api.delete(f"/v1/invitations/{invitation}{_query(account)}")
    if json:
        print_json(done)
    else:
        stderr().print("taken back")


@app.command(epilog="Example:\n\n  cambist member join --invitation-file invitation")
def join(
    invitation_file: Annotated[
        Path | None, typer.Option(help="File (mode 600) with your invitation, or - for standard input.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Use an invitation into an account, as who you are signed in as."""
    body = {"invitation": read_secret(invitation_file, prompt="Invitation")}
    with Api(load_session()) as api:
        joined = api.post("/v1/memberships", body)
    if json:
        print_json(joined)
        return
    print_fields({"account": joined["account"], "role": joined["role"]}, title="joined")


def _id_of(api: Api, user: str, account: str | None) -> int:
    """Raises: CommandFailed: the account has no such member."""
    found = api.get("/v1/members", None if account is None else {"account": account})
    for one in found["members"]:
        if one["user"] == user:
            return int(one["user_id"])
    raise CommandFailed("member_not_found", f"{found['account']} has no member {user!r}", hint="cambist member list")


def _body(account: str | None, **fields: Any) -> dict[str, Any]:
    return fields | ({} if account is None else {"account": account})


def _query(account: str | None) -> str:
    return "" if account is None else "?" + urlencode({"account": account})


def _show_changed(user: str, changed: dict[str, Any], *, json: bool) -> None:
    if json:
        print_json(changed)
        return
    member = changed["member"]
    print_fields({"user": user, "role": "none any more" if member is None else member["role"]}, title="member")
    if changed["revoked_keys"]:
        stderr().print(f"revoked with it: {', '.join(changed['revoked_keys'])}")
