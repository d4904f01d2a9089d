import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from service.batcher import Batcher, Decoded, Prompt
from service.engine import Beams
from service.filters import FilterMask
from service.loop_lag import SUSTAINED
from service.metrics import Metrics
from service.problems import DeadlineError, OverloadedError
from service.tokenizer import Query
from service.tracing import Tracing

pytestmark = pytest.mark.anyio

Tokens = tuple[int, ...]


class Recorder:
    """Stands where an engine stands: keeps what it is asked, and answers when it is allowed to.

    Attributes:
        batches: prompts of each batch, in the order they came.
        may_answer: cleared, batches wait.
    """

    def __init__(self) -> None:
        self.batches: list[list[Tokens]] = []
        self.tries: list[object] = []
        self.masks: list[tuple[int, list[int]]] = []
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.busy = threading.Semaphore(0)

    def prompts(self) -> list[Tokens]:
        """Of all batches."""
        return [prompt for batch in self.batches for prompt in batch]

    def search(
        self,
        trie: object,
        graph_width: int,
        queries: list[Query],
        masks: list[Any],
        rows: Any,
        explains: bool,
    ) -> Beams:
        prompts = [query.tokens for query in queries]
        self.batches.append(prompts)
        self.tries.append(trie)
        self.masks.append((len(masks), rows.tolist()))
        self.busy.release()
        self.may_answer.wait()
        if any(prompt[0] < 0 for prompt in prompts):
            raise RuntimeError("no such token")
        found = np.array([[prompt[0]] * graph_width for prompt in prompts], np.int32)
        scores = found.astype(np.float32)
        return Beams(found[:, :, None], scores, found, scores, scores)


@asynccontextmanager
async def batching(**limits: Any) -> AsyncIterator[tuple[Batcher, Recorder, Metrics]]:
    metrics = Metrics()
    defaults = {
        "max_batch": 4,
        "max_batch_s": 3600.0,
        "max_queue_s": 3600.0,
        "queue_limit": 100,
        "workers": 1,
    }
    batcher = Batcher(**(defaults | limits), metrics=metrics, tracing=Tracing(None))
    recorder = Recorder()
    try:
        yield batcher, recorder, metrics
    finally:
        recorder.may_answer.set()
        await batcher.close()


def prompt(
    recorder: Recorder,
    *tokens: int,
    text: str = "",
    width: int = 2,
    mask: FilterMask | None = None,
    trie: str = "epoch",
) -> Prompt:
    return Prompt(recorder, trie, width, Query(text, tokens), mask)  # type: ignore[arg-type]


def soon(seconds: float = 60.0) -> float:
    return asyncio.get_running_loop().time() + seconds


async def occupy(batcher: Batcher, recorder: Recorder) -> asyncio.Task[Decoded]:
    """Give the device something that it does not finish before it may."""
    recorder.may_answer.clear()
    task = asyncio.create_task(batcher.decode(prompt(recorder, 99), soon()))
    await asyncio.to_thread(recorder.busy.acquire)
    return task


async def busy_for_one_turn(seconds: float) -> None:
    """Do what other searches might, while everything else waits."""
    time.sleep(seconds)
    await asyncio.sleep(0.001)


async def until_idle(batcher: Batcher) -> None:
    async with asyncio.timeout(60):
        while batcher.pressure > 0.5:
            await asyncio.sleep(0.01)


async def test_everyone_gets_the_own_answer() -> None:
    async with batching() as (batcher, recorder, _):
        decoded = await asyncio.gather(*(batcher.decode(prompt(recorder, n), soon()) for n in range(1, 30)))
    assert [each.leaves.tolist() for each in decoded] == [[n, n] for n in range(1, 30)]
    assert sorted(recorder.prompts()) == [(n,) for n in range(1, 30)]
    assert max(map(len, recorder.batches)) == 4


async def test_searches_of_one_turn_share_a_batch() -> None:
    async with batching(max_batch=32) as (batcher, recorder, metrics):
        await asyncio.gather(*(batcher.decode(prompt(recorder, n), soon()) for n in range(1, 33)))
        assert [len(batch) for batch in recorder.batches] == [32]
        assert metrics.registry.get_sample_value("radsearch_batch_size_sum") == 32


