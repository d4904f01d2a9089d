"""Requests of all clients share the device: micro-batches, a bounded queue, nothing decoded in vain."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.engine import Beams, Engine
from service.filters import FilterMask
from service.metrics import Metrics
from service.problems import DeadlineError, OverloadedError
from service.searches import LENGTH_BUCKET, BoundTrie
from service.tokenizer import Query
from sid import Ranking

LATEST = 0.2  # weight of the newest batch in the running mean of what a query costs


@dataclass(frozen=True)
class Prompt:
    """What identifies one decode; equal prompts in flight are decoded once.

    Attributes:
        engine: of the variant.
        trie: of the request's epoch, with what of it is on offer; a batch has one.
        graph_width: beam width of the graph to run.
        query: its text and tokens.
        filter: mask of the request's filter; None lets everything through.
        explains: whether to rank what is pruned, too.
    """

    engine: Engine
    trie: BoundTrie
    graph_width: int
    query: Query
    filter: FilterMask | None
    explains: bool = False

    def fits(self, other: "Prompt") -> bool:
        """Whether both can be in one batch."""
        return (
            self.engine is other.engine
            and self.trie is other.trie
            and self.graph_width == other.graph_width
            and self.explains == other.explains
            and self._length_bucket == other._length_bucket
        )

    @property
    def _length_bucket(self) -> int:
        """Prompts of one bucket share a batch, so that a short one is not padded to the longest."""
        return (len(self.query.tokens) - 1) // LENGTH_BUCKET


@dataclass(frozen=True)
class Decoded:
    """The beams of one prompt.

    Attributes:
        sids: int32 [K, L]; log_probs: float32 [K]; leaves: int32 [K]; as in :class:`Beams`.
        query_vector: float32 [vector_dim].
        query_embedding: float32 [embedding_dim].
        rankings: per level what was kept and what was pruned, where asked for.
        queue_s: seconds from joining the queue to the start of its batch.
        decode_s: seconds its batch took.
    """

    sids: NDArray[np.int32]
    log_probs: NDArray[np.float32]
    leaves: NDArray[np.int32]
    query_vector: NDArray[np.float32]
    query_embedding: NDArray[np.float32]
    rankings: tuple[Ranking, ...]
    queue_s: float
    decode_s: float


@dataclass(eq=False)
class _Job:
    """A prompt on its way to the device, for one caller or several."""

    prompt: Prompt
    result: asyncio.Future[Decoded]
    joined: float  # by time.perf_counter; the event loop's clock may count whole milliseconds
    deadline: float
    callers: int = 0


class Batcher:
    """Puts prompts together into device batches.

    A worker that is free takes at once what waits, the nearest deadline first; only while another batch runs
    does a batch wait for company, up to ``max_wait_s``. Batches are no larger than what the device decodes in
    ``max_batch_s``, for everybody in one waits for all of it. A prompt whose callers have left or whose
    deadline has passed is dropped before it costs device time, and one that would wait too long is refused
    when it comes. Lives on one event loop.
    """

    def __init__(
        self,
        max_batch: int,
        max_batch_s: float,
        max_wait_s: float,
        max_queue_s: float,
        queue_limit: int,
        workers: int,
        metrics: Metrics,
    ) -> None:
        self._max_batch = max_batch
        self._max_batch_s = max_batch_s
        self._max_wait_s = max_wait_s
        self._max_queue_s = max_queue_s
        self._queue_limit = queue_limit
        self._workers = workers
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="device")
        self._jobs: dict[Prompt, _Job] = {}  # waiting or running
        self._queue: dict[Prompt, _Job] = {}  # waiting, oldest first
        self._batches: set[asyncio.Task[None]] = set()
        self._query_s = 0.0  # what one query of a batch costs a worker, running mean

    @property
    def expected_wait_s(self) -> float:
        """How long a prompt that came now would wait for its turn, by what those before it cost."""
        return len(self._queue) * self._query_s / self._workers

    @property
    def pressure(self) -> float:
        """The expected wait as a share of the longest that is allowed; from 1 on prompts are refused."""
        return self.expected_wait_s / self._max_queue_s

    async def decode(self, prompt: Prompt, deadline: float) -> Decoded:
        """Decode one prompt.

        Args:
            prompt: what to decode.
            deadline: event loop time after which this caller does not want the result.

        Raises:
            OverloadedError: at once, if the queue is full or the wait would be too long.
            DeadlineError: if the deadline passed while the prompt waited.
        """
        job = self._jobs.get(prompt)
        if job is None:
            job = self._enqueue(prompt, deadline)
        else:
            self._metrics.coalesced.inc()
        job.deadline = max(job.deadline, deadline)
        job.callers += 1
        try:
            return await asyncio.shield(job.result)
        finally:
            job.callers -= 1
            if not job.callers and prompt in self._queue and self._queue[prompt] is job:
                self._forget(job, "abandoned")

    async def close(self) -> None:
        """Wait for the batches that run and stop; queued prompts have no callers left by then."""
        await asyncio.gather(*self._batches)
        self._executor.shutdown()

    def _enqueue(self, prompt: Prompt, deadline: float) -> _Job:
        if len(self._queue) >= self._queue_limit or self.pressure >= 1:
            raise OverloadedError(
                f"{len(self._queue)} searches wait already; try again in a moment", self.expected_wait_s
            )
        job = _Job(prompt, self._loop.create_future(), time.perf_counter(), deadline)
        self._jobs[prompt] = self._queue[prompt] = job
        self._metrics.queue_depth.set(len(self._queue))
        # Not at once: searches that arrive in the same turn of the loop shall share a batch.
        self._loop.call_soon(self._start_batches)
        return job

    def _start_batches(self) -> None:
        """Give work to the free workers."""
        for job in [job for job in self._queue.values() if job.deadline <= self._loop.time()]:
            self._forget(job, "expired")
            job.result.set_exception(DeadlineError("the deadline passed while the search waited its turn"))
        while self._queue and len(self._batches) < self._workers:
            batch = self._next_batch()
            wait_s = min(job.joined for job in batch) + self._max_wait_s - time.perf_counter()
            if self._batches and len(batch) < self._largest_batch and wait_s > 0:
                self._loop.call_later(wait_s, self._start_batches)
                return
            for job in batch:
                del self._queue[job.prompt]
            self._metrics.queue_depth.set(len(self._queue))
            task = self._loop.create_task(self._run(batch))
            self._batches.add(task)
            task.add_done_callback(self._finish)

    def _next_batch(self) -> list[_Job]:
        """The job whose deadline is nearest, and the next ones that fit it; of equal deadlines the oldest."""
        by_deadline = sorted(self._queue.values(), key=lambda job: job.deadline)
        first = by_deadline[0].prompt
        return [job for job in by_deadline if job.prompt.fits(first)][: self._largest_batch]

    @property
    def _largest_batch(self) -> int:
        if not self._query_s:
            return self._max_batch
        return max(1, min(self._max_batch, int(self._max_batch_s / self._query_s)))

    async def _run(self, batch: list[_Job]) -> None:
        """Decode a batch in a worker thread and hand out the results."""
        self._metrics.batch_size.observe(len(batch))
        started = time.perf_counter()
        try:
            beams = await self._loop.run_in_executor(self._executor, _search, [job.prompt for job in batch])
        except Exception as error:  # whatever it is belongs to the callers, not to this task
            await self._isolate(batch, error)
            return
        decode_s = time.perf_counter() - started
        self._learn(decode_s / len(batch))
        self._metrics.stage("decode").observe(decode_s)
        for row, job in enumerate(batch):
            queue_s = started - job.joined
            self._metrics.stage("queue").observe(queue_s)
            if self._settle(job):
                job.result.set_result(
                    Decoded(
                        sids=beams.sids[row],
                        log_probs=beams.log_probs[row],
                        leaves=beams.leaves[row],
                        query_vector=beams.query_vectors[row],
                        query_embedding=beams.query_embeddings[row],
                        rankings=tuple(
                            Ranking(level.nodes[row], level.log_probs[row]) for level in beams.rankings
                        ),
                        queue_s=queue_s,
                        decode_s=decode_s,
                    )
                )

    async def _isolate(self, batch: list[_Job], error: Exception) -> None:
        """After a batch has failed, find the prompt that is to blame; the others get their answers."""
        self._metrics.device_faults.inc()
        if len(batch) == 1:
            if self._settle(batch[0]):
                batch[0].result.set_exception(error)
            return
        middle = len(batch) // 2
        await self._run(batch[:middle])
        await self._run(batch[middle:])

    def _learn(self, query_s: float) -> None:
        self._query_s = (1 - LATEST) * self._query_s + LATEST * query_s if self._query_s else query_s

    def _settle(self, job: _Job) -> bool:
        """Take a job that ran off the books; whether anybody still waits for its result."""
        del self._jobs[job.prompt]
        return job.callers > 0

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._batches.discard(task)
        self._start_batches()

    def _forget(self, job: _Job, reason: str) -> None:
        """Take a job that still waits out of the queue."""
        del self._queue[job.prompt], self._jobs[job.prompt]
        self._metrics.queue_depth.set(len(self._queue))
        self._metrics.dropped.labels(reason).inc()


def _search(prompts: list[Prompt]) -> Beams:
    """Decode prompts that fit each other; each distinct filter goes to the device once."""
    filters: dict[FilterMask, int] = {}
    rows = np.zeros(len(prompts), dtype=np.int32)
    for index, prompt in enumerate(prompts):
        if prompt.filter is not None:
            rows[index] = filters.setdefault(prompt.filter, len(filters) + 1)
    first = prompts[0]
    queries, masks = [prompt.query for prompt in prompts], [each.alive for each in filters]
    return first.engine.search(first.trie, first.graph_width, queries, masks, rows, first.explains)
