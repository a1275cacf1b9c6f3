"""What holds for every route of the app, whatever it does."""

from collections.abc import Iterator
from inspect import iscoroutinefunction

from fastapi import Depends
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_dependant
from fastapi.routing import APIRoute

from service.app import refuse_unknown_query
from service.routers import ROUTERS


def called(dependant: Dependant) -> Iterator[object]:
    if dependant.call is not None:
        yield dependant.call
    for inner in dependant.dependencies:
        yield from called(inner)


def test_no_route_goes_through_a_thread() -> None:
    """FastAPI has a thread call what is no coroutine function, for more than most routes' own work."""
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    assert routes
    waiting = {one for route in routes for one in called(route.dependant) if not iscoroutinefunction(one)}
    assert not waiting
    assert iscoroutinefunction(refuse_unknown_query)


def test_one_that_would_is_found() -> None:
    def slow() -> None: ...

    async def route(_: None = Depends(slow)) -> None: ...

    assert [one for one in called(get_dependant(path="/", call=route)) if not iscoroutinefunction(one)] == [slow]
