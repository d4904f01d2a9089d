"""Requests of all clients share the device: micro-batches, a bounded queue, nothing decoded in vain."""

import asyncio
import os
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Thread

import numpy as np
from numpy.typing import NDArray
from opentelemetry.trace import SpanContext

from service.engine import Beams, Engine
from service.expected_wait import ExpectedWait
from service.filters import FilterMask
from service.metrics import Metrics
from service.problems import DeadlineError, OverloadedError
from service.searches import LENGTH_BUCKET, BoundTrie
from service.tokenizer import Query
from service.tracing import Tracing, current_span
from sid import Ranking

NICE = 3  # of the threads that decode on a CPU; more, and one that holds the interpreter's lock may starve


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
        started: when its batch did, by time.perf_counter.
        queue_s: seconds from joining the queue to the start of its batch.
        decode_s: seconds its batch took.
        batch: span of its batch, where it is traced.
    """

    sids: NDArray[np.int32]
    log_probs: NDArray[np.float32]
    leaves: NDArray[np.int32]
    query_vector: NDArray[np.float32]
    query_embedding: NDArray[np.float32]
    rankings: tuple[Ranking, ...]
    started: float
    queue_s: float
    decode_s: float
    batch: SpanContext | None


@dataclass(eq=False)
class _Job:
    """A prompt on its way to the device, for one caller or several, each with a future that is its own."""

    prompt: Prompt
    joined: float  # by time.perf_counter; the event loop's clock may count whole milliseconds
    deadline: float
    callers: list[asyncio.Future[Decoded]] = field(default_factory=list)
    spans: list[SpanContext] = field(default_factory=list)  # of those callers who are traced


@dataclass(frozen=True)
class _Part:
    """What became of a batch, or of a part of one that failed.

    Attributes:
        jobs: in the order of the beams.
        result: theirs, or what one prompt alone came to.
        started: by time.perf_counter.
        decode_s: how long it took, in seconds.
        span: of the batch, where it is traced.
    """

    jobs: list[_Job]
    result: Beams | Exception
    started: float
    decode_s: float
    span: SpanContext | None = None


class Batcher:
    """Puts prompts together into device batches.

    Workers are threads that take their next batch themselves, the nearest deadline first, the moment they are
    free: a prompt waits for company only as long as the device is busy, and the device never for the event
    loop. Batches are no larger than what the device decodes in ``max_batch_s``, for everybody in one waits
    for all of it. A prompt whose callers have left or whose deadline has passed is dropped before it costs
    device time, and one that would wait too long is refused when it comes.

    All but the workers live on one event loop.
    """

    def __init__(
        self,
        max_batch: int,
        max_batch_s: float,
        max_queue_s: float,
        queue_limit: int,
        workers: int,
        metrics: Metrics,
        tracing: Tracing,
    ) -> None:
        self._max_batch = max_batch
        self._max_batch_s = max_batch_s
        self._max_queue_s = max_queue_s
        self._queue_limit = queue_limit
        self._metrics = metrics
        self._tracing = tracing
        self._loop = asyncio.get_running_loop()
        self._wait = ExpectedWait()
        self._jobs: dict[Prompt, _Job] = {}  # waiting or running
        self._queue: dict[Prompt, _Job] = {}  # waiting, oldest first; changed only while _changing is held
        self._changing = threading.Condition()
        self._finished: deque[tuple[_Part, int]] = deque()  # batches and rows of them to hand out
        self._is_waking = False
        self._is_closed = False
        self._workers = [Thread(target=self._work, name=f"device-{n}", daemon=True) for n in range(workers)]
        for worker in self._workers:
            worker.start()

    @property
    def expected_wait_s(self) -> float:
        """How long a prompt that came now would wait for its turns, by what those before it cost."""
        of_device = self._wait.of_device(len(self._queue), len(self._workers))
        return of_device + self._wait.of_loop(len(self._finished))

    def check_loop(self) -> None:
        """Refuse a search before any work is done for it, when it is the loop that is behind.

        Raises:
            OverloadedError: if the wait for the loop alone would be too long.
        """
        wait_s = self._wait.of_loop(len(self._finished))
        if wait_s >= self._max_queue_s:
            raise OverloadedError(
                f"searches wait {wait_s:.2f} s for their answers; try again in a moment", wait_s
            )

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
        if (span := current_span()) is not None:
            job.spans.append(span)
        result: asyncio.Future[Decoded] = self._loop.create_future()
        job.callers.append(result)
        try:
            return await result
        finally:
            job.callers.remove(result)
            if not job.callers:
                self._abandon(job)

    async def close(self) -> None:
        """Wait for the batches that run and stop; queued prompts have no callers left by then."""
        self._wait.close()
        with self._changing:
            self._is_closed = True
            self._changing.notify_all()
        for worker in self._workers:
            await asyncio.to_thread(worker.join)

    def _enqueue(self, prompt: Prompt, deadline: float) -> _Job:
        if len(self._queue) >= self._queue_limit or self.pressure >= 1:
            wait_s = self.expected_wait_s
            raise OverloadedError(
                f"{len(self._queue)} searches wait already, for {wait_s:.2f} s; try again in a moment", wait_s
            )
        job = _Job(prompt, time.perf_counter(), deadline)
        with self._changing:
            self._jobs[prompt] = self._queue[prompt] = job
            self._metrics.queue_depth.set(len(self._queue))
        if not self._is_waking:
            # Not at once: searches that arrive in the same turn of the loop shall share a batch.
            self._is_waking = True
            self._loop.call_soon(self._wake)
        return job

    def _wake(self) -> None:
        """Tell workers who have nothing to do that there is something, one for each prompt at most."""
        self._is_waking = False
        with self._changing:
            self._changing.notify(len(self._queue))

    def _abandon(self, job: _Job) -> None:
        """Drop a job without callers, unless a worker has it."""
        with self._changing:
            if self._queue.get(job.prompt) is job:
                del self._queue[job.prompt], self._jobs[job.prompt]
                self._metrics.queue_depth.set(len(self._queue))
                self._metrics.dropped.labels("abandoned").inc()

    def _work(self) -> None:
        """A worker thread."""
        _give_way()
        while self._work_once():
            pass

    def _work_once(self) -> bool:
        """Decode the next batch, if another comes; nothing of it is held while the next one is awaited."""
        batch = self._next_batch()
        if batch is None:
            return False
        for part in self._decode(batch):
            self._loop.call_soon_threadsafe(self._hand_out, part)
        return True

    def _next_batch(self) -> list[_Job] | None:
        """Take jobs out of the queue, as soon as there are any; None at the end.

        The job whose deadline is nearest comes first, of equal ones the oldest; then the next ones that fit.
        """
        with self._changing:
            while True:
                self._drop_expired()
                if self._queue:
                    break
                if self._is_closed:
                    return None
                self._changing.wait()
            by_deadline = sorted(self._queue.values(), key=lambda job: job.deadline)
            first = by_deadline[0].prompt
            batch = [job for job in by_deadline if job.prompt.fits(first)][: self._largest_batch]
            for job in batch:
                del self._queue[job.prompt]
            self._metrics.queue_depth.set(len(self._queue))
        return batch

    def _drop_expired(self) -> None:
        now = self._loop.time()
        for job in [job for job in self._queue.values() if job.deadline <= now]:
            del self._queue[job.prompt], self._jobs[job.prompt]  # who asks from now on has time
            self._metrics.queue_depth.set(len(self._queue))
            self._metrics.dropped.labels("expired").inc()
            error = DeadlineError("the deadline passed while the search waited its turn")
            self._loop.call_soon_threadsafe(self._hand_out, _Part([job], error, job.joined, 0.0))

    @property
    def _largest_batch(self) -> int:
        if not self._wait.query_s:
            return self._max_batch
        # The nearest number: the queries of small batches cost more, so rounding down would feed on itself.
        return max(1, min(self._max_batch, round(self._max_batch_s / self._wait.query_s)))

    def _decode(self, batch: list[_Job]) -> list[_Part]:
        """Run a batch; if it fails, in halves, until one prompt is to blame."""
        self._metrics.batch_size.observe(len(batch))
        started = time.perf_counter()
        try:
            beams = _search([job.prompt for job in batch])
        except Exception as error:  # whatever it is belongs to the callers, not to this thread
            self._metrics.device_faults.inc()
            self._trace(batch, started, error)
            if len(batch) == 1:
                return [_Part(batch, error, started, 0.0)]
            middle = len(batch) // 2
            return self._decode(batch[:middle]) + self._decode(batch[middle:])
        decode_s = time.perf_counter() - started
        self._wait.learn_batch(decode_s, len(batch))
        self._metrics.stage("decode").observe(decode_s)
        return [_Part(batch, beams, started, decode_s, self._trace(batch, started))]

    def _trace(self, batch: list[_Job], started: float, error: Exception | None = None) -> SpanContext | None:
        return self._tracing.batch([span for job in batch for span in job.spans], len(batch), started, error)

    def _hand_out(self, part: _Part) -> None:
        """Give each caller who still waits its result, one in a turn of the loop.

        What follows a result takes milliseconds. Were all of a batch given at once, whoever comes meanwhile
        would wait for all of them, also those who are only to be refused.
        """
        is_handing_out = bool(self._finished)
        self._finished.extend((part, row) for row in range(len(part.jobs)))
        if not is_handing_out:
            self._hand_out_next()

    def _hand_out_another(self, before: float) -> None:
        """Hand out what waited for the result before it, given at that time, to be dealt with."""
        self._wait.learn_answer(time.perf_counter() - before)
        self._hand_out_next()

    def _hand_out_next(self) -> None:
        part, row = self._finished[0]
        job = part.jobs[row]
        if self._jobs.get(job.prompt) is job:
            del self._jobs[job.prompt]
        queue_s = part.started - job.joined
        self._metrics.stage("queue").observe(queue_s)
        waiting = [caller for caller in job.callers if not caller.done()]  # others have just been cancelled
        if isinstance(part.result, Exception):
            for caller in waiting:
                caller.set_exception(part.result)
        elif waiting:
            decoded = _decoded(part, part.result, row, queue_s)
            for caller in waiting:
                caller.set_result(decoded)
        self._finished.popleft()
        if self._finished:
            self._loop.call_soon(self._hand_out_another, time.perf_counter())


def _decoded(part: _Part, beams: Beams, row: int, queue_s: float) -> Decoded:
    """The beams of one prompt of a batch."""
    return Decoded(
        sids=beams.sids[row],
        log_probs=beams.log_probs[row],
        leaves=beams.leaves[row],
        query_vector=beams.query_vectors[row],
        query_embedding=beams.query_embeddings[row],
        rankings=tuple(Ranking(level.nodes[row], level.log_probs[row]) for level in beams.rankings),
        started=part.started,
        queue_s=queue_s,
        decode_s=part.decode_s,
        batch=part.span,
    )


def _give_way() -> None:
    """Let the event loop go first where it shares a core with this thread: its work is short and awaited."""
    with suppress(OSError):  # a container may forbid it
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


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
