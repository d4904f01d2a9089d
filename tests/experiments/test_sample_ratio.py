import pytest
from scipy.stats import binomtest

from experiments.errors import ExperimentError
from experiments.sample_ratio import sample_ratio


def test_a_small_split_is_judged_by_the_exact_test() -> None:
    assert sample_ratio({0: 300, 1: 340}, None).p == pytest.approx(binomtest(340, 640).pvalue)


@pytest.mark.parametrize(
    ("users", "weights", "is_sound"),
    [
        ({0: 5000, 1: 5100}, None, True),
        ({0: 5000, 1: 5500}, None, False),
        ({0: 9000, 1: 1000}, (0.9, 0.1), True),
        ({0: 9000, 1: 1000}, (90, 10), True),
        ({0: 5000, 1: 5000}, (0.9, 0.1), False),
        ({0: 3000, 1: 3030, 2: 2980}, None, True),
        ({0: 3000, 1: 3030, 2: 2500}, None, False),
        ({0: 3000, 1: 3000}, (1, 1, 1), False),
    ],
)
def test_users_are_held_against_the_weights(
    users: dict[int, int], weights: tuple[float, ...] | None, is_sound: bool
) -> None:
    found = sample_ratio(users, weights)
    assert found.is_sound is is_sound
    assert sum(found.shares.values()) == pytest.approx(1)


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 0.0), (1.0, -1.0)])
def test_weights_that_are_none_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(ExperimentError, match="--weights"):
        sample_ratio({0: 10, 1: 10}, weights)
