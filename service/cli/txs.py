"""`cambist tx`: transactions as the operator sees them, and the few things to do about one."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from service.cli.door import act
from service.cli.failures import CommandFailed, ExitStatus
from service.cli.options import JsonOption, settings_of_host
from service.cli.output import moment, print_fields, print_json, print_table, stderr, stdout

app = typer.Typer(no_args_is_help=True, help="Look at transactions, and help one that is stuck.")

TxArgument = Annotated[int, typer.Argument(help="The transaction's number in `cambist tx list`.")]
ReasonOption = Annotated[str, typer.Option(help="Why, for the record.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@app.command("list", epilog="Examples:\n\n  cambist tx list\n\n  cambist tx list --chain polygon --all --json")
def list_(
    chain: Annotated[str | None, typer.Option(help="Only of this chain.")] = None,
    wallet: Annotated[str | None, typer.Option(help="Only of this wallet, by label or address.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Closed ones as well.")] = False,
    limit: Annotated[int, typer.Option(help="How many, newest first.", min=1, max=200)] = 50,
    json: JsonOption = False,
) -> None:
    """Open transactions, and wallets and chains that wait for a person."""
    params = {"chain": chain, "wallet": wallet, "all": all_, "limit": limit}
    answer = act(settings_of_host(), "tx.list", params, doing="reading the transactions")
    if json:
        print_json(answer)
        return
    print_table(
        ["tx", "chain", "wallet", "nonce", "state", "outcome", "for", "since"],
        [
            [
                str(tx["tx"]),
                tx["chain"],
                _short(tx["wallet"]),
                str(tx["nonce"]),
                tx["state"],
                tx["outcome"],
                f"{tx['plan']} step {tx['step']}",
                moment(tx["created_ms"]),
            ]
            for tx in answer["transactions"]
        ],
        right="tx, nonce",
    )
    if answer["unusable"]:
        print_table(
            ["tx"],
            [[one] for one in answer["unusable"]],
            title="\nUnusable: a row of them makes no sense, something else has written it (the log says which)",
        )
    if answer["held"]:
        print_table(
            ["chain", "wallet", "next nonce", "held since"],
            [[lane["chain"], lane["wallet"], str(lane["next_nonce"]), lane["hold_reason"]] for lane in answer["held"]],
            title="\nHeld until a person looked (cambist tx resolve)",
        )
    if answer["frozen"]:
        print_table(
            ["chain", "since", "why"],
            [[one["chain"], moment(one["since_ms"]), one["freeze_reason"]] for one in answer["frozen"]],
            title="\nFrozen until a person looked (cambist tx thaw)",
        )


@app.command(epilog="Examples:\n\n  cambist tx show 17\n\n  cambist tx show order:42 --json")
def show(
    named: Annotated[
        str, typer.Argument(help="A number of `tx list`, a transaction hash, order:ID, withdrawal:ID, or a plan's id.")
    ],
    json: JsonOption = False,
) -> None:
    """Tell a transaction's story: who asked, each step, each attempt, what the nodes said, and where it stands."""
    answer = act(settings_of_host(), "tx.show", {"named": named}, doing="reading the transaction")
    if json:
        print_json(answer)
        return
    print_fields(_head(answer), title=f"Plan {answer['plan']}")
    console = stdout()
    for line in _lines(answer):
        console.print(line, markup=False)


@app.command(epilog="Example:\n\n  cambist tx bump 17")
def bump(tx: TxArgument, reason: ReasonOption = "asked by the operator", json: JsonOption = False) -> None:
    """Send it again with a higher price, at the same nonce."""
    _ask("tx.bump", tx, reason, as_json=json)


@app.command(epilog="Example:\n\n  cambist tx cancel 17")
def cancel(
    tx: TxArgument, reason: ReasonOption = "asked by the operator", yes: YesOption = False, json: JsonOption = False
) -> None:
    """Close its nonce by an empty transaction of the wallet to itself. This is not taken back."""
    _confirm(f"Give transaction {tx} up and close its nonce?", yes=yes)
    _ask("tx.cancel", tx, reason, as_json=json)


@app.command(epilog="Example:\n\n  cambist tx reject withdrawal:7")
def reject(
    named: Annotated[str, typer.Argument(help="order:ID, withdrawal:ID, or a plan's id.")],
    reason: ReasonOption = "asked by the operator",
    yes: YesOption = False,
    json: JsonOption = False,
) -> None:
    """Give up an order or withdrawal that waits in its wallet's queue, say for gas. What has a nonce is not touched."""
    _confirm(f"Reject {named}?", yes=yes)
    answer = act(settings_of_host(), "tx.reject", {"named": named, "reason": reason}, doing="rejecting")
    if json:
        print_json(answer)
        return
    stdout().print(f"rejected {answer['plan']}", markup=False)


