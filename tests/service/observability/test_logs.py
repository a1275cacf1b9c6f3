"""Logs: structured, and without secrets."""

import io
import json
import logging
from typing import Any

import pytest
import structlog

from service.observability.logs import MASK, configure_logging, redact
from service.settings import Settings

CANARY = "canary-5b1e"


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_json_with_its_level_time_and_context() -> None:
    stream = io.StringIO()
    configure_logging(Settings(), stream)
    with structlog.contextvars.bound_contextvars(request_id="r1"):
        structlog.get_logger("cambist.test").info("hello", block=5)
        structlog.get_logger("cambist.test").debug("not shown")
    (line,) = lines(stream)
    assert (line["event"], line["block"], line["level"], line["request_id"]) == ("hello", 5, "info", "r1")
    assert line["timestamp"].endswith("Z")
    assert line["logger"] == "cambist.test"


@pytest.mark.parametrize(
    "value",
    [
        {"keystore_password": CANARY},
        {"nested": {"Authorization": CANARY}},
        {"list": [{"hmac_secret": CANARY}]},
        {"reason": f"cannot reach https://node.example/v3/{CANARY}"},
        {"reason": f"cannot reach postgresql://user:{CANARY}@host/db"},
        {"reason": f"cannot reach https://node.example?key={CANARY}, sorry"},
        {"raw": CANARY.encode()},
        {"raw": f"0x{CANARY}"},
        {"api_key": CANARY},
        {"rpc_url": CANARY},
        {"reason": f"headers {{'Authorization': 'Bearer {CANARY}', 'a': 1}}"},
        {"reason": f"password={CANARY} was wrong"},
    ],
)
def test_secrets_and_the_rest_of_urls_are_masked(value: dict[str, Any]) -> None:
    assert CANARY not in repr(redact(None, "info", value))


def test_what_is_no_secret_stays() -> None:
    event = {"event": "at https://node.example now", "tx_hash": "0x" + "ab" * 32, "key": "ck_1", "count": 3}
    assert redact(None, "info", event) == event
    assert redact(None, "info", {"seed": 1}) == {"seed": MASK}


def test_lines_of_libraries_pass_the_same_way_and_their_debug_is_off() -> None:
    stream = io.StringIO()
    configure_logging(Settings(log_level="debug"), stream)
    logging.getLogger("web3.RequestManager").debug("sending %s", CANARY)
    logging.getLogger("uvicorn.error").warning("to https://x.example/%s", CANARY)
    (line,) = lines(stream)
    assert line["event"] == f"to https://x.example/{MASK}"


def test_a_traceback_shows_no_local_variables() -> None:
    for log_format in ("json", "console"):
        stream = io.StringIO()
        configure_logging(Settings(log_format=log_format), stream)

        def fail() -> None:
            password = CANARY
            raise LookupError(str(len(password)))

        try:
            fail()
        except LookupError:
            structlog.get_logger().exception("failed")
        assert "LookupError" in stream.getvalue()
        assert CANARY not in stream.getvalue()
