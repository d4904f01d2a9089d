import numpy as np
import pyarrow as pa
import pytest

from experiments.comparison import aggregated
from experiments.metrics import METRICS, variance

CTR = METRICS[0]


@pytest.mark.parametrize(("differ", "expected"), [(False, False), (True, True)])
def test_users_who_are_all_alike_do_not_vary_by_rounding(differ: bool, expected: bool) -> None:
    """A third has no exact float: what rounding leaves of the variance is no variance."""
    searches = np.tile([3.0, 6.0, 21.0], 100)
    clicked = searches / 3 + (np.arange(300) % 2 if differ else 0)
    zeros = np.zeros(300)
    columns = {CTR.numerator: clicked, CTR.denominator: searches, "variation": zeros.astype(np.int64)}
    before = {f"pre_{name}": zeros for name in (CTR.numerator, CTR.denominator)}
    users = aggregated(pa.table(columns | before), [CTR])[0]
    assert (variance(CTR, users) > 0) is expected
