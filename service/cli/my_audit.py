"""`cambist my-audit`: what was done and refused in an account, for its owners, in a session; through the HTTP API."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.markup import escape

from service.cli.api import Api
from service.cli.options import JsonOption
from service.cli.output import moment, print_json, print_table, stderr
from service.cli.session_file import load_session


def my_audit(
    account: Annotated[str | None, typer.Option(help="The account, if you own several.")] = None,
    act: Annotated[str | None, typer.Option(help="An act, or a group such as `key.` or `request.`.")] = None,
    outcome: Annotated[
        str | None, typer.Option(help="started, done, refused or failed; or an error's code, as ip_not_allowed.")
    ] = None,
    before: Annotated[int | None, typer.Option(min=1, help="Entries before this number: the next page.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many, the newest first.")] = 50,
    json: JsonOption = False,
) -> None:
    """What was done and refused in an account you own: keys and their requests, orders, withdrawals, members."""
    wanted = {"account": account, "act": act, "outcome": outcome, "before": before, "limit": limit}
    query = {name: str(value) for name, value in wanted.items() if value is not None}
    with Api(load_session()) as api:
        answer = api.get("/v1/audit", query)
    if json:
        print_json(answer)
        return
    columns = ["entry", "time (UTC)", "who", "from", "act", "of", "outcome", "details"]
    print_table(columns, [_row(one) for one in answer["entries"]], title=f"account {answer['account']}")
    if answer["next_before"] is not None:
        stderr().print(f"older ones: --before {answer['next_before']}")


def _row(one: Mapping[str, Any]) -> list[str]:
    # Reasons are free text: what a terminal would act upon is shown, not done.
    details = " ".join(f"{name}={value!r}" for name, value in one["details"].items())
    outcome = one["outcome"] if one["code"] is None else f"{one['outcome']}: {one['code']}"
    who = one["actor"] or one["actor_kind"]
    subject = "-" if one["subject"] is None else escape(f"{one['subject_kind']} {one['subject']}")
    return [
        str(one["seq"]), moment(one["time_ms"]), escape(who), one["client_ip"] or "-", one["act"], subject, outcome,
        escape(details),
    ]  # fmt: skip
