"""What a search waits for, estimated from what the searches before it cost."""

from service.loop_lag import LoopLag

LATEST = 0.2  # weight of the newest in the running means


class ExpectedWait:
    """Learns what a query costs the device and an answer the event loop.

    Workers tell what batches cost; all else is called on the event loop, whose lag it measures.

    Either may be what is short: a large decoder on a CPU keeps searches waiting for the device, a small one,
    or one on a GPU, decodes faster than one event loop answers.
    """

    def __init__(self) -> None:
        self._lag = LoopLag()
        self._answer_s = 0.0
        self.query_s = 0.0
        """What one query of a batch costs a worker, in seconds; 0 before the first."""

    def learn_batch(self, decode_s: float, n_queries: int) -> None:
        """Take note of what a batch cost a worker."""
        self.query_s = _mean(self.query_s, decode_s / n_queries)

    def learn_answer(self, seconds: float) -> None:
        """Take note of the time from one result to the next, where they wait to be handed out."""
        self._answer_s = _mean(self._answer_s, seconds)

    def of_device(self, n_waiting: int, n_workers: int) -> float:
        """Seconds until the device comes to a query behind as many others."""
        return n_waiting * self.query_s / n_workers

    def of_loop(self, n_waiting: int) -> float:
        """Seconds until the event loop comes to a result behind as many others."""
        return n_waiting * self._answer_s + self._lag.per_search_s

    def close(self) -> None:
        """Measure no more."""
        self._lag.close()


def _mean(mean: float, newest: float) -> float:
    """A running mean; of the first, itself."""
    return (1 - LATEST) * mean + LATEST * newest if mean else newest
