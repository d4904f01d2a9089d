"""What shoppers do, one visit after the other: search, filter, send batches, click, put into carts, buy.

A visit is a generator that yields requests and is sent their answers. It does not know how they travel, nor
when: the closed loop and the open loop draw from the same visits.
"""

import random
import uuid
from collections.abc import Generator, Iterator

from loadtest.answers import Answer, Item, Operation, Request, SearchAnswer
from loadtest.clicks import clicked_positions, event_types
from loadtest.filters import attribute_filter, filterable_attributes
from loadtest.queries import SHIPPED_QUERIES, load_queries, query_stream
from loadtest.settings import LoadtestSettings
from loadtest.thinking import ThinkTime, think_time

PAGE_SIZE = 20
BATCH_SIZE = 8
N_SHOPPERS = 10_000
"""Distinct user ids, so that an experiment has someone to assign."""

LEAVING = 0.25
"""Chance that a visit ends after a query: four queries in the mean."""

REPEATS = 0.02
"""Share of the events that are sent twice under one id, as phones with a bad connection do."""

Visit = Generator[Request, Answer | None, None]


class Shoppers:
    """Everyone who visits the shop; they draw from one seeded stream of queries and choices."""

    def __init__(self, settings: LoadtestSettings) -> None:
        self._rng = random.Random(settings.seed)
        self._settings = settings
        queries = load_queries(settings.queries or SHIPPED_QUERIES)
        self._queries = query_stream(queries, settings.zipf, settings.synthetic, self._rng)
        self._attributes: frozenset[str] | None = None
        self._looked_around = False

    def look_around(self, url: str) -> None:
        """Learn what filters may name in a shop, the first time; where it does not say, what answers show."""
        if not self._looked_around:
            self._looked_around = True
            self._attributes = filterable_attributes(url, self._settings.bearer)

    def think_time(self) -> ThinkTime:
        """How long the shopper of one visit thinks."""
        return think_time(self._settings.think, self._rng)

    def pause(self, think_time: ThinkTime) -> float:
        """Seconds of one pause."""
        return think_time(self._rng)

    def visit(self) -> Visit:
        """One visit, from the first query to the last event."""
        user_id = f"shopper-{self._rng.randrange(N_SHOPPERS)}"
        while True:
            if self._rng.random() < self._settings.batches:
                searches = [{"query": next(self._queries), "k": PAGE_SIZE} for _ in range(BATCH_SIZE)]
                yield Request(Operation.BATCH, {"searches": searches})
            else:
                yield from self._search(user_id)
            if self._rng.random() < LEAVING:
                return

    def _search(self, user_id: str) -> Visit:
        """A query and what follows: events, perhaps the same query with a filter, and its events."""
        body = {"query": next(self._queries), "k": PAGE_SIZE, "user_id": user_id}
        answer = yield Request(Operation.SEARCH, body)
        yield from self._use(answer, user_id)
        if not isinstance(answer, SearchAnswer) or self._rng.random() >= self._settings.filters:
            return
        if filters := attribute_filter(answer.items, self._attributes, self._rng):
            answer = yield Request(Operation.FILTER, body | {"filters": filters})
            yield from self._use(answer, user_id)

    def _use(self, answer: Answer | None, user_id: str) -> Visit:
        """The events that an answer leads to."""
        if not isinstance(answer, SearchAnswer):
            return
        for position in clicked_positions(len(answer.items), self._settings.clicks, self._rng):
            for event in self._events(answer.items[position - 1]):
                body = {"request_id": answer.request_id, "user_id": user_id} | event
                yield Request(Operation.EVENT, body)
                if self._rng.random() < REPEATS:
                    yield Request(Operation.EVENT, body)

    def _events(self, item: Item) -> Iterator[dict[str, object]]:
        price = item.attributes.get("price")
        for kind in event_types(self._rng):
            event: dict[str, object] = {"type": kind, "item_id": item.item_id}
            event["event_id"] = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
            if isinstance(price, int | float) and price >= 0:
                event["price"] = price
            yield event


class Shopper:
    """Someone who visits the shop again and again."""

    def __init__(self, shoppers: Shoppers) -> None:
        self._shoppers = shoppers
        self._answer: Answer | None = None
        self._begin()

    def next_request(self) -> Request:
        """The next request of the visit, or the first of the next visit."""
        try:
            return self._visit.send(self._answer)
        except StopIteration:
            self._begin()
            return next(self._visit)

    def take(self, answer: Answer | None) -> None:
        """Take the answer to the last request; None where it failed."""
        self._answer = answer

    def pause(self) -> float:
        """Seconds to think before the next request."""
        return self._shoppers.pause(self._think_time)

    def _begin(self) -> None:
        self._visit, self._think_time = self._shoppers.visit(), self._shoppers.think_time()
        self._answer = None  # what a generator that has not begun must be sent
