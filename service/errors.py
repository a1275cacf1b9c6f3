"""The errors of the API: one table from a stable code to a status, a title and what to do; `ApiError` carries one.

Guarantees: a code that is not in the table cannot be raised; a code keeps its meaning and its status for good. The
table is also `docs/errors.md`, which a test holds equal. Not here: how an error becomes an answer, and which code a
chain's or the database's error gets (`service.problems`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorKind:
    """One row of the table. `hint` says what the client should do."""

    code: str
    status: int
    title: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the audit log alone is told of a refusal, and why: the user (`name:id`) that a request tried to be, or the
    key (its id and account) that had signed it right."""

    reason: str
    user: str | None = None
    key: tuple[str, int] | None = None


class ApiError(Exception):
    """A request was refused, with a code of the table and a message about this one case.

    The message reaches the client: it never carries a secret, an endpoint's address or another account's data.
    """

    def __init__(
        self, code: str, message: str, *, retry_after_s: int | None = None, told: "Told | None" = None
    ) -> None:
        super().__init__(message)
        self.kind: Final = ERRORS[code]
        self.message: Final = message
        self.retry_after_s: Final = retry_after_s
        self.told = told

    @property
    def code(self) -> str:
        return self.kind.code

    @property
    def status(self) -> int:
        return self.kind.status

    @property
    def hint(self) -> str:
        return self.kind.hint


_SIGNING: Final = "See docs/requests.md for how a request is signed."
_AGAIN: Final = "Send the request again in a moment, with a new nonce; keep the client id."

