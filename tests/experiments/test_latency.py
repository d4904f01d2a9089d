import numpy as np
import pytest

from experiments.latency import Quantile, quantile, quantiles, relative_difference
from experiments.metrics import LATENCIES


def searches(n_users: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Users whose connections differ: the user of each search, and its latency."""
    random = np.random.default_rng(seed)
    users = np.repeat(np.arange(n_users), 1 + random.poisson(9, n_users))
    return users, random.lognormal(2 + 0.5 * random.normal(size=n_users)[users], 0.3)


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_quantile_is_as_uncertain_as_users_drawn_again_say(share: float) -> None:
    users, total_ms = searches(400)
    found = quantile(share, users, total_ms)
    assert found.value == np.quantile(total_ms, share)
    random = np.random.default_rng(1)
    of_user = [total_ms[users == user] for user in range(400)]
    drawn = [
        np.quantile(np.concatenate([of_user[user] for user in random.integers(0, 400, 400)]), share)
        for _ in range(400)
    ]
    assert found.error == pytest.approx(np.std(drawn), rel=0.2)
    independent = [np.quantile(random.choice(total_ms, len(total_ms)), share) for _ in range(200)]
    assert found.error > 1.5 * np.std(independent), "a user's searches are alike"


def test_equal_latencies_are_not_told_apart_and_different_ones_are() -> None:
    one, same, slower = Quantile(10.0, 0.2), Quantile(10.1, 0.2), Quantile(12.0, 0.2)
    relative, p = relative_difference(same, one)
    assert relative is not None
    assert relative.low < 0 < relative.high
    assert p > 0.5
    relative, p = relative_difference(slower, one)
    assert relative is not None
    assert relative.mean == pytest.approx(0.2)
    assert relative.low > 0.1
    assert p < 1e-6


def test_a_variation_with_too_few_searches_has_no_high_quantile() -> None:
    users, total_ms = searches(40)
    columns = {"variation": np.zeros(len(users), int), "user": users + 7, "total_ms": total_ms}
    by_name = {latency.name: found for latency, found in quantiles(LATENCIES, columns).items()}
    assert set(by_name["latency_p50"]) == {0}
    assert by_name["latency_p99"] == {}
