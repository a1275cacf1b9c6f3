"""`cambist audit`: who did what on this installation, whether its record is as it was written, and a copy of it."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer
from rich.markup import escape

from service.cli.door import act
from service.cli.failures import CommandFailed
from service.cli.options import JsonOption, settings_of_host
from service.cli.output import moment, print_json, print_table, stderr
from service.settings import Settings

if TYPE_CHECKING:
    from service.audit.exported import Checked

app = typer.Typer(no_args_is_help=True, help="Look at the audit log, verify it, and export it.")


@app.command("list", epilog="Example:\n\n  cambist audit list --act key.create --limit 20")
def list_(
    since_ms: Annotated[int | None, typer.Option("--since", help="From this time on: milliseconds UTC.")] = None,
    until_ms: Annotated[int | None, typer.Option("--until", help="Before this time: milliseconds UTC.")] = None,
    account: Annotated[str | None, typer.Option(help="An account, by its name.")] = None,
    actor: Annotated[str | None, typer.Option(help="Host user, user, API key, or a kind: operator, user, key.")] = None,
    subject: Annotated[str | None, typer.Option(help="What it was done to: the id of a key, an order.")] = None,
    act_name: Annotated[str | None, typer.Option("--act", help="An act, or a group such as `key.`.")] = None,
    outcome: Annotated[str | None, typer.Option(help="started, done, refused or failed.")] = None,
    limit: Annotated[int, typer.Option(help="The newest so many, at most 40.")] = 40,
    json: JsonOption = False,
) -> None:
    """The newest entries that match, unverified."""
    wanted = {
        "since_ms": since_ms, "until_ms": until_ms, "account": account, "actor": actor, "subject": subject,
        "act": act_name, "outcome": outcome, "limit": limit,
    }  # fmt: skip
    given = {name: value for name, value in wanted.items() if value is not None}
    answer = act(settings_of_host(), "audit.list", given, doing="reading the audit log")
    if json:
        print_json(answer)
        return
    print_table(["entry", "time", "who", "act", "outcome", "details"], [_row(one) for one in answer["entries"]])


@app.command(epilog="Example:\n\n  cambist audit export --out audit-2026-11.jsonl")
def export(
    out: Annotated[Path, typer.Option(help="A new file, which only you may read.")],
    json: JsonOption = False,
) -> None:
    """All entries in a file that is checked with nothing but itself: `cambist audit verify --file`."""
    from service.audit import exported  # loads the database's tables, which no other command needs

    settings = settings_of_host()
    answer = act(settings, "audit.export", {}, doing="exporting the audit log")
    with _new_file(out) as file:
        file.write(exported.first_line(answer["heads"], exported_ms=answer["exported_ms"]))
        for head in answer["heads"]:
            for entry in _entries(settings, head):
                file.write(exported.line_of(entry))
        file.flush()
        os.fsync(file.fileno())
    if json:
        print_json({"file": str(out), **answer})
        return
    stderr().print(f"{answer['entries']} entries in {out}: keep it where nobody writes who writes to the database")


@app.command(epilog="Example:\n\n  cambist audit verify --known audit-2026-11.jsonl")
def verify(
    file: Annotated[Path | None, typer.Option(help="Check this export alone: no server and no database.")] = None,
    known: Annotated[Path | None, typer.Option(help="Hold the log also against an earlier export.")] = None,
    json: JsonOption = False,
) -> None:
    """Check every entry; exit status 1 when one is not as it was written, with the first such."""
    if file is not None:
        checked = _read(file)
        found = checked.broken
        broken = None if found is None else {"chain": found.chain, "seq": found.seq, "why": found.why}
        _say({"checked": checked.entries, "broken": broken}, where=f"in {file}", json=json)
        return
    heads: Sequence[Mapping[str, Any]] = []
    if known is not None:
        from service.audit.exported import head_document  # as above

        earlier = _read(known)
        if earlier.broken is not None:
            why = f"{earlier.broken.chain}/{earlier.broken.seq}: {earlier.broken.why}"
            raise CommandFailed("audit_broken", f"the export itself is not as it was written: {why}")
        heads = [head_document(head) for head in earlier.heads]
    answer = act(settings_of_host(), "audit.verify", {"known": list(heads)}, doing="verifying the audit log")
    _say(answer, where="in the log", json=json)


def _say(answer: Mapping[str, Any], *, where: str, json: bool) -> None:
    broken = answer["broken"]
    if json:
        print_json(dict(answer))
    if broken is not None:
        raise CommandFailed(
            "audit_broken",
            f"entry {broken['chain']}/{broken['seq']} {where}: {broken['why']}"
            f" ({answer['checked']} before it are right)",
            hint="Somebody wrote to it. Keep a copy, and see docs/audit.md.",
        )
    if not json:
        stderr().print(f"{answer['checked']} entries {where}, all as they were written")


def _entries(settings: Settings, head: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    at = 0
    while at < head["seq"]:
        wanted = {"chain": head["chain"], "after_seq": at, "up_to": head["seq"]}
        page = act(settings, "audit.page", wanted, doing="exporting the audit log")["entries"]
        if not page:
            # The file says so itself when it is checked: its ends are those that were asked for.
            return
        yield from page
        at = page[-1]["seq"]


def _read(path: Path) -> "Checked":
    from service.audit import exported  # as above

    try:
        with path.open("rb") as lines:
            return exported.check(lines, key=None)
    except exported.NotAnExport as exc:
        raise CommandFailed("not_an_export", f"{path}, {exc}") from exc
    except OSError as exc:
        raise CommandFailed("unreadable_file", f"{path}: {exc.strerror}") from exc


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise CommandFailed("unwritable_file", f"{path}: {exc.strerror}", hint="Name a new file.") from exc
    with os.fdopen(descriptor, "wb") as file:
        yield file


def _row(one: dict[str, Any]) -> list[str]:
    # Reasons are free text: what a terminal would act upon is shown, not done.
    details = " ".join(f"{name}={value!r}" for name, value in one["details"].items())
    who = one["actor"] or one["actor_kind"]
    outcome = one["outcome"] if one["code"] is None else f"{one['outcome']}: {one['code']}"
    return [f"{one['chain']}/{one['seq']}", moment(one["time_ms"]), escape(who), one["act"], outcome, escape(details)]