_ROWS: Final = (
    # The request itself.
    ("invalid_request", 422, "The request is not valid", "Correct the named field; the OpenAPI page says its form."),
    ("malformed_http", 400, "This is not an HTTP/1.1 request", "Look at what the client, or a proxy between, sends."),
    ("invalid_json", 400, "The body is not usable JSON", "Send one JSON document, each name once, not nested deeply."),
    ("invalid_query", 400, "The query is not usable", "Give every parameter once, percent-encoded UTF-8."),
    ("invalid_parameters", 400, "The parameters do not go together", "Give the combination that the message names."),
    ("invalid_amount", 400, "The amount is not valid", "Give plain decimal text such as \"0.25\", as a string."),
    ("amount_too_small", 400, "The amount is too small", "Ask for more."),
    ("invalid_address", 400, "The address is not valid", "Give 0x and 40 hex digits with a right EIP-55 checksum."),
    ("invalid_call", 400, "The contract call is not valid", "Check function, ABI and arguments."),
    ("not_found", 404, "There is no such path", "See /v1/openapi.json for all paths."),
    ("method_not_allowed", 405, "The path does not take this method", "Use a method of the Allow header."),
    ("unsupported_media_type", 415, "The body is not JSON", "Send it with Content-Type: application/json."),
    ("body_too_large", 413, "The body is too large", "Send less than the message says."),
    ("headers_too_large", 431, "The headers are too many or too long", "Send only the headers of this API."),
    ("request_timeout", 408, "The body did not arrive in time", "Send the whole request at once."),
    ("host_not_allowed", 421, "The Host header is not one of this service", "Use a name of its allowed hosts."),
    # Who asks.
    ("authentication_required", 401, "The request has no credentials", f"Sign it, or sign in. {_SIGNING}"),
    ("authentication_failed", 401, "Key or signature is wrong", f"Check key id, secret and signed text. {_SIGNING}"),
    ("timestamp_out_of_window", 401, "The timestamp is outside the window", "Set the clock; compare with /v1/time."),
    ("replayed", 401, "The request was seen before", "Sign it again with a fresh nonce; keep the client id."),
    ("key_expired", 401, "The key has expired", "Ask the owner for a new key."),
    ("key_inactive", 401, "The key is not activated", "Its owner activates it with an authenticator's code."),
    ("key_revoked", 401, "The key was revoked", "Ask the owner for a new key."),
    ("ip_not_allowed", 403, "The key may not be used from here", "Use it from a network of its IP allowlist."),
    ("permission_denied", 403, "The key does not have this permission", "Use a key that has it."),
    ("ambiguous_credentials", 400, "More than one kind of credentials", "Send a signature, a token or a cookie."),
    ("credentials_wrong", 401, "Name, password or code is wrong", "Check them; a code works once."),
    ("second_factor_required", 401, "A second factor is needed", "Send `totp`, or one of the recovery codes."),
    ("sign_in_locked", 429, "Too many wrong attempts", "Wait as long as Retry-After says."),
    ("session_ended", 401, "There is no such session, or it has ended", "Sign in again."),
    ("origin_not_allowed", 403, "The request comes from another site", "Use the cookie from this service's pages."),
    ("csrf_failed", 403, "The CSRF token is missing or wrong", "Send the session's `csrf_token` in X-Cambist-CSRF."),
    ("registration_closed", 403, "Registering is not open to everyone", "Ask the operator for an invitation."),
    ("invitation_invalid", 403, "The invitation does not work", "Ask the operator for another one."),
    ("name_taken", 409, "The name is taken", "Choose another one."),
    ("weak_password", 400, "The password is too easy to guess", "Take a longer one; a password manager makes them."),
    ("totp_not_begun", 409, "There is no authenticator to confirm", "Begin with POST /v1/auth/totp."),
    ("totp_required", 403, "The authenticator's code is needed", "Send `totp_code`; set one up: POST /v1/auth/totp."),
    ("totp_code_wrong", 403, "The authenticator's code is wrong", "Send the one shown now; a code works once."),
    ("held", 403, "Held after a change of password or authenticator", "Wait as long as the message says."),
    ("session_not_found", 404, "There is no such session", "See /v1/auth/sessions."),
    ("account_not_found", 404, "There is no such account", "See /v1/auth/me for those that you have a role in."),
    ("account_required", 400, "Which account is meant is not clear", "Name one of /v1/auth/me as `account`."),
    ("role_denied", 403, "Your role in the account does not allow this", "Ask an owner, or wait as the message says."),
    ("user_not_found", 404, "There is no such user", "Invite them: POST /v1/invitations."),
    ("member_not_found", 404, "The account has no such member", "See /v1/members."),
    ("member_exists", 409, "The user has a role in the account", "Change it: PATCH /v1/members/{user_id}."),
    ("last_owner", 409, "The account would have no owner", "Make somebody else an owner, a day before."),
    ("invitation_not_found", 404, "There is no such invitation", "See /v1/members."),
    ("entry_not_found", 404, "The address book has no such entry", "See /v1/addresses."),
    ("entry_exists", 409, "The address book has this already", "Remove or rename the entry of the message."),
    ("looks_alike", 409, "The address looks like another one", "Compare all of it; then `accept_look_alike`: true."),
    ("too_many", 409, "There are as many as there may be", "Remove one that is not needed."),
    ("key_not_found", 404, "There is no such key", "See /v1/keys for the keys of the account."),
    ("invalid_key", 400, "This would not be a safe key", "Ask for what the message says."),
    ("label_taken", 409, "A key of the account has this label", "Choose another label."),
    ("key_not_waiting", 409, "The key does not wait to be activated", "See its `state`; create another if it ended."),
    ("key_ended", 409, "The key has ended, and nothing brings it back", "Make another one."),
    ("too_many_keys", 409, "The account has as many keys as it may", "Revoke those that are not used."),
    ("wallet_not_found", 404, "There is no such wallet", "Give label or address of a wallet of the account."),
    ("key_restricted", 403, "The key is not for this", "Use another chain, asset or market, or a key that is for it."),
    ("key_limit_reached", 403, "A limit of the key is reached", "Ask for less, or wait until the next day (UTC)."),
    ("limit_price_unknown", 503, "What it is worth for a limit in USD is not known", "Wait until a feed says it."),
    ("rate_limited", 429, "Too many requests", "Wait as long as Retry-After says."),
    ("too_many_orders", 429, "Too many orders of this account", "Wait as long as Retry-After says."),
    ("banned", 429, "Went on sending after too many requests", "Send nothing until Retry-After; then less."),
    ("busy", 503, "The service has too much to do", _AGAIN),
    # What is asked about.
    ("unknown_chain", 404, "There is no such chain", "See /v1/chains."),
    ("unknown_asset", 404, "The asset is not listed", "See /v1/{chain}/assets."),
    ("unknown_market", 404, "There is no such market", "See /v1/{chain}/markets."),
    ("unknown_block", 404, "There is no such block", "Give a block number as text, a hash, or none for the head."),
    ("order_not_found", 404, "There is no such order", "See /v1/orders for the orders of this key's wallet."),
    ("withdrawal_not_found", 404, "There is no such withdrawal", "See /v1/withdrawals for those of this key's wallet."),
    (
        "transaction_not_found",
        404,
        "There is no such transaction",
        "See /v1/transactions for those of this key's wallet.",
    ),
    ("chain_not_active", 503, "The chain is known but not configured here", "The operator gives it an RPC endpoint."),
    ("contract_reverted", 400, "The contract reverted", "Check arguments and block; the message has its reason."),
    ("undecodable_result", 400, "The contract's answer does not fit its ABI", "Check address and ABI."),
    ("result_too_large", 400, "The contract's answer is too large", "Ask for less at once."),
    # Orders and withdrawals.
    ("unsupported_pair", 400, "The two assets are not a trade", "See /v1/{chain}/markets for what trades."),
    ("invalid_price", 400, "The price is not valid", "Give plain decimal text such as \"2998.4\", as a string."),
    ("price_not_on_tick", 400, "The price is not on the market's tick", "See `tick` in /v1/{chain}/markets."),
    ("amount_not_on_step", 400, "The amount is not on the market's step", "See `step` in /v1/{chain}/markets."),
    ("price_outside_band", 409, "The price is too far from the market's", "Give a price within the band."),
    ("would_take", 409, "The order would trade at once", "Give a better price, or send a limit order."),
    ("would_trigger", 409, "The stop price is reached already", "Give another stop price, or send a limit order."),
    ("too_many_open_orders", 409, "As many orders are open as there may be", "Cancel some, or wait until they end."),
    ("order_being_executed", 409, "The order is being executed on the chain", "Look at it again; the chain decides."),
    ("order_not_open", 409, "The order has ended already", "Look at its `state`."),
    ("slippage_too_high", 400, "The slippage is over the bound", "Give less slippage."),
    ("price_impact_too_high", 409, "The trade would move the price too far", "Trade less, or in parts."),
    ("price_deviates", 409, "The pools' price is too far from a second opinion", "Wait until they agree."),
    ("no_second_opinion", 409, "Nothing confirms the pools' price", "Choose a market with a feed or a V3 pool."),
    ("stale_price_source", 503, "What would confirm the price is out of date", "Wait for the feed's next answer."),
    ("stale_market", 503, "The pools' state is too old to trade on", _AGAIN),
    ("no_route", 409, "No pool connects the two assets", "Choose another market."),
    ("no_liquidity", 409, "The pools cannot fill this amount", "Trade less."),
    ("not_deployed", 409, "A contract that is needed is not on this chain", "Choose another chain or market."),
    ("insufficient_balance", 409, "Not enough of the asset is free", "Ask for less, or wait for what is in progress."),
    ("insufficient_gas", 409, "Not enough of the native asset is free", "Leave enough of it for gas, or send some in."),
    ("taxed_transfer", 409, "Less would arrive than the pools pay out", "The token taxes transfers: do not trade it."),
    ("would_revert", 409, "The transaction would fail on the chain", "The message has the reason; nothing was sent."),
    ("transfer_too_costly", 409, "Receiving takes too much gas", "Give another address: this contract is not for it."),
    ("already_sent", 409, "The withdrawal was sent", "Ask with if_sent=self_send; what is mined decides."),
    ("already_ended", 409, "The withdrawal has ended", "Look at its state."),
    ("approval_not_found", 404, "There is no such approval", "See /v1/approvals."),
    ("approval_closed", 409, "Nobody decides about this any more", "Look at the withdrawal's state."),
    ("approval_differs", 409, "This is not what was seen", "Look at the approval again, and decide on what it says."),
    ("approval_required", 403, "A second person would have to approve it", "Ask for less; contract calls have none."),
    ("own_request", 403, "Somebody else has to decide about this", "Another owner or approver of the account decides."),
    ("conflict_client_id", 409, "The client id was used for something else", "Take a new client id."),
    ("destination_unsafe", 400, "The destination would lose the coins", "Give the address of a wallet."),
    ("call_cooling", 403, "What the key may call cools still", "Wait until the time that the message says."),
    ("call_not_allowed", 403, "The key may not call this", "Ask the owner for a key whose calls list it."),
    ("call_refused", 403, "Nobody may call this", "Use an order, a withdrawal, a wrap or a revocation for it."),
    ("out_too_large", 409, "More would leave than is declared", "Declare more in `max_out` if that is what you want."),
    ("allowance_in_use", 409, "An open order needs the allowance", "Wait until the order has ended, or cancel it."),
    ("allowance_is_zero", 409, "There is no allowance to revoke", "See /v1/{chain}/allowances."),
    ("simulation_unavailable", 503, "The chain's node cannot simulate", "The operator configures one that can."),
    ("destination_not_allowed", 403, "The key does not reach the destination", "Ask the owner to add it."),
    ("destination_cooling", 403, "The destination is new in the address book", "Wait as long as the message says."),
    # What is behind the service.
    ("balance_unknown", 503, "A balance cannot be read now", _AGAIN),
    ("fees_too_high", 503, "Network fees are over the configured cap", "Wait until they fall."),
    ("feed_unusable", 503, "A price feed has no valid answer", _AGAIN),
    ("history_not_ready", 503, "The market's history is not read yet", "Ask again in a moment; a worker reads it."),
    ("node_unavailable", 503, "The chain's node does not answer", _AGAIN),
    ("node_failed", 502, "The chain's node gave no usable answer", _AGAIN),
    ("signer_unavailable", 503, "The wallet's key is not at hand", "The operator unlocks the wallet."),
    (
        "wallet_held",
        503,
        "The wallet takes no new work until a person has looked",
        "Nothing was accepted. The operator sees why (`cambist tx list`) and lets it go on (`cambist tx resolve`).",
    ),
    (
        "chain_frozen",
        503,
        "The chain did what it must not, and waits for a person",
        "Nothing was accepted. The operator sees why (`cambist tx list`) and lets it go on (`cambist tx thaw`).",
    ),
    ("paused", 503, "The operator has paused this", "Nothing was accepted. Wait until the operator lets it go on."),
    ("try_again", 503, "Another request was in the way", _AGAIN),
    ("not_saved", 503, "The request could not be saved; nothing happened", _AGAIN),
    ("outcome_unknown", 504, "Whether the request was saved is not known", "Look for its client id, then repeat."),
    ("shutting_down", 503, "The service is stopping", _AGAIN),
    ("record_tampered", 500, "A stored record fails its integrity check", "The operator looks into the database."),
    ("internal_error", 500, "Something went wrong in the service", "Tell the operator the instance of this answer."),
)  # fmt: skip

ERRORS: Final[Mapping[str, ErrorKind]] = MappingProxyType(
    {code: ErrorKind(code=code, status=status, title=title, hint=hint) for code, status, title, hint in _ROWS}
)


def as_markdown() -> str:
    """The text of `docs/errors.md`."""
    lines = [
        "# Errors",
        "",
        "Every refusal is a problem document (RFC 9457, `application/problem+json`): `type`, `title`, `status`,",
        "`code`, `detail` (what is wrong with this request), `hint` (what to do) and `instance` (for the operator's",
        "log). Programs look at `code`: a code keeps its meaning and its status. `invalid_request` adds `errors`, one",
        "entry a field. Written by `python -m scripts.error_docs`.",
        "",
        "| code | status | meaning | what to do |",
        "|---|---|---|---|",
    ]
    lines += [f"| `{kind.code}` | {kind.status} | {kind.title} | {kind.hint} |" for kind in ERRORS.values()]
    return "\n".join(lines) + "\n"
