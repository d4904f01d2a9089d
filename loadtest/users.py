"""What one shopper does: searches, narrows, asks for several queries at once, and clicks."""

import random
import time
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import TypeVar

from locust import FastHttpUser, task
from locust.contrib.fasthttp import ResponseContextManager
from pydantic import BaseModel, ValidationError

from loadtest.answers import BatchAnswer, EventAnswer, SearchAnswer, kind_of
from loadtest.errors import BadAnswerError
from loadtest.narrowing import attribute_filter
from loadtest.queries import SHIPPED_QUERIES, load_queries, zipf_stream
from loadtest.recorder import SEARCH
from loadtest.settings import LoadtestSettings

PAGE_SIZE = 20
BATCH_SIZE = 8
N_SHOPPERS = 10_000
"""Distinct user ids, so that an experiment has someone to assign."""

CLICK_DECAY = 0.5
"""Clicks fall off with the rank at this rate: four in ten on the first item, six on the first two."""

BACK_OFF_S = 0.1
"""Pause after a request that got no answer at all; without it a dead server would be met by a busy loop."""


Answer = TypeVar("Answer", bound=BaseModel)


class Shopper(FastHttpUser):
    """One shopper with no pause between requests: the next is sent when the last is answered.

    The tasks' weights say how often each happens. Filters and clicks are taken from what an earlier answer
    showed, so they fit any catalogue.
    """

    abstract = True
    network_timeout = 30.0
    connection_timeout = 10.0

    rng: random.Random
    queries: Iterator[str]

    def on_start(self) -> None:
        """Begin with nothing searched for."""
        self.query = ""
        self.seen: SearchAnswer | None = None

    @task(20)
    def search(self) -> None:
        """Send a new query."""
        self.query = next(self.queries)
        self._search({})

    @task(4)
    def narrow(self) -> None:
        """Repeat the query, held to an attribute value that one of its items has."""
        if self.seen and (filters := attribute_filter(self.seen.items, self.rng)):
            self._search({"filters": filters})

    @task(4)
    def click(self) -> None:
        """Click one item of the last answer, the first ones more often."""
        if self.seen and self.seen.items:
            rank = min(int(self.rng.expovariate(CLICK_DECAY)), len(self.seen.items) - 1)
            item_id = self.seen.items[rank].item_id
            event = {"request_id": self.seen.request_id, "type": "click", "item_id": item_id}
            self._post("/v1/events", event, EventAnswer)

    @task(1)
    def search_batch(self) -> None:
        """Send several queries in one request."""
        searches = [{"query": next(self.queries), "k": PAGE_SIZE} for _ in range(BATCH_SIZE)]
        self._post("/v1/search/batch", {"searches": searches}, BatchAnswer)

    def _search(self, narrowed: dict[str, object]) -> None:
        user_id = f"shopper-{self.rng.randrange(N_SHOPPERS)}"
        body = {"query": self.query, "k": PAGE_SIZE, "user_id": user_id} | narrowed
        self.seen = self._post(SEARCH, body, SearchAnswer)

    def _post(self, path: str, body: Mapping[str, object], model: type[Answer]) -> Answer | None:
        """Send one request and report it as good or as one kind of error.

        Args:
            path: endpoint, which is also the name that the request is counted under.
            body: what to send as JSON.
            model: what a good answer looks like.

        Returns:
            The answer, or None where the request failed.
        """
        with self.client.post(path, json=body, catch_response=True) as response:
            try:
                answer = read_answer(response, model)
            except BadAnswerError as error:
                response.failure(str(error))
            else:
                response.request_meta["context"]["answer"] = answer
                return answer
        if response.status_code == 0:
            time.sleep(BACK_OFF_S)  # yields to the other users: locust has patched it
        return None


def read_answer(response: ResponseContextManager, model: type[Answer]) -> Answer:
    """Decode an answer.

    Raises:
        BadAnswerError: whose text is the kind of error, one of a bounded number.
    """
    if response.status_code >= HTTPStatus.BAD_REQUEST:
        raise BadAnswerError(f"status {response.status_code}")
    broken = response.request_meta["exception"]
    if broken is not None:
        raise BadAnswerError(f"no answer: {type(broken).__name__}")
    try:
        return model.model_validate_json(response.content or b"{}")
    except ValidationError as error:
        raise BadAnswerError(kind_of(error)) from error


def shopper(settings: LoadtestSettings) -> type[Shopper]:
    """Make the user class of one load test; its users draw from one seeded stream."""
    generator = random.Random(settings.seed)
    stream = zipf_stream(load_queries(settings.queries or SHIPPED_QUERIES), settings.zipf, generator)
    key = settings.key

    class ShopperOfThisTest(Shopper):
        host = settings.url.rstrip("/")
        default_headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else None
        rng = generator
        queries = stream

    return ShopperOfThisTest
