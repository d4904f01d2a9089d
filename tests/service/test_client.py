"""The Python client against real services, and against servers that fail in ways a service does not."""

import asyncio
import inspect
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from pydantic import BaseModel

from radsearch import client as package
from radsearch.client import (
    AsyncClient,
    BadAnswerError,
    Client,
    ForbiddenError,
    InvalidRequestError,
    OverloadedError,
    Problem,
    SearchAnswer,
    UnauthorizedError,
    UnavailableError,
    answers,
    calls,
)
from service.keys import Scope, add_key
from tests.service.scripted import answering

PAGE = Path(__file__).parents[2] / "docs" / "client.md"
GENEROUS_S = 30.0


@pytest.fixture
def client(running: Any) -> Iterator[Client]:
    with Client(running.url) as client:
        yield client


def test_a_search_is_what_the_service_answers(client: Client, running: Any) -> None:
    options: dict[str, Any] = {"k": 5, "user_id": "ada", "filters": {"price": {"lte": 60}}}
    answer = client.search("red running shoes", **options, explain=True)
    raw = running.search("red running shoes", **options, explain=True)
    mine = answer.model_dump(mode="json")
    assert [item["item_id"] for item in raw["items"]] == [item.item_id for item in answer.items]
    for theirs_alone in ("request_id", "timings_ms", "cached"):
        del raw[theirs_alone], mine[theirs_alone]
    assert mine == raw


def test_a_batch_holds_answers_and_problems(client: Client) -> None:
    good, bad = client.search_batch([{"query": "red", "k": 2}, {"query": "blue", "timeout_ms": 1}])
    assert isinstance(good, SearchAnswer)
    assert good.returned == 2
    if isinstance(bad, Problem):  # a millisecond may be enough
        assert (bad.status, bad.kind) == (504, "deadline-exceeded")


def test_events_models_and_experiments(client: Client) -> None:
    answer = client.search("red")
    client.event(answer.request_id, "purchase", answer.items[0].item_id, quantity=2, price=9.5)
    assert [model.variant for model in client.models().models] == ["sft", "rad-dpo"]
    assert client.experiments().variants == ("sft", "rad-dpo")


def test_a_problem_has_its_class_and_says_what_is_wrong(client: Client) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        client.search("red", timeout_ms=10**9)
    problem = refused.value.problem
    assert (problem.status, problem.kind) == (422, "invalid-request")
    assert [field.pointer for field in problem.errors] == ["/timeout_ms"]
    assert problem.request_id
    assert problem.request_id in str(refused.value)


def test_both_clients_can_do_the_same(running: Any) -> None:
    async def ask() -> tuple[Any, ...]:
        async with AsyncClient(running.url) as client:
            answer = await client.search("red", k=2)
            (of_batch,) = await client.search_batch([{"query": "red", "k": 2}])
            await client.event(answer.request_id, "click", answer.items[0].item_id)
            with pytest.raises(InvalidRequestError):
                await client.search("red", k=0)
            return answer, of_batch, await client.models(), await client.experiments()

    answer, of_batch, models, _ = asyncio.run(ask())
    assert answer.items == of_batch.items or answer.variant != of_batch.variant
    assert len(models.models) == 2


def test_the_clients_are_alike() -> None:
    def methods(kind: type) -> dict[str, inspect.Signature]:
        return {
            name: inspect.signature(method)
            for name, method in vars(kind).items()
            if inspect.isfunction(method) and not name.startswith("_")
        }

    assert methods(Client) == methods(AsyncClient)
    assert all(inspect.iscoroutinefunction(getattr(AsyncClient, name)) for name in methods(AsyncClient))


def test_keys(start_service: Any, tmp_path: Path) -> None:
    search = add_key(tmp_path / "keys.toml", Scope.SEARCH, "shop")
    admin = add_key(tmp_path / "keys.toml", Scope.ADMIN, "ops")
    with start_service(keys=tmp_path / "keys.toml") as running:
        with Client(running.url, key=search) as client:
            assert client.search("red").returned
        with Client(running.url) as client, pytest.raises(UnauthorizedError):
            client.search("red")
        with Client(running.url, key=admin) as client, pytest.raises(ForbiddenError):
            client.search("red")


def test_a_caller_past_its_rate_comes_back_when_it_may(start_service: Any) -> None:
    with start_service(rate_limit=2.0, rate_burst=1) as running, Client(running.url) as client:
        for query in ("red", "blue", "green"):
            assert client.search(query).returned
        assert running.metric("radsearch_rate_limited_total", by="address") > 0


@pytest.mark.parametrize("is_async", [False, True])
def test_a_refusal_that_lasts_longer_than_the_deadline_is_told_at_once(
    start_service: Any, is_async: bool
) -> None:
    async def ask(url: str) -> None:
        async with AsyncClient(url, deadline_s=0.5) as client:
            await client.search("red")

    with start_service(rate_limit=0.01, rate_burst=1) as running:
        running.search()
        with pytest.raises(OverloadedError) as refused:
            if is_async:
                asyncio.run(ask(running.url))
            else:
                with Client(running.url, deadline_s=0.5) as client:
                    client.search("red")
        assert refused.value.problem.kind == "rate-limited"


def test_an_event_that_cannot_be_written_is_refused(start_service: Any, tmp_path: Path) -> None:
    log = tmp_path / "events"
    with start_service(event_log=log) as running, Client(running.url, deadline_s=0.5) as client:
        shutil.rmtree(log)
        with pytest.raises(UnavailableError):
            client.event("r", "click", "i0")


