"""A service on a GPU, in a process of its own; on a CPU the same with the same graphs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.keys import Scope, add_key
from tests.service.brute_force import BruteForce
from tests.service.conftest import Serve
from tests.service.served import Served

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def provider(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def serving(provider: str, serve: Serve, bundles_of_gpu: Path) -> Callable[..., Any]:
    @contextmanager
    def started(*arguments: object, **environment: str) -> Iterator[Served]:
        given = ["--bundle", f"sft@fp16={bundles_of_gpu / 'sft'}", "--provider", provider, *arguments]
        with serve(*given, RADSEARCH_MAX_BATCH="8", **environment) as served:
            yield served

    return started


def test_it_answers_what_all_items_scored_would(
    serving: Callable[..., Any], brute_force: BruteForce, provider: str
) -> None:
    with serving() as served:
        (model,) = served.client.get("/v1/models").json()["models"]
        assert model["provider"] == PROVIDERS[provider]
        assert set(model["precisions"]) == {"fp16"}
        for query in ("red running shoes", "wool hat", "雨伞"):
            scores = brute_force.scores("sft", query)
            items = served.search(query, k=100).json()["items"]
            assert {item["item_id"] for item in items} == set(scores)
            for item in items:
                assert item["score"] == pytest.approx(scores[item["item_id"]], abs=0.1, rel=1e-2)


def test_models_and_catalogues_change_under_load(
    serving: Callable[..., Any], bundles_of_gpu: Path, load: Callable[..., Any], tmp_path: Path
) -> None:
    keys = tmp_path / "keys.json"
    key = add_key(keys, Scope.ADMIN, "ops")
    headers = {"Authorization": f"Bearer {key}"}
    patience = {"RADSEARCH_TIMEOUT_MS": "30000", "RADSEARCH_MAX_QUEUE_MS": "60000"}  # the machine may be busy
    root = str(bundles_of_gpu)
    with serving(RADSEARCH_KEYS=str(keys), RADSEARCH_BUNDLES_ROOT=root, **patience) as served:
        admin = httpx.Client(base_url=f"{served.url}/v1/admin", headers=headers, timeout=120)

        def change(method: str, path: str, body: Any = None) -> None:
            response = admin.request(method, path, json=body)
            assert response.status_code == 200, response.text

        with admin, load(served.url) as searches:
            for number in range(3):
                change("PUT", "/variants/candidate", {"bundle": "rad-dpo"})
                change("PUT", "/traffic", {"shares": {"candidate": 1.0}})
                change("PUT", "/items", {"items": [{"item_id": f"new{number}", "title": "parka"}]})
                change("POST", "/items/delist", {"item_ids": [f"i{number}"]})
                change("POST", "/traffic/rollback")
                change("DELETE", "/variants/candidate")
                change("PUT", "/variants/sft/catalogue", {"bundle": "sft"})
        assert searches.failed == []
        assert len(searches.outcomes) > 20