async def test_others_get_their_turn_between_the_answers_of_a_batch() -> None:
    happened: list[str] = []
    loop = asyncio.get_running_loop()

    def newcomer() -> None:
        happened.append("turn")
        loop.call_soon(newcomer)

    async with batching(max_batch=8) as (batcher, recorder, _):

        async def search(n: int) -> None:
            await batcher.decode(prompt(recorder, n), soon())
            happened.append("answer")

        first = await occupy(batcher, recorder)
        searches = [asyncio.create_task(search(n)) for n in range(1, 9)]
        await asyncio.sleep(0)
        recorder.may_answer.set()
        await first
        newcomer()
        await asyncio.gather(*searches)
    assert [len(batch) for batch in recorder.batches] == [1, 8]
    answers = "".join(what[0] for what in happened).strip("t")
    assert answers.count("a") == 8
    assert "aa" not in answers


async def test_what_came_first_goes_first() -> None:
    async with batching(max_batch=2) as (batcher, recorder, _):
        first = await occupy(batcher, recorder)
        later = []
        for n in range(1, 7):
            later.append(asyncio.create_task(batcher.decode(prompt(recorder, n), soon())))
            await asyncio.sleep(0)
        recorder.may_answer.set()
        await asyncio.gather(first, *later)
    assert recorder.batches[1:] == [[(1,), (2,)], [(3,), (4,)], [(5,), (6,)]]


async def test_the_nearest_deadline_goes_first() -> None:
    async with batching(max_batch=2) as (batcher, recorder, _):
        first = await occupy(batcher, recorder)
        later = []
        for n, seconds in enumerate((60, 50, 10, 40), start=1):
            later.append(asyncio.create_task(batcher.decode(prompt(recorder, n), soon(seconds))))
            await asyncio.sleep(0)
        recorder.may_answer.set()
        await asyncio.gather(first, *later)
    assert recorder.batches[1:] == [[(3,), (4,)], [(2,), (1,)]]


async def test_a_slow_device_gets_small_batches() -> None:
    async with batching(max_batch=32, max_batch_s=0.1) as (batcher, recorder, _):
        first = await occupy(batcher, recorder)
        await asyncio.sleep(0.08)
        recorder.may_answer.set()
        await first  # one query took more than two thirds of what a batch may take
        await asyncio.gather(*(batcher.decode(prompt(recorder, n), soon()) for n in range(1, 5)))
    assert recorder.batches[1] == [(1,)]


async def test_what_would_wait_too_long_is_refused() -> None:
    async with batching(max_queue_s=0.6, max_batch=1) as (batcher, recorder, _):
        slow = await occupy(batcher, recorder)
        await asyncio.sleep(0.31)
        recorder.may_answer.set()
        await slow
        running = await occupy(batcher, recorder)
        waiting = [asyncio.create_task(batcher.decode(prompt(recorder, n), soon())) for n in (1, 2)]
        await asyncio.sleep(0)
        assert batcher.pressure >= 1
        with pytest.raises(OverloadedError) as refused:
            await batcher.decode(prompt(recorder, 3), soon())
        assert refused.value.headers == {"Retry-After": "1"}
        recorder.may_answer.set()
        await asyncio.gather(running, *waiting)
        await until_idle(batcher)


async def test_an_event_loop_that_is_behind_refuses() -> None:
    async with batching(max_queue_s=1.0) as (batcher, recorder, _):
        await busy_for_one_turn(0.3)
        assert batcher.pressure < 1, "one pause alone says nothing"
        for _ in range(SUSTAINED - 1):
            await busy_for_one_turn(0.3)
        with pytest.raises(OverloadedError):
            await batcher.decode(prompt(recorder, 3), soon())
        await until_idle(batcher)
        await batcher.decode(prompt(recorder, 3), soon())


async def test_results_that_wait_for_the_event_loop_count() -> None:
    """A device that is faster than what follows its answers leaves no queue, and yet there is one."""
    async with batching(max_batch=32, max_queue_s=0.2) as (batcher, recorder, _):
        running = await occupy(batcher, recorder)
        refused: list[int] = []

        async def search(n: int) -> None:
            await batcher.decode(prompt(recorder, n), soon())
            time.sleep(0.02)  # what follows; it is the event loop that works
            try:
                batcher.check_loop()
            except OverloadedError:
                refused.append(n)

        waiting = [asyncio.create_task(search(n)) for n in range(1, 26)]
        await asyncio.sleep(0)
        recorder.may_answer.set()
        await asyncio.gather(running, *waiting)
        assert 3 in refused, "20 and more wait for 20 ms each"
        await until_idle(batcher)
        batcher.check_loop()


