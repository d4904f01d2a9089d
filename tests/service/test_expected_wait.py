"""Estimates of waits, from what the work before cost."""

import pytest

from service.expected_wait import ExpectedWait

pytestmark = pytest.mark.anyio


async def test_nothing_is_expected_of_what_is_not_known() -> None:
    wait = ExpectedWait()
    assert wait.of_device(100, 1) == 0
    assert wait.of_loop(100) == 0
    wait.close()


async def test_queries_wait_for_those_before_them() -> None:
    wait = ExpectedWait()
    wait.learn_batch(0.4, 8)
    assert wait.query_s == pytest.approx(0.05)
    assert wait.of_device(6, 2) == pytest.approx(6 * 0.05 / 2)
    assert wait.of_loop(6) == 0, "what the device costs is no matter of the loop"
    wait.close()


async def test_results_wait_for_those_before_them() -> None:
    wait = ExpectedWait()
    wait.learn_answer(0.002)
    assert wait.of_loop(30) == pytest.approx(0.06)
    assert wait.of_device(30, 1) == 0
    wait.close()


async def test_what_things_cost_now_outweighs_what_they_cost_once() -> None:
    wait = ExpectedWait()
    wait.learn_answer(1.0)
    for _ in range(40):
        wait.learn_answer(0.001)
    assert 0.001 < wait.of_loop(1) < 0.002
    wait.close()
