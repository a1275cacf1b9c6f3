"""`cambist audit`: who did what on this installation, and whether its record is as it was written."""

from typing import Annotated, Any

import typer
from rich.markup import escape

from service.cli.door import act
from service.cli.failures import CommandFailed
from service.cli.options import JsonOption, settings_of_host
from service.cli.output import moment, print_json, print_table, stderr

app = typer.Typer(no_args_is_help=True, help="Look at the audit log, and verify it.")


@app.command("list", epilog="Example:\n\n  cambist audit list --act key.create --limit 20")
def list_(
    since_ms: Annotated[int | None, typer.Option("--since", help="From this time on: milliseconds UTC.")] = None,
    actor: Annotated[str | None, typer.Option(help="Host user, API key, or operator.")] = None,
    act_name: Annotated[str | None, typer.Option("--act", help="An act, or a group such as `key.`.")] = None,
    outcome: Annotated[str | None, typer.Option(help="started, done, refused or failed.")] = None,
    limit: Annotated[int, typer.Option(help="The newest so many.")] = 50,
    json: JsonOption = False,
) -> None:
    """The newest entries that match, unverified."""
    wanted = {"since_ms": since_ms, "actor": actor, "act": act_name, "outcome": outcome, "limit": limit}
    given = {name: value for name, value in wanted.items() if value is not None}
    answer = act(settings_of_host(), "audit.list", given, doing="reading the audit log")
    if json:
        print_json(answer)
        return
    print_table(["entry", "time", "who", "act", "outcome", "details"], [_row(one) for one in answer["entries"]])


@app.command(epilog="Example:\n\n  cambist audit verify --json")
def verify(json: JsonOption = False) -> None:
    """Check every entry; exit status 1 when one is not as it was written, with the first such."""
    answer = act(settings_of_host(), "audit.verify", {}, doing="verifying the audit log")
    broken = answer["broken"]
    if json:
        print_json(answer)
    if broken is not None:
        raise CommandFailed(
            "audit_broken",
            f"entry {broken['chain']}/{broken['seq']}: {broken['why']} ({answer['checked']} before it are right)",
            hint="Somebody wrote to the database. Keep a copy of it, and see docs/audit.md.",
        )
    if not json:
        stderr().print(f"{answer['checked']} entries, all as they were written")


def _row(one: dict[str, Any]) -> list[str]:
    # Reasons are free text: what a terminal would act upon is shown, not done.
    details = " ".join(f"{name}={value!r}" for name, value in one["details"].items())
    who = one["actor"] or one["actor_kind"]
    outcome = one["outcome"] if one["code"] is None else f"{one['outcome']}: {one['code']}"
    return [f"{one['chain']}/{one['seq']}", moment(one["time_ms"]), escape(who), one["act"], outcome, escape(details)]
