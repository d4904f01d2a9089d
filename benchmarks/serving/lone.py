"""Searches one at a time, by an engine, by an empty application and by the service."""

import itertools
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from benchmarks.serving.bare import BareEngine
from benchmarks.serving.http_load import LoneClient, Reply, search_request
from sid import RadsearchError


class ServiceBenchError(RadsearchError):
    """A service that fails without load."""


@dataclass
class LoneSearches:
    """Searches one at a time, by three who take turns.

    Attributes:
        bare: the engine.
        of_empty, of_service: clients of the two servers.
        seconds: of searches, by who answered.
        stages: in milliseconds, of each search of the service.
    """

    bare: BareEngine
    of_empty: LoneClient
    of_service: LoneClient
    seconds: dict[str, list[float]] = field(
        default_factory=lambda: {"engine": [], "empty": [], "service": []}
    )
    stages: list[dict[str, float]] = field(default_factory=list)

    def take_turns(self, texts: Iterator[str], n: int, pause_s: float) -> None:
        """Each searches n times, every time after a pause."""
        self.seconds["engine"] += self.bare.latencies(texts, n, pause_s).tolist()
        self.seconds["empty"] += [r.seconds for r in one_by_one(self.of_empty, texts, n, pause_s)]
        for reply in one_by_one(self.of_service, texts, n, pause_s):
            self.seconds["service"].append(reply.seconds)
            self.stages.append(json.loads(reply.body)["timings_ms"])

    def p50_ms(self) -> dict[str, float]:
        """Medians, and how far those of the servers are above the engine's."""
        p50 = {who: 1000 * statistics.median(seconds) for who, seconds in self.seconds.items()}
        return {
            **{f"{who}_p50_ms": milliseconds for who, milliseconds in p50.items()},
            "empty_overhead_p50_ms": p50["empty"] - p50["engine"],
            "overhead_p50_ms": p50["service"] - p50["engine"],
        }

    def stages_p50_ms(self) -> dict[str, float]:
        """Medians of the service's stages."""
        return {name: statistics.median(stage[name] for stage in self.stages) for name in self.stages[0]}


def one_by_one(client: LoneClient, texts: Iterator[str], n: int, pause_s: float = 0.0) -> list[Reply]:
    """The answers to n searches, each sent when the one before is answered and a pause has passed."""
    replies = []
    for text in itertools.islice(texts, n):
        time.sleep(pause_s)
        replies.append(client.send(search_request(text)))
    for reply in replies:
        if reply.status != 200:
            raise ServiceBenchError(f"a search was answered with status {reply.status}")
    return replies
