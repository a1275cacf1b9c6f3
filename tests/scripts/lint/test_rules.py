"""Each rule finds its mistake and lets its neighbours pass; the tree has none."""

import ast
from pathlib import Path
from textwrap import dedent
from types import ModuleType

import pytest

from scripts.lint import callers, money, unit_of_work
from scripts.lint.__main__ import findings


def found(rule: ModuleType, source: str) -> list[int]:
    return [finding.line for finding in rule.check(ast.parse(dedent(source)))]


@pytest.mark.parametrize(
    "source",
    [
        "x = amount / 2",
        "x = 1 / price",
        "x = int((1 - slippage) * price / scale)",
        "x = order.base_amount / 10**18",
        "x = balances[asset] / 2",
        "amount_in /= 2",
        "x = float(value_wei)",
        "x = float(-self.raw)",
        "def f(amount: float) -> None: ...",
        "def mid_price() -> float | None: ...",
        "class A:\n    price: 'int' = 0\n    max_fee: float = 0.0",
        "x = min(amount, 3) / 2",
        "x = int(amount * 1.02)",
        "x = 0.997 * reserve_in",
        "amount = 0.5",
    ],
)
def test_floats_and_division_on_money_are_found(source: str) -> None:
    assert len(found(money, source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "x = amount // 2",
        "x = elapsed_ms / 1000",
        "x = directory / raw_path",
        "x = DATA / f'{name}.json'",
        "x = float(timeout_s)",
        "def f(timeout_s: float, amount: int) -> float: ...",
        "x = mul_div_up(amount, 3, 4)",
        "x = drawing / 2",
    ],
)
def test_integers_paths_and_times_pass(source: str) -> None:
    assert found(money, source) == []


@pytest.mark.parametrize(
    "source",
    [
        "async def place(c: Connection) -> None: ...",
        "async def place(order: Order, *, c: sqlalchemy.Connection) -> None: ...",
        "async def work(c): ...\nasync def f(db):\n    await db.run(work)",
        "def place(c: Connection) -> None:\n    asyncio.run(send())",
        "def place(c: Connection) -> None:\n    loop.run_until_complete(send())",
        "def place(c: 'Connection') -> None:\n    async def inner() -> None: ...",
        "async def f(self):\n    await self.db.read(lambda c: asyncio.run(send()))",
    ],
)
def test_awaiting_in_a_unit_of_work_is_found(source: str) -> None:
    assert len(found(unit_of_work, source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "def place(c: Connection) -> None:\n    c.execute(statement)",
        "async def f(db):\n    await client.head()\n    await db.run(lambda c: insert(c, 1))",
        "def work(c): ...\nasync def f(db):\n    await db.run(work)",
        "async def act(): ...\nasync def f(runner):\n    await runner.run(act)",
    ],
)
def test_synchronous_units_of_work_pass(source: str) -> None:
    assert found(unit_of_work, source) == []


@pytest.mark.parametrize(
    "source",
    [
        "@router.get('/x')\nasync def x() -> None: ...",
        "@router.post('/x')\ndef x(body: In, services: Here) -> None: ...",
        "@keys_router.delete('/x')\nasync def x(caller: Caller) -> None: ...",
        "@router.get('/x')\nasync def x(a: ReadCaller, b: TradeCaller) -> None: ...",
        "@app.api_route('/x')\nasync def x() -> None: ...",
    ],
)
def test_a_route_without_exactly_one_caller_is_found(source: str) -> None:
    assert len(found(callers, source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "@router.get('/x')\nasync def x(caller: PublicCaller) -> None: ...",
        "@router.post('/x')\nasync def x(body: In, *, caller: WithdrawCaller) -> None: ...",
        "@cache.get('/x')\ndef x() -> None: ...",
        "def x() -> None: ...",
    ],
)
def test_a_route_with_its_caller_and_other_functions_pass(source: str) -> None:
    assert found(callers, source) == []


def test_a_finding_names_its_file_and_line(tmp_path: Path) -> None:
    for package in ("chains", "contracts", "service"):
        (tmp_path / package).mkdir()
    (tmp_path / "contracts" / "maths.py").write_text("\nx = amount / 2\n")
    (tmp_path / "chains" / "routes.py").write_text("@router.get('/x')\ndef x() -> None: ...\n")
    (only,) = findings(tmp_path)
    assert only.startswith("contracts/maths.py:2: ")
