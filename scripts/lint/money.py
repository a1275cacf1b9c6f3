"""Money is int base units: no `/` and no float where a name says that it is money.

The incident behind it: `int((1 - slippage) * price)` in a float loses wei from the 16th digit on, silently, and a `/`
turns two exact ints into such a float, as does a factor like 1.02. Ratios are kept as numerator and denominator;
`chains.units.mul_div` and `mul_div_up` round once, in the direction that is asked for.
"""

import ast
import re
from collections.abc import Iterator
from typing import Final

from scripts.lint.finding import Finding

PACKAGES: Final = ("chains", "contracts", "service")
_MONEY: Final = frozenset(
    {
        *("amount", "amounts", "wei", "raw", "balance", "balances", "allowance", "fee", "fees", "price", "prices"),
        *("sold", "bought", "spend", "liquidity", "reserve", "reserves", "opening", "journal", "held"),
    }
)
_NOT_MONEY: Final = re.compile(r"_(s|ms|us|path|paths|dir|file|name|url|bytes|tx)$|^raw_(path|name|url)")


def check(tree: ast.Module) -> Iterator[Finding]:
    """Findings of this rule."""
    for node in ast.walk(tree):
        match node:
            case ast.BinOp(op=ast.Div(), left=left, right=right) if name := _money_in(left) or _money_in(right):
                yield Finding(line=node.lineno, message=f"`/` on money ({name}): use //, mul_div or mul_div_up")
            case (
                ast.BinOp(left=ast.Constant(value=float()), right=other)
                | ast.BinOp(left=other, right=ast.Constant(value=float()))
            ) if name := _money_in(other):
                yield Finding(line=node.lineno, message=f"a float with money ({name}): use ints and basis points")
            case ast.Assign(targets=[target], value=ast.Constant(value=float())) if name := _money_in(target):
                yield Finding(line=node.lineno, message=f"money as float ({name}): use int base units")
            case ast.AugAssign(op=ast.Div(), target=target, value=value) if name := _money_in(target) or _money_in(
                value
            ):
                yield Finding(line=node.lineno, message=f"`/=` on money ({name}): use //, mul_div or mul_div_up")
            case ast.Call(func=ast.Name(id="float"), args=[argument, *_]) if name := _money_in(argument):
                yield Finding(line=node.lineno, message=f"float() of money ({name}): it loses digits")
            case ast.AnnAssign(target=target, annotation=annotation) if _mentions_float(annotation):
                if name := _money_in(target):
                    yield Finding(line=node.lineno, message=f"money as float ({name}): use int base units")
            case ast.arg(arg=arg, annotation=annotation) if annotation is not None and _mentions_float(annotation):
                if _is_money(arg):
                    yield Finding(line=node.lineno, message=f"money as float ({arg}): use int base units")
            case ast.FunctionDef(name=function, returns=returns) | ast.AsyncFunctionDef(name=function, returns=returns):
                if returns is not None and _mentions_float(returns) and _is_money(function):
                    yield Finding(line=node.lineno, message=f"money as float ({function}): use int base units")
            case _:
                pass


def _money_in(node: ast.expr) -> str | None:
    """A name of money in an arithmetic expression; what is looked up or called with it is another matter."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name if _is_money(name) else None
        case ast.BinOp(left=left, right=right):
            return _money_in(left) or _money_in(right)
        case ast.UnaryOp(operand=operand):
            return _money_in(operand)
        case ast.Subscript(value=value):
            return _money_in(value)
        case ast.Call(args=args):
            return next(filter(None, map(_money_in, args)), None)
        case _:
            return None


def _is_money(name: str) -> bool:
    lowered = name.lower()
    return not _NOT_MONEY.search(lowered) and not _MONEY.isdisjoint(lowered.split("_"))


def _mentions_float(annotation: ast.expr) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "float" for node in ast.walk(annotation))
