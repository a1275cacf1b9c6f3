"""The fingerprint of what a client asked for, by which a repeated client id is told from a conflicting one."""

import hashlib
from collections.abc import Mapping

import orjson


def params_hash(kind: str, params: Mapping[str, str | int | None]) -> str:
    """SHA-256 over the parsed parameters, as `0x` hex.

    Parsed, so that `1.0` and `1` are the same amount. As given, so that a changed default does not turn a repeated
    request into a conflict; what was not given (None) is left out, so that a parameter that a later version adds does
    not either. Integers above 2^53 go in as text.
    """
    document = orjson.dumps(
        {key: str(value) if type(value) is int else value for key, value in params.items() if value is not None},
        option=orjson.OPT_SORT_KEYS,
    )
    return "0x" + hashlib.sha256(b"cambist/params/v1\0" + kind.encode() + b"\0" + document).hexdigest()
