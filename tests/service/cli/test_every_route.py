"""What a client can ask for over HTTP it can ask for on the command line: each route has a command, or a reason."""

from pathlib import Path
from typing import Final

import pytest
import typer.main

from service.app import OPENAPI_PATH
from service.cli.commands import app
from tests.service.api import api

COMMANDS: Final[dict[tuple[str, str], str]] = {
    ("GET", "/v1/time"): "ping",
    ("GET", "/v1/chains"): "chains",
    ("GET", "/v1/{chain}/assets"): "market assets",
    ("GET", "/v1/{chain}/markets"): "market list",
    ("GET", "/v1/{chain}/ticker"): "market ticker",
    ("GET", "/v1/{chain}/depth"): "market depth",
    ("GET", "/v1/{chain}/candles"): "market candles",
    ("GET", "/v1/{chain}/trades"): "market trades",
    ("GET", "/v1/{chain}/pools"): "market pools",
    ("GET", "/v1/{chain}/routes"): "market routes",
    ("GET", "/v1/{chain}/quote"): "quote",
    ("POST", "/v1/{chain}/contracts/call"): "contract read",
    ("GET", "/v1/key"): "this-key show",
    ("POST", "/v1/key/check"): "this-key check order",
    ("GET", "/v1/{chain}/balances"): "balances",
    ("GET", "/v1/{chain}/deposit-address"): "deposit-address",
    ("GET", "/v1/{chain}/reconciliation"): "reconciliation",
    ("POST", "/v1/{chain}/orders"): "order place",
    ("POST", "/v1/{chain}/orders/test"): "order place",
    ("POST", "/v1/{chain}/orders/replace"): "order replace",
    ("DELETE", "/v1/{chain}/orders"): "order cancel-all",
    ("GET", "/v1/orders"): "order list",
    ("GET", "/v1/orders/{order_id}"): "order show",
    ("DELETE", "/v1/orders/{order_id}"): "order cancel",
    ("DELETE", "/v1/orders/by-client-id/{client_order_id}"): "order cancel",
    ("GET", "/v1/fills"): "order fills",
    ("POST", "/v1/{chain}/withdrawals"): "withdraw",
    ("POST", "/v1/{chain}/withdrawals/estimate"): "withdraw",
    ("GET", "/v1/withdrawals"): "withdrawal list",
    ("GET", "/v1/withdrawals/{withdrawal_id}"): "withdrawal show",
    ("DELETE", "/v1/withdrawals/{withdrawal_id}"): "withdrawal cancel",
    ("POST", "/v1/{chain}/wrap"): "wrap",
    ("POST", "/v1/{chain}/unwrap"): "unwrap",
    ("GET", "/v1/{chain}/allowances"): "allowance list",
    ("POST", "/v1/{chain}/allowances/revoke"): "allowance revoke",
    ("POST", "/v1/{chain}/transactions"): "transaction call",
    ("POST", "/v1/{chain}/transactions/test"): "transaction call",
    ("GET", "/v1/transactions"): "transaction list",
    ("GET", "/v1/transactions/{transaction_id}"): "transaction show",
    ("GET", "/v1/approvals"): "approval list",
    ("GET", "/v1/approvals/{withdrawal_id}"): "approval show",
    ("POST", "/v1/approvals/{withdrawal_id}/approve"): "approval approve",
    ("POST", "/v1/approvals/{withdrawal_id}/reject"): "approval reject",
    ("GET", "/v1/approval-policy"): "approval policy",
    ("PUT", "/v1/approval-policy"): "approval policy",
    ("POST", "/v1/auth/register"): "register",
    ("POST", "/v1/auth/sign-in"): "sign-in",
    ("POST", "/v1/auth/sign-out"): "sign-out",
    ("GET", "/v1/auth/me"): "whoami",
    ("POST", "/v1/auth/password"): "password",
    ("GET", "/v1/auth/sessions"): "sessions list",
    ("DELETE", "/v1/auth/sessions"): "sessions end",
    ("DELETE", "/v1/auth/sessions/{session_id}"): "sessions end",
    ("POST", "/v1/auth/totp"): "totp enrol",
    ("POST", "/v1/auth/totp/confirm"): "totp confirm",
    ("POST", "/v1/auth/recovery-codes"): "totp recovery-codes",
    ("POST", "/v1/keys"): "my-key create",
    ("GET", "/v1/keys"): "my-key list",
    ("GET", "/v1/keys/{key_id}"): "my-key show",
    ("PATCH", "/v1/keys/{key_id}"): "my-key change",
    ("DELETE", "/v1/keys/{key_id}"): "my-key revoke",
    ("POST", "/v1/keys/{key_id}/activate"): "my-key activate",
    ("POST", "/v1/keys/{key_id}/rotate"): "my-key rotate",
    ("GET", "/v1/members"): "member list",
    ("POST", "/v1/members"): "member add",
    ("PATCH", "/v1/members/{user_id}"): "member role",
    ("DELETE", "/v1/members/{user_id}"): "member remove",
    ("POST", "/v1/invitations"): "member invite",
    ("DELETE", "/v1/invitations/{invitation_id}"): "member uninvite",
    ("POST", "/v1/memberships"): "member join",
    ("GET", "/v1/addresses"): "my-address list",
    ("POST", "/v1/addresses"): "my-address add",
    ("PATCH", "/v1/addresses/{entry_id}"): "my-address rename",
    ("DELETE", "/v1/addresses/{entry_id}"): "my-address remove",
    ("PUT", "/v1/address-cooling"): "my-address cooling",
    ("GET", "/v1/audit"): "my-audit",
}
WITHOUT: Final[dict[tuple[str, str], str]] = {
    ("GET", "/livez"): "for supervisors and load balancers",
    ("GET", "/readyz"): "the same; on the host `cambist status` says it",
    ("GET", "/v1/ping"): "for clients that keep a connection warm; `cambist ping` asks for the time, which says more",
}


async def test_every_route_has_a_command_or_a_reason_why_not(tmp_path: Path) -> None:
    async with api(tmp_path) as service:
        page = (await service.ask("GET", OPENAPI_PATH)).json()
    routes = {(method.upper(), path) for path, operations in page["paths"].items() for method in operations}
    assert routes == COMMANDS.keys() | WITHOUT.keys()
    assert not COMMANDS.keys() & WITHOUT.keys()


@pytest.mark.parametrize("words", sorted(set(COMMANDS.values())))
def test_the_command_of_a_route_is_there_and_has_an_example_in_its_help(words: str) -> None:
    found = typer.main.get_command(app)
    for word in words.split():
        found = getattr(found, "commands", {})[word]
    assert f"cambist {words}" in " ".join((found.epilog or "").split())
    assert found.help
