"""Structured logs on standard error, ours and the libraries'.

Guarantees: values under secret-sounding names, and everything of a URL after its host, are masked; no traceback
shows local variables; the libraries that print addresses or bodies at DEBUG never get below WARNING.
Not guaranteed: that a secret put into a sentence is found. Errors and log lines are written without them.
"""

import logging
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from service.settings import Settings

MASK: Final = "**********"
_QUIET: Final = ("web3", "aiohttp", "asyncio", "urllib3", "httpx", "httpcore", "sqlalchemy", "alembic", "aiosqlite")
_SECRET_NAME: Final = re.compile(
    r"secret|password|passphrase|mnemonic|seed|private|signature|authorization|cookie|credential|sealed|token$"
    r"|api_?key$|master_?key$|rpc(_url)?$|dsn$|^raw(_tx)?$|signed_raw",
    re.I,
)
_SAID: Final = re.compile(
    r"((?:secret|password|passphrase|mnemonic|private_?key|authorization|api_?key|x-cambist-signature)"
    r"[\"']?\s*[:=]\s*[\"']?)(?:(?:bearer|basic)\s+)?[^\s\"',}]+",
    re.I,
)
"""A library's sentence with headers or settings in it."""
_URL: Final = re.compile(r"\b([a-z][a-z0-9+.-]*://)(?:[^\s/@\"']*@)?([^\s/?#\"']+)[^\s\"']*", re.I)


def configure_logging(settings: Settings, stream: TextIO | None = None) -> None:
    """Set up logging for the process. `stream` is standard error unless given."""
    output = sys.stderr if stream is None else stream
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    renderer: Processor = structlog.processors.JSONRenderer()
    if settings.log_format == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=output.isatty())
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    # Requests are logged by our own edge, without their queries.
    logging.getLogger("uvicorn.access").disabled = True
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True


def redact(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """A structlog processor: the same line without what nobody may read."""
    return {name: _clean(name, value) for name, value in event.items()}


def _clean(name: str, value: Any) -> Any:
    if name.startswith("_"):
        # structlog's own bookkeeping between processors.
        return value
    if _SECRET_NAME.search(name):
        return MASK
    if isinstance(value, str):
        value = _SAID.sub(rf"\1{MASK}", value)
        return _URL.sub(rf"\1\2/{MASK}", value) if _has_more(value) else value
    if isinstance(value, Mapping):
        return {key: _clean(str(key), inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_clean("", inner) for inner in value]
    if isinstance(value, bytes | bytearray):
        return f"<{len(value)} bytes>"
    return value


def _has_more(text: str) -> bool:
    """Whether a URL in it has more than scheme and host."""
    return any(found[0] != found[1] + found[2] for found in _URL.finditer(text))