@pytest.mark.parametrize("is_async", [False, True])
def test_a_service_that_drains_and_is_replaced_loses_no_search(start_service: Any, is_async: bool) -> None:
    is_over = threading.Event()
    answered: list[SearchAnswer] = []

    def search_on(url: str) -> None:
        with Client(url, deadline_s=GENEROUS_S) as client:
            while not is_over.is_set():
                answered.append(client.search("red", k=1))

    async def search_on_in_a_loop(url: str) -> None:
        async with AsyncClient(url, deadline_s=GENEROUS_S) as client:
            while not is_over.is_set():
                answered.append(await client.search("red", k=1))

    def more_than(n: int) -> None:
        end = time.monotonic() + GENEROUS_S
        while len(answered) <= n and shopper.is_alive():
            assert time.monotonic() < end
            time.sleep(0.01)

    with start_service() as running:
        url = running.url
        work = (lambda: asyncio.run(search_on_in_a_loop(url))) if is_async else (lambda: search_on(url))
        shopper = threading.Thread(target=work)
        shopper.start()
        more_than(10)
    n_of_the_first = len(answered)
    with start_service(port=int(url.rpartition(":")[2].strip("/"))):
        more_than(n_of_the_first + 10)
        is_over.set()
        shopper.join()  # an error would have ended it early
    assert len(answered) > n_of_the_first + 10


def test_what_is_no_service_is_told_apart() -> None:
    with answering("<html>welcome</html>") as (_, client), pytest.raises(BadAnswerError, match="v1/search"):
        client.search("red")
    down = pytest.raises(package.ProblemError, match="down")
    with answering("<html>down</html>", "502 Bad Gateway") as (_, client), down as refused:
        client.search("red")
    assert refused.value.problem.status == 502
    assert refused.value.problem.type == "about:blank"


def test_the_callers_trace_goes_on() -> None:
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")
    with answering("{}") as (server, client), tracer.start_as_current_span("page") as span:  # noqa: SIM117
        with pytest.raises(BadAnswerError):
            client.search("red")
    context = span.get_span_context()
    assert f"traceparent: 00-{context.trace_id:032x}-{context.span_id:016x}-" in server.requests[0]


def test_fields_are_those_of_the_document(running: Any) -> None:
    schemas = running.client.get("/openapi.json").json()["components"]["schemas"]
    theirs = {
        "Attributes": "AttributesResponse",
        "BatchAnswer": "BatchResponse",
        "Catalogue": "CatalogueState",
        "EventAnswer": "EventResponse",
        "Experiments": "ExperimentsResponse",
        "Models": "ModelsResponse",
        "Relisted": "RelistResponse",
        "SearchAnswer": "SearchResponse",
        "SidReport": "SidReportResponse",
        "SidTitles": "TitlesResponse",
        "Sids": "SidsResponse",
        "State": "StateResponse",
    }
    for name, kind in vars(answers).items():
        if isinstance(kind, type) and issubclass(kind, answers.Answer) and kind is not answers.Answer:
            assert set(kind.model_fields) == set(schemas[theirs.get(name, name)]["properties"]), name
    assert set(package.SearchOptions.__annotations__) | {"query"} == set(
        schemas["SearchRequest"]["properties"]
    )
    event = calls.event("r", "click", "i", None, 1, None, None, None)
    assert set(event.body or {}) == set(schemas["EventRequest"]["properties"])


def test_every_operation_has_a_call(running: Any) -> None:
    document = running.client.get("/openapi.json").json()
    operations = {
        (method.upper(), path)
        for path, item in document["paths"].items()
        for method in item
        if path.startswith("/v1/")
    }
    arguments: dict[str, Any] = {
        "event": ("r", "click", "i", None, 1, None, None, None),
        "search": ("red", {}),
    }
    made = [each for each in vars(calls).values() if isinstance(each, calls.Call)]
    for name, function in vars(calls).items():
        if inspect.isfunction(function) and function.__module__ == calls.__name__ and name[0] != "_":
            plain: dict[str, Any] = {"name": "{name}", "bundle": "b", "variant": None, "limit": None}
            needed = inspect.signature(function).parameters
            given = arguments.get(name) or [
                plain.get(each, {} if each == "shares" else []) for each in needed
            ]
            made.append(function(*given))
    assert {(each.method, each.path.replace("%7Bname%7D", "{name}")) for each in made} == operations
    assert all(issubclass(each.answer, BaseModel) for each in made)


def test_it_imports_neither_models_nor_a_web_framework() -> None:
    program = "import sys, radsearch.client; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    heavy = {"torch", "numpy", "fastapi", "starlette", "uvicorn", "service", "sid", "onnxruntime", "redis"}
    assert not heavy & set(done.stdout.split())


def test_the_examples_of_the_page_run(start_service: Any, tmp_path: Path) -> None:
    admin = add_key(tmp_path / "keys.toml", Scope.ADMIN, "ops")
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    with start_service(keys=tmp_path / "keys.toml") as running:
        names: dict[str, Any] = {}
        for example in examples:
            here = example.replace("http://127.0.0.1:8000", running.url).replace("an admin key", admin)
            exec(compile(here, str(PAGE), "exec"), names)
        state = names["state"]
    assert state.version > 0
    assert {model.variant for model in state.variants} == {"sft"}
