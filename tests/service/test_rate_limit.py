from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.keys import Scope, add_key
from service.metrics import Metrics
from service.rate_limit import MAX_CALLERS, RateCaller, RateLimit, RateLimitedError, _site

ADA, BO = RateCaller("key", "ada"), RateCaller("key", "bo")


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1.0

    def __call__(self) -> float:
        return self.now


def is_allowed(limit: RateLimit, caller: RateCaller = ADA, n_searches: int = 1) -> bool:
    try:
        limit.spend(caller, n_searches)
    except RateLimitedError:
        return False
    return True


def test_without_a_limit_everything_goes() -> None:
    limit = RateLimit(None, 1, Metrics())
    assert all(is_allowed(limit) for _ in range(1_000))


def test_a_burst_and_then_the_rate() -> None:
    clock = Clock()
    limit = RateLimit(2.0, 3, Metrics(), clock)
    assert [is_allowed(limit) for _ in range(4)] == [True, True, True, False]
    clock.now += 0.5
    assert [is_allowed(limit) for _ in range(2)] == [True, False]
    clock.now += 3_600
    assert [is_allowed(limit) for _ in range(4)] == [True, True, True, False]
    assert is_allowed(limit, BO)


def test_a_batch_counts_its_searches_and_may_be_larger_than_the_bucket() -> None:
    clock = Clock()
    limit = RateLimit(1.0, 4, Metrics(), clock)
    assert is_allowed(limit, n_searches=10)
    with pytest.raises(RateLimitedError) as refused:
        limit.spend(ADA, 1)
    assert refused.value.headers == {"Retry-After": "7"}
    clock.now += 7
    assert is_allowed(limit)


@given(
    per_s=st.floats(0.1, 1e3),
    burst=st.integers(1, 50),
    calls=st.lists(st.tuples(st.floats(0, 2), st.integers(1, 32)), max_size=60),
)
def test_the_rate_holds_in_the_long_run(per_s: float, burst: int, calls: list[tuple[float, int]]) -> None:
    """Whatever is asked for and when: never more than the burst, the rate, and one batch beyond."""
    clock = Clock()
    limit = RateLimit(per_s, burst, Metrics(), clock)
    started, spent = clock.now, 0
    for pause, n_searches in calls:
        clock.now += pause
        if is_allowed(limit, n_searches=n_searches):
            assert spent <= burst + per_s * (clock.now - started) - 1 + 1e-6
            spent += n_searches


def test_memory_is_bounded() -> None:
    limit = RateLimit(1.0, 1, Metrics())
    for n in range(MAX_CALLERS + 100):
        limit.spend(RateCaller("address", str(n)), 1)
    assert len(limit._buckets) == MAX_CALLERS


@pytest.mark.parametrize(
    ("host", "site"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("", ""),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("a:b", "a:b"),
        ("x" * 30_000, "x" * 64),
    ],
)
def test_whose_an_address_is(host: str, site: str) -> None:
    assert _site(host) == site


@pytest.fixture
def limited(start_service: Any, tmp_path: Path) -> Any:
    ada, bo = (add_key(tmp_path / "keys.toml", Scope.SEARCH, name) for name in ("ada", "bo"))
    with start_service(keys=tmp_path / "keys.toml", rate_limit=0.01, rate_burst=5) as running:
        yield running, {"Authorization": f"Bearer {ada}"}, {"Authorization": f"Bearer {bo}"}


def test_each_key_has_its_share(limited: Any) -> None:
    running, ada, bo = limited
    search, batch = {"query": "red"}, {"searches": [{"query": "red"}] * 3}
    event = {"request_id": "r", "type": "click", "item_id": "i1"}
    post = running.client.post
    assert post("/v1/search", json=search, headers=ada).status_code == 200
    assert post("/v1/events", json=event, headers=ada).status_code == 202
    assert post("/v1/search/batch", json=batch, headers=ada).status_code == 200
    for path, body in (("search", search), ("search/batch", batch), ("events", event)):
        refused = post(f"/v1/{path}", json=body, headers=ada)
        assert refused.status_code == 429
        assert refused.json()["type"] == "urn:radsearch:problem:rate-limited"
        assert int(refused.headers["retry-after"]) >= 1
    assert running.metric("radsearch_rate_limited_total", by="key") == 3
    assert post("/v1/search", json=search, headers=bo).status_code == 200


def test_an_address_has_its_share_where_no_key_is_asked_for(start_service: Any) -> None:
    """An Authorization header that nobody asked for does not make another caller of one."""
    with start_service(rate_limit=0.01, rate_burst=2) as running:
        statuses = [
            running.client.post(
                "/v1/search", json={"query": "red"}, headers={"Authorization": f"Bearer {n}"}
            ).status_code
            for n in range(3)
        ]
        assert statuses == [200, 200, 429]
        assert running.metric("radsearch_rate_limited_total", by="address") == 1