@app.command(
    epilog="Examples:\n\n  cambist tx resolve ethereum main\n\n  cambist tx resolve ethereum main --next-nonce 18 --yes"
)
def resolve(
    chain: Annotated[str, typer.Argument(help="The chain on which the wallet is held.")],
    wallet: Annotated[str, typer.Argument(help="The wallet, by label or address.")],
    next_nonce: Annotated[
        int | None, typer.Option(help="The chain's next nonce, where somebody else used some of the wallet's.", min=0)
    ] = None,
    yes: YesOption = False,
    json: JsonOption = False,
) -> None:
    """Let a held wallet take new work again, after you found out why it was held."""
    settings = settings_of_host()
    found = act(settings, "tx.list", {"chain": chain, "wallet": wallet, "limit": 200}, doing="looking at the wallet")
    address = act(settings, "wallet.list", {}, doing="looking at the wallet")["wallets"]
    named = {one["address"] for one in address if wallet == one["label"] or wallet.lower() == one["address"].lower()}
    held = next((lane for lane in found["held"] if lane["chain"] == chain and lane["wallet"] in named), None)
    if held is None:
        raise CommandFailed("not_held", f"{wallet} is not held on {chain}", hint="cambist tx list")
    stderr().print(f"{wallet} on {chain} is held: {held['hold_reason']}", markup=False)
    _confirm("Have you found out why, and shall it take new work again?", yes=yes)
    params = {"chain": chain, "wallet": wallet, "hold_reason": held["hold_reason"], "next_nonce": next_nonce}
    answer = act(settings, "tx.resolve", params, doing="releasing the wallet")
    if json:
        print_json(answer)
        return
    stderr().print(f"{wallet} takes new work on {chain} from nonce {answer['next_nonce']} on", markup=False)


@app.command(epilog="Example:\n\n  cambist tx thaw ethereum")
def thaw(
    chain: Annotated[str, typer.Argument(help="The chain that is frozen.")],
    yes: YesOption = False,
    json: JsonOption = False,
) -> None:
    """Go on with a frozen chain as it is now, after you found out why and compared it with other nodes."""
    settings = settings_of_host()
    found = act(settings, "tx.list", {"chain": chain, "limit": 1}, doing="looking at the chain")
    frozen = next((one for one in found["frozen"] if one["chain"] == chain), None)
    if frozen is None:
        raise CommandFailed("not_frozen", f"{chain} is not frozen", hint="cambist tx list")
    stderr().print(f"{chain} is frozen: {frozen['freeze_reason']}", markup=False)
    _confirm("Have you found out why, and is the chain that its nodes show now the right one?", yes=yes)
    answer = act(settings, "tx.thaw", {"chain": chain, "freeze_reason": frozen["freeze_reason"]}, doing="thawing")
    if json:
        print_json(answer)
        return
    stderr().print(f"{chain} is followed again; compare its wallets' books with the chain", markup=False)


def _ask(name: str, tx: int, reason: str, *, as_json: bool) -> None:
    answer = act(settings_of_host(), name, {"tx": tx, "reason": reason}, doing="asking")
    if as_json:
        print_json(answer)
        return
    told = "asked for" if answer["is_new"] else "had been asked for before"
    stderr().print(f"{answer['asked']} of transaction {tx}: {told}; see cambist tx show {tx}", markup=False)


def _confirm(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not stderr().is_terminal:
        raise CommandFailed("confirmation_needed", question, hint="Without a terminal: --yes", status=ExitStatus.USAGE)
    if not typer.confirm(question, err=True):
        raise CommandFailed("not_confirmed", "nothing was done")


def _head(story: dict[str, Any]) -> dict[str, str]:
    fields = {"wallet": f"{story['wallet']} on {story['chain']}"}
    if (by := story["asked_by"]) is not None:
        what = " ".join(str(by[name]) for name in ("market", "side", "type", "asset") if by.get(name))
        fields["asked by"] = f"{by['kind']} {by['id']} ({by['client_id']}), key {by['key_id']}"
        fields["what"] = what
        fields["stands"] = by["state"] + (f": {by['reason']}" if by["reason"] else "")
    if (lane := story["lane"]) is not None and lane["hold_reason"]:
        fields["wallet is held"] = lane["hold_reason"]
    return fields


def _lines(story: dict[str, Any]) -> Iterator[str]:
    """The story in order of time within each step."""
    yield f"{moment(story['created_ms'])}  accepted"
    for step in story["steps"]:
        value = f", {step['value_wei']} wei" if step["value_wei"] != "0" else ""
        yield f"\nstep {step['step']}: {step['data_bytes']} bytes to {step['to']}{value}: {step['state']}"
        if step["reason"]:
            yield f"  rejected: {step['reason']}"
        for tx in step["transactions"]:
            yield f"  {moment(tx['created_ms'])}  took nonce {tx['nonce']} (tx {tx['tx']}, gas limit {tx['gas_limit']})"
            for attempt in tx["attempts"]:
                yield from _attempt_lines(attempt)
            yield f"  {moment(tx['updated_ms'])}  {_stands(tx)}"
            if tx["wish"]:
                yield f"    asked: {tx['wish']}: {tx['wish_reason']}"
            if tx["note"]:
                yield f"    note: {tx['note']}"


def _attempt_lines(attempt: dict[str, Any]) -> Iterator[str]:
    fees = f"up to {_gwei(attempt['max_fee_wei'])} gwei, tip {_gwei(attempt['priority_fee_wei'])}"
    yield f"  {moment(attempt['created_ms'])}  signed {attempt['kind']} {attempt['hash']} ({fees}): {attempt['state']}"
    if attempt["sent_ms"] is not None:
        yield f"  {moment(attempt['sent_ms'])}  sent last"
    if attempt["node_answer"]:
        yield f"    a node said: {attempt['node_answer']}"


def _stands(tx: dict[str, Any]) -> str:
    if tx["block"] is None:
        return str(tx["state"])
    return f"{tx['state']}, {tx['outcome']}, in block {tx['block']['number']} by {tx['mined_hash']}"


def _gwei(wei: str) -> str:
    whole, rest = divmod(int(wei), 10**9)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".")


def _short(address: str) -> str:
    return f"{address[:8]}…{address[-4:]}"
