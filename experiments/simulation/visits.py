"""Shoppers' searches over HTTP, and what they do with the answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from experiments.simulation.asking import ask
from experiments.simulation.choices import Choices, choose
from experiments.simulation.known_shop import PAGE, KnownShop
from experiments.simulation.shoppers import Traffic
from radsearch.client import AsyncClient, SearchAnswer


@dataclass
class Visited:
    """What came of searches.

    Attributes:
        days: by request_id, when it was in the simulated time, in days.
        searches: by variant that answered.
        clicks, carts, purchases: that were sent.
        degraded: searches that the service answered with less than it can.
    """

    days: dict[str, float] = field(default_factory=dict)
    searches: dict[str, int] = field(default_factory=dict)
    clicks: int = 0
    carts: int = 0
    purchases: int = 0
    degraded: int = 0


def shopper_id(number: int) -> str:
    """The ``user_id`` of a shopper."""
    return f"shopper-{number}"


def visit(
    url: str, shop: KnownShop, traffic: Traffic, eagerness: Mapping[str, float], advance: Callable[[], None]
) -> Visited:
    """Send the searches of some traffic to a service, and what shoppers do with each answer.

    Args:
        url: of the service.
        shop: that it serves.
        traffic: what is searched.
        eagerness: factor on how readily shoppers click, by variant that answers; 1 where none is given.
        advance: called after each search.

    Raises:
        ExperimentError: if the service refuses a search or is gone.
    """
    visited = Visited()

    async def search(client: AsyncClient, number: int) -> None:
        query, user_id = int(traffic.query[number]), shopper_id(int(traffic.shopper[number]))
        answer = await client.search(shop.queries[query], k=PAGE, user_id=user_id)
        visited.days[answer.request_id] = float(traffic.day[number])
        visited.searches[answer.variant] = visited.searches.get(answer.variant, 0) + 1
        visited.degraded += bool(answer.degraded)
        page = shop.page([item.item_id for item in answer.items])
        eager = traffic.eagerness[number] * eagerness.get(answer.variant, 1.0)
        choices = choose(shop.grades(query, page), np.asarray(eager), traffic.coins[number])
        await _act(client, shop, answer, choices, user_id, visited)
        advance()

    ask(url, len(traffic), search)
    return visited


async def _act(
    client: AsyncClient,
    shop: KnownShop,
    answer: SearchAnswer,
    choices: Choices,
    user_id: str,
    visited: Visited,
) -> None:
    for place in np.flatnonzero(choices.clicked).tolist():
        item_id = answer.items[place].item_id
        price = float(shop.prices[shop.rows[item_id]])
        await client.event(answer.request_id, "click", item_id, user_id)
        visited.clicks += 1
        if choices.carted[place]:
            await client.event(answer.request_id, "cart", item_id, user_id, price=price)
            visited.carts += 1
        if choices.bought[place]:
            await client.event(answer.request_id, "purchase", item_id, user_id, price=price)
            visited.purchases += 1
