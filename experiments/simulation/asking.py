"""Many requests to a service, some at once."""

import asyncio
from collections.abc import Awaitable, Callable

from experiments.errors import ExperimentError
from radsearch.client import AsyncClient, ClientError

AT_ONCE = 8  # enough to keep a small machine busy
DEADLINE_S = 60.0


def ask(url: str, n_tasks: int, task: Callable[[AsyncClient, int], Awaitable[None]]) -> None:
    """Do tasks 0, 1, … with a client of a service, some of them at once.

    Args:
        url: of the service.
        n_tasks: how many.
        task: one of them; is given the client and its number.

    Raises:
        ExperimentError: if the service refuses something or is gone.
    """
    numbers = iter(range(n_tasks))

    async def worker(client: AsyncClient) -> None:
        for number in numbers:
            await task(client, number)

    async def run() -> None:
        async with AsyncClient(url, deadline_s=DEADLINE_S) as client, asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(worker(client))

    try:
        asyncio.run(run())
    except* (ClientError, ExperimentError) as group:
        raise ExperimentError(f"the simulation ended early: {group.exceptions[0]}") from group
