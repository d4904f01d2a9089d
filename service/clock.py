"""How long the stages of a search take."""

import time
from collections.abc import Iterator

from service.batcher import Decoded
from service.schemas import Timings
from service.tracing import Stage


class Clock:
    """Measures the stages of one search.

    Attributes:
        stages: seconds by name of the stage, as far as they have come.
        decoded: of a search that went to the device.
    """

    def __init__(self) -> None:
        # Not the event loop's clock: uvloop's counts whole milliseconds.
        self._began = self._started = time.perf_counter()
        self.stages: dict[str, float] = {}
        self.decoded: Decoded | None = None

    def start(self) -> None:
        """Begin a stage."""
        self._started = time.perf_counter()

    def stop(self, stage: str) -> None:
        """End a stage; the total is from the beginning."""
        self.stages[stage] = time.perf_counter() - (self._began if stage == "total" else self._started)

    def spans(self) -> Iterator[Stage]:
        """The stages apart from the total, for a trace."""
        yield Stage("tokenize", self._began, self.stages["tokenize"])
        if self.decoded is not None:
            queue_s, started = self.decoded.queue_s, self.decoded.started
            yield Stage("queue", started - queue_s, queue_s)
            yield Stage("decode", started, self.decoded.decode_s, self.decoded.batch)
        if "items" in self.stages:
            yield Stage("items", self._started, self.stages["items"])

    def timings(self) -> Timings:
        """All stages in milliseconds; 0 for those that were not needed."""
        queue_s, decode_s = (self.decoded.queue_s, self.decoded.decode_s) if self.decoded else (0.0, 0.0)
        stages = {"queue": queue_s, "decode": decode_s, "items": 0.0} | self.stages
        return Timings(**{stage: round(1000 * seconds, 3) for stage, seconds in stages.items()})
