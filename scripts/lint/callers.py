"""Every route names its caller: one parameter whose type says who may use it, so that a public route is visibly so.

The incident behind it, in many services: a permission checked in the body of the handler, and a new handler copied
from one that had none. The app refuses to start with such a route, too; here it shows before anything runs.
"""

import ast
from collections.abc import Iterator
from typing import Final

from scripts.lint.finding import Finding

PACKAGES: Final = ("service",)
CALLERS: Final = frozenset(
    {"PublicCaller", "ReadCaller", "TradeCaller", "WithdrawCaller", "KeyCaller", "PersonCaller", "EitherCaller"}
)
_METHODS: Final = frozenset({"get", "post", "put", "patch", "delete", "head", "options", "api_route", "websocket"})


def check(tree: ast.Module) -> Iterator[Finding]:
    """Findings of this rule."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and any(map(_is_route, node.decorator_list)):
            arguments = node.args
            every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            named = [argument for argument in every if _type(argument) in CALLERS]
            if len(named) != 1:
                choice = ", ".join(sorted(CALLERS))
                yield Finding(
                    line=node.lineno, message=f"route {node.name} names {len(named)} callers: exactly one of {choice}"
                )


def _is_route(decorator: ast.expr) -> bool:
    """`@router.get(...)`, `@app.post(...)`: a method of something that ends in router, app or api."""
    match decorator:
        case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr=method)):
            return method in _METHODS and owner.endswith(("router", "app", "api"))
        case _:
            return False


def _type(argument: ast.arg) -> str:
    match argument.annotation:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.Constant(value=str(name)):
            return name
        case _:
            return ""
