"""/metrics: what is on the page, that nothing on it is secret, and that a figure nobody could read is absent."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from service.observability.exporter import metrics_app
from service.observability.metrics import Metrics
from service.observability.scraping import page
from tests.service.api import Api, api

LIVEZ = {"method": "GET", "route": "/livez", "status": "200"}


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Api]:
    async with api(tmp_path) as found:
        yield found


def samples(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every figure of a page, by name and labels; parsed, so that the page is known to be well formed."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


async def test_the_page_is_on_its_own_app_and_nowhere_else(service: Api) -> None:
    transport = httpx.ASGITransport(app=metrics_app(service.services))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        answer = await client.get("/metrics")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain")
        assert samples(answer.content)["cambist_database_up", ()] == 1
        assert (await client.get("/v1/markets")).status_code == 404
        assert (await client.post("/metrics")).status_code == 405
    assert (await service.ask("GET", "/metrics")).status_code == 404


async def test_requests_are_counted_by_route_and_a_path_that_is_none_makes_no_label(service: Api) -> None:
    await service.ask("GET", "/livez")
    await service.ask("GET", "/livez")
    await service.ask("GET", "/nobody/knows/this")
    found = samples(await page(service.services))
    name = "cambist_http_requests_total"
    assert found[name, (("method", "GET"), ("route", "/livez"), ("status", "200"))] == 2
    assert found[name, (("method", "-"), ("route", "-"), ("status", "404"))] == 1
    assert not any("nobody" in value for _, labels in found for _, value in labels)


async def test_figures_of_a_database_that_does_not_answer_are_absent_and_the_page_says_so(service: Api) -> None:
    await service.services.db.close()
    found = samples(await page(service.services))
    assert found["cambist_database_up", ()] == 0
    assert not any(name.startswith("cambist_pending") for name, _ in found)


async def test_a_silent_worker_shows_with_its_seconds(service: Api) -> None:
    service.services.heartbeats.expect("engine-ethereum")
    service.clock.advance_ms(12_500)
    found = samples(await page(service.services))
    assert found["cambist_worker_silent_seconds", (("worker", "engine-ethereum"),)] == 12.5


def test_two_services_in_one_process_count_apart_and_nothing_of_ours_is_global() -> None:
    one, other = Metrics(), Metrics()
    one.requests.labels("GET", "/livez", "200").inc()
    assert one.registry.get_sample_value("cambist_http_requests_total", LIVEZ) == 1
    assert other.registry.get_sample_value("cambist_http_requests_total", LIVEZ) is None
    assert not any(family.name.startswith("cambist") for family in REGISTRY.collect())
