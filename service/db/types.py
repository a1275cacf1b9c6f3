"""Column types that keep money and identities exact on both databases.

- `U256`: `int` 0..2^256-1. PostgreSQL `NUMERIC(78,0)`; SQLite 78-digit zero-padded text, since its NUMERIC
  silently turns large values into floats. Never aggregate or compare such a column in SQL.
- `RatioText`: `contracts.ratio.Ratio` as `num/den` in decimal. Not comparable in SQL either.
- `Addr`: `Address` as 20 bytes. `Hash32`: `0x` + 64 hex as 32 bytes. `Json`: compact JSON text.

What is stored and is none of these raises `Misfit` where it is read.
"""

from decimal import Decimal
from typing import Any, Final

import orjson
from sqlalchemy import LargeBinary, Numeric, String, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from chains.types import Address, address_bytes, address_from_bytes
from chains.units import MAX_UINT256
from contracts.ratio import Ratio
from service.db.errors import Misfit

_DIGITS: Final = 78
_RATIO_LENGTH: Final = 2 * _DIGITS + 1
_ADDRESS_BYTES: Final = 20
_HASH_BYTES: Final = 32


class U256(TypeDecorator[int]):
    """An unsigned 256-bit integer. Raises ValueError for anything else, bool and Decimal included."""

    impl = Numeric(_DIGITS, 0)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(String(_DIGITS))
        return dialect.type_descriptor(Numeric(_DIGITS, 0))

    def process_bind_param(self, value: int | None, dialect: Dialect) -> str | Decimal | None:
        if value is None:
            return None
        if type(value) is not int or not 0 <= value <= MAX_UINT256:
            raise ValueError("a U256 column takes an int from 0 to 2^256 - 1")
        return str(value).zfill(_DIGITS) if dialect.name == "sqlite" else Decimal(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:
        if value is None:
            return None
        is_text = type(value) is str and len(value) == _DIGITS and _is_digits(value)
        # NUMERIC has NaN and fractions, too.
        is_number = isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value()
        if not (is_text or is_number):
            raise Misfit("uint256", type(value).__name__)
        found = int(value)
        if not 0 <= found <= MAX_UINT256:
            raise Misfit("uint256", "another number")
        return found


class RatioText(TypeDecorator[Ratio]):
    """An exact price, stored as the decimal text `num/den`."""

    impl = String(_RATIO_LENGTH)
    cache_ok = True

    def process_bind_param(self, value: Ratio | None, dialect: Dialect) -> str | None:
        return None if value is None else f"{value.num}/{value.den}"

    def process_result_value(self, value: Any, dialect: Dialect) -> Ratio | None:
        if value is None:
            return None
        num, _, den = value.partition("/")
        if len(value) > _RATIO_LENGTH or not all(_is_digits(part) and part.strip("0") for part in (num, den)):
            raise Misfit("ratio", "another text")
        return Ratio(num=int(num), den=int(den))


class Addr(TypeDecorator[Address]):
    """A checksummed address, stored as its 20 bytes."""

    impl = LargeBinary(20)
    cache_ok = True

    def process_bind_param(self, value: Address | None, dialect: Dialect) -> bytes | None:
        return None if value is None else address_bytes(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Address | None:
        if value is None:
            return None
        if len(value) != _ADDRESS_BYTES:
            raise Misfit(f"{_ADDRESS_BYTES} bytes", str(len(value)))
        return address_from_bytes(bytes(value))


class Hash32(TypeDecorator[str]):
    """A lower-case `0x` hash, stored as its 32 bytes."""

    impl = LargeBinary(32)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:
        if value is None:
            return None
        raw = bytes.fromhex(value[2:])
        if len(raw) != _HASH_BYTES:
            raise ValueError("a Hash32 column takes 0x followed by 64 hex digits")
        return raw

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        if value is None:
            return None
        if len(value) != _HASH_BYTES:
            raise Misfit(f"{_HASH_BYTES} bytes", str(len(value)))
        return "0x" + bytes(value).hex()


class Json(TypeDecorator[Any]):
    """A JSON document as compact text (orjson). Money in it is decimal or integer text, never a number."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        try:
            return None if value is None else orjson.loads(value)
        except orjson.JSONDecodeError as exc:
            raise Misfit("JSON", "another text") from exc


def _is_digits(text: str) -> bool:
    """Decimal digits and nothing else: `int` alone would also take signs, spaces and underscores."""
    return text.isascii() and text.isdigit()
