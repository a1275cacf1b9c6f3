"""Logging for the whole process: structlog and the standard library's loggers through one chain, to standard error.

Guarantees: every line passes `redaction.redact`; libraries that print endpoints' addresses or requests at a lower
level are kept at WARNING even when the service itself logs at debug. Standard output stays the commands' own.
"""

import logging
import sys
from typing import Any, Final

import structlog

from service.observability.redaction import redact, redact_text
from service.settings import Settings

QUIET: Final = (
    "web3",
    "aiohttp",
    "urllib3",
    "httpx",
    "httpcore",
    "asyncio",
    "uvicorn",
    "sqlalchemy",
    "alembic",
    "asyncpg",
)
"""Loggers that stay at WARNING: web3's DEBUG prints an endpoint's address with its key."""


def configure_logging(settings: Settings) -> None:
    """Set up logging once, at the start of the process."""
    configure(level=settings.log_level, form=settings.log_format)


def configure(*, level: str, form: str) -> None:
    """`level` is debug, info, warning or error; `form` is json or console."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        # Before redaction, so that a traceback's text passes through it too.
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_positional_args, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _renderer(form)],
        )
    )
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def _renderer(form: str) -> structlog.typing.Processor:
    if form == "json":
        return structlog.processors.JSONRenderer(sort_keys=True)
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())


def _positional_args(_logger: object, _method: str, event: Any) -> Any:
    """A library's message with its arguments is text by now; its addresses are cut before anything else sees it."""
    event["event"] = redact_text(str(event["event"]))
    return event
