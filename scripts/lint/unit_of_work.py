"""A unit of work is a synchronous function of a connection: nothing in it can await the network.

The incident behind it: a payment call inside an open database transaction holds the write lock for as long as the
network likes, and after a rollback the payment has happened all the same. So no coroutine takes a `Connection`, none
is given to `db.run` or `db.read`, and no function of a connection starts an event loop to get around that.
"""

import ast
from collections.abc import Iterator
from typing import Final

from scripts.lint.finding import Finding

PACKAGES: Final = ("chains", "contracts", "service")
_RUNNERS: Final = frozenset({"run", "read"})
_LOOPS: Final = frozenset({"run_until_complete", "run_coroutine_threadsafe", "new_event_loop", "run_sync"})

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def check(tree: ast.Module) -> Iterator[Finding]:
    """Findings of this rule."""
    coroutines = {node.name for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef)}
    for node in ast.walk(tree):
        if isinstance(node, _Function) and _takes_connection(node):
            yield from _in_work(node)
        elif isinstance(node, ast.Call) and _is_runner(node.func):
            for argument in node.args[:1]:
                if isinstance(argument, ast.Name | ast.Attribute) and _name(argument) in coroutines:
                    yield Finding(line=node.lineno, message=f"{_name(argument)} is a coroutine, not a unit of work")
                elif isinstance(argument, ast.Lambda):
                    yield from _loops(argument)


def _in_work(function: _Function) -> Iterator[Finding]:
    if isinstance(function, ast.AsyncFunctionDef):
        yield Finding(line=function.lineno, message=f"{function.name} takes a Connection: it must not be async")
    for statement in function.body:
        for node in ast.walk(statement):
            if isinstance(node, ast.AsyncFunctionDef):
                yield Finding(line=node.lineno, message=f"a coroutine inside the unit of work {function.name}")
        yield from _loops(statement)


def _loops(within: ast.AST) -> Iterator[Finding]:
    for node in ast.walk(within):
        if isinstance(node, ast.Call) and (_name(node.func) in _LOOPS or _is_asyncio_run(node.func)):
            yield Finding(line=node.lineno, message="an event loop inside a unit of work")


def _takes_connection(function: _Function) -> bool:
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return any(argument.annotation is not None and _name(argument.annotation) == "Connection" for argument in every)


def _is_runner(func: ast.expr) -> bool:
    """`db.run`, `self.db.read`, `services.db.run`, `uow.run`."""
    return isinstance(func, ast.Attribute) and func.attr in _RUNNERS and _name(func.value).lstrip("_") in ("db", "uow")


def _is_asyncio_run(func: ast.expr) -> bool:
    return isinstance(func, ast.Attribute) and func.attr == "run" and _name(func.value) == "asyncio"


def _name(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.Constant(value=str(name)):
            return name
        case _:
            return ""