async def test_only_prompts_that_fit_share_a_batch() -> None:
    async with batching(max_batch=32) as (batcher, recorder, _):
        other = Recorder()
        short, long = (1, 2, 3), tuple(range(1, 25))
        prompts = [
            prompt(recorder, *short),
            prompt(recorder, *long),
            prompt(recorder, *short, width=4),
            prompt(other, *short),
            prompt(recorder, *short, trie="the next epoch"),
            prompt(recorder, 7, 8),
        ]
        decoded = await asyncio.gather(*(batcher.decode(each, soon()) for each in prompts))
    assert sorted(recorder.batches) == sorted([[short, (7, 8)], [long], [short], [short]])
    assert other.batches == [[short]]
    assert [len(each.leaves) for each in decoded] == [2, 2, 4, 2, 2, 2]


async def test_equal_prompts_in_flight_are_decoded_once() -> None:
    async with batching() as (batcher, recorder, metrics):
        running = await occupy(batcher, recorder)
        same = [asyncio.create_task(batcher.decode(prompt(recorder, 5), soon())) for _ in range(10)]
        joins_the_running = asyncio.create_task(batcher.decode(prompt(recorder, 99), soon()))
        await asyncio.sleep(0)
        recorder.may_answer.set()
        await asyncio.gather(running, joins_the_running, *same)
        assert recorder.batches == [[(99,)], [(5,)]]
        assert metrics.registry.get_sample_value("radsearch_coalesced_total") == 10
        await batcher.decode(prompt(recorder, 5), soon())
        assert recorder.batches[2:] == [[(5,)]], "what is no longer in flight is decoded anew"


async def test_equal_prompts_of_two_epochs_are_decoded_apart() -> None:
    async with batching(max_batch=8) as (batcher, recorder, _):
        running = await occupy(batcher, recorder)
        epochs = ["old", "new", "old", "new"]
        both = [
            asyncio.create_task(batcher.decode(prompt(recorder, 5, trie=each), soon())) for each in epochs
        ]
        await asyncio.sleep(0)
        recorder.may_answer.set()
        await asyncio.gather(running, *both)
    assert recorder.batches == [[(99,)], [(5,)], [(5,)]]
    assert recorder.tries[1:] == ["old", "new"]


async def test_other_texts_of_the_same_tokens_are_decoded_apart() -> None:
    async with batching() as (batcher, recorder, _):
        texts = ["a", "b", "a"]
        await asyncio.gather(*(batcher.decode(prompt(recorder, 5, text=text), soon()) for text in texts))
    assert recorder.batches == [[(5,), (5,)]]


async def test_filters_go_to_the_device_once_each() -> None:
    masks = [FilterMask(np.ones(3, bool), np.ones(5, bool), 1) for _ in range(2)]
    async with batching(max_batch=8) as (batcher, recorder, _):
        asked = [None, masks[0], masks[1], masks[0], None]
        prompts = [prompt(recorder, n + 1, mask=mask) for n, mask in enumerate(asked)]
        await asyncio.gather(*(batcher.decode(each, soon()) for each in prompts))
    assert recorder.masks == [(2, [0, 1, 2, 1, 0])]


async def test_a_full_queue_refuses_at_once() -> None:
    async with batching(queue_limit=3) as (batcher, recorder, metrics):
        running = await occupy(batcher, recorder)
        waiting = [asyncio.create_task(batcher.decode(prompt(recorder, n), soon())) for n in (1, 2, 3)]
        await asyncio.sleep(0)
        assert metrics.registry.get_sample_value("radsearch_queue_depth") == 3
        with pytest.raises(OverloadedError):
            await batcher.decode(prompt(recorder, 4), soon())
        joined = asyncio.create_task(batcher.decode(prompt(recorder, 3), soon()))  # costs no place
        await asyncio.sleep(0)
        recorder.may_answer.set()
        await asyncio.gather(running, joined, *waiting)
        assert (4,) not in recorder.prompts()
        assert metrics.registry.get_sample_value("radsearch_queue_depth") == 0


