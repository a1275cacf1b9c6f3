"""Reads in rounds, where what is asked next depends on what was answered: described without I/O, driven together.

    plan = reading.load_pool(address, ...)          a generator: yields Calls, is sent their answers, returns a value
    states = await run_plans(client, plans, ...)    all plans' rounds share multicalls at one block

Guarantees: every answer of all plans is of `block`; a plan sees its own answers only, in its order; node calls are
those of the longest plan's rounds, each split by `multicall.CALLS_PER_REQUEST`. A plan that raises ends the run with
its error. Not guaranteed: fairness; a plan that asks for thousands of words makes its round longer for all.
"""

from collections.abc import Generator, Sequence
from typing import Any, TypeVar

from chains.types import Address, BlockRef
from contracts.call import Call, ContractReader
from contracts.multicall import Ok, Reverted, aggregate

T = TypeVar("T")
Answers = Sequence[Ok[Any] | Reverted]
Plan = Generator[Sequence[Call[Any]], Answers, T]


async def run_plans(
    client: ContractReader, plans: Sequence[Plan[T]], *, multicall: Address, block: BlockRef
) -> list[T]:
    """What each plan returned, in order.

    Raises:
        UndecodableReturn: the answer is not Multicall3's; anything that a plan raises.
    """
    results: dict[int, T] = {}
    asked: dict[int, Sequence[Call[Any]]] = {}
    for index, plan in enumerate(plans):
        _step(plan, None, index=index, asked=asked, results=results)
    while asked:
        calls = [call for wanted in asked.values() for call in wanted]
        answers = await aggregate(client, calls, multicall=multicall, block=block)
        taken, waiting, asked = 0, asked, {}
        for index, wanted in waiting.items():
            mine = answers[taken : taken + len(wanted)]
            taken += len(wanted)
            _step(plans[index], mine, index=index, asked=asked, results=results)
    return [results[index] for index in range(len(plans))]


def _step(
    plan: Plan[T], answers: Answers | None, *, index: int, asked: dict[int, Sequence[Call[Any]]], results: dict[int, T]
) -> None:
    try:
        asked[index] = next(plan) if answers is None else plan.send(answers)
    except StopIteration as done:
        results[index] = done.value
