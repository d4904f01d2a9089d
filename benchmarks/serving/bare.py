"""The engine by itself, without HTTP, batcher and items: what the service is measured against."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from service.bundle import Bundle
from service.device import open_device
from service.engine import Engine
from service.epoch import Epoch
from service.tokenizer import Query

BATCH_SIZES = (1, 2, 4, 8, 16, 32)

Provider = Literal["cpu", "cuda"]


class BareEngine:
    """A bundle's engine with its catalogue's trie bound, as the service has them.

    Args:
        path: of the bundle.
        beam_width: K.
        threads: that search side by side, each on one core.
        provider: "cpu" or "cuda".
    """

    def __init__(self, path: Path, beam_width: int, threads: int, provider: Provider) -> None:
        bundle = Bundle.load(path)
        epoch = Epoch.load(path, bundle.manifest)
        self._engine = Engine(bundle, open_device(provider), "auto", 1, max(BATCH_SIZES))
        self._trie = self._engine.bind(epoch.trie, np.ones(epoch.trie.n_nodes, dtype=bool))
        self._engine.warm_up(self._trie)
        self._tokenizer = bundle.tokenizer
        self._beam_width = beam_width
        self._threads = threads

    def latencies(self, texts: Iterator[str], n: int, pause_s: float) -> NDArray[np.float64]:
        """Seconds of n searches, one after the other, each after a pause."""
        queries = self._queries(texts, n)
        seconds = []
        for query in queries:
            time.sleep(pause_s)
            began = time.perf_counter()
            self.search([query])
            seconds.append(time.perf_counter() - began)
        return np.array(seconds)

    def rate(self, texts: Iterator[str], batch_size: int, seconds: float) -> float:
        """Queries per second of all threads, each with its own batches."""
        batches = [self._queries(texts, batch_size) for _ in range(4)]
        end = time.perf_counter() + seconds

        def search() -> int:
            done = 0
            while time.perf_counter() < end:
                for batch in batches:
                    self.search(batch)
                    done += len(batch)
            return done

        began = time.perf_counter()
        with ThreadPoolExecutor(self._threads) as threads:
            futures: list[Callable[[], int]] = [threads.submit(search).result for _ in range(self._threads)]
            done = sum(result() for result in futures)
        return done / (time.perf_counter() - began)

    def search(self, batch: list[Query]) -> None:
        """Decode a batch; blocks."""
        self._engine.search(self._trie, self._beam_width, batch, [], np.zeros(len(batch), np.int32))

    def read(self, text: str) -> Query:
        """What a decoder reads of a query with something to read in it."""
        query = self._tokenizer.encode(text)
        assert query is not None, text
        return query

    def _queries(self, texts: Iterator[str], n: int) -> list[Query]:
        return [self.read(text) for text in islice(texts, n)]