async def test_nobody_pays_for_a_caller_who_left() -> None:
    async with batching() as (batcher, recorder, metrics):
        running = await occupy(batcher, recorder)
        leaves = asyncio.create_task(batcher.decode(prompt(recorder, 1), soon()))
        stays = asyncio.create_task(batcher.decode(prompt(recorder, 2), soon()))
        shared = [asyncio.create_task(batcher.decode(prompt(recorder, 3), soon())) for _ in range(2)]
        await asyncio.sleep(0)
        leaves.cancel()
        shared[0].cancel()
        await asyncio.gather(leaves, shared[0], return_exceptions=True)
        recorder.may_answer.set()
        await asyncio.gather(running, stays, shared[1])
        assert recorder.batches == [[(99,)], [(2,), (3,)]]
        assert metrics.registry.get_sample_value("radsearch_dropped_total", {"reason": "abandoned"}) == 1


async def test_nobody_pays_for_a_deadline_that_passed() -> None:
    async with batching() as (batcher, recorder, metrics):
        running = await occupy(batcher, recorder)
        late = asyncio.create_task(batcher.decode(prompt(recorder, 1), soon(-1)))
        patient = asyncio.create_task(batcher.decode(prompt(recorder, 2), soon()))
        joined = [asyncio.create_task(batcher.decode(prompt(recorder, 3), soon(s))) for s in (-1, 60)]
        await asyncio.sleep(0)
        recorder.may_answer.set()
        with pytest.raises(DeadlineError):
            await late
        await asyncio.gather(running, patient, *joined)
        assert (1,) not in recorder.prompts()
        assert (3,) in recorder.prompts(), "one of its callers has time"
        assert metrics.registry.get_sample_value("radsearch_dropped_total", {"reason": "expired"}) == 1


async def test_an_error_reaches_those_it_concerns_and_no_one_else() -> None:
    async with batching() as (batcher, recorder, _):
        failing = [asyncio.create_task(batcher.decode(prompt(recorder, -1), soon())) for _ in range(2)]
        outcomes = await asyncio.gather(*failing, return_exceptions=True)
        assert [str(outcome) for outcome in outcomes] == ["no such token"] * 2
        assert (await batcher.decode(prompt(recorder, 1), soon())).leaves.tolist() == [1, 1]


async def test_one_bad_prompt_fails_alone() -> None:
    async with batching(max_batch=8) as (batcher, recorder, metrics):
        numbers = (1, 2, 3, -1, 4, 5, 6)
        outcomes = await asyncio.gather(
            *(batcher.decode(prompt(recorder, n), soon()) for n in numbers), return_exceptions=True
        )
        assert len(recorder.batches[0]) == len(numbers), "they shared a batch"
        assert metrics.registry.get_sample_value("radsearch_device_faults_total") == 4
    for number, outcome in zip(numbers, outcomes, strict=True):
        if number < 0:
            assert str(outcome) == "no such token"
        else:
            assert isinstance(outcome, Decoded)
            assert outcome.leaves.tolist() == [number, number]


async def test_an_error_that_nobody_waits_for_is_quiet() -> None:
    async with batching() as (batcher, recorder, _):
        recorder.may_answer.clear()
        task = asyncio.create_task(batcher.decode(prompt(recorder, -1), soon()))
        await asyncio.to_thread(recorder.busy.acquire)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        recorder.may_answer.set()  # warnings are errors: a lost exception would fail the test


async def test_a_free_worker_waits_for_no_one() -> None:
    async with batching(workers=2, max_batch=3) as (batcher, recorder, _):
        running = await occupy(batcher, recorder)
        lonely = asyncio.create_task(batcher.decode(prompt(recorder, 1), soon()))
        await asyncio.to_thread(recorder.busy.acquire)
        assert recorder.batches[1:] == [[(1,)]], "it goes alone, beside the first"
        recorder.may_answer.set()
        await asyncio.gather(running, lonely)


async def test_the_device_does_not_wait_for_the_event_loop() -> None:
    async with batching(max_batch=1) as (batcher, recorder, _):
        running = await occupy(batcher, recorder)
        waiting = [asyncio.create_task(batcher.decode(prompt(recorder, n), soon())) for n in (1, 2)]
        await asyncio.sleep(0)
        recorder.may_answer.set()
        for _ in range(2):
            assert recorder.busy.acquire(timeout=10), "the loop stands still in the meantime"
        await asyncio.gather(running, *waiting)
