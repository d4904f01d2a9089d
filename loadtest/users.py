"""The closed loop's users for locust: each makes visits, and waits for an answer before it goes on."""

import time

from locust import FastHttpUser, LoadTestShape, task

from loadtest.answers import Answer, Request, read_answer
from loadtest.settings import DEFAULT_SECONDS, DEFAULT_USERS, LoadtestSettings
from loadtest.shapes import SHAPES
from loadtest.visits import Shopper, Shoppers

BACK_OFF_S = 0.1
"""Pause after a request that got no answer at all; without it a dead server would be met by a busy loop."""

MAX_SPAWN_RATE = 100.0
"""Users started per second; locust warns above it."""


class ShopUser(FastHttpUser):
    """Someone who makes one visit after the other."""

    abstract = True
    network_timeout = 30.0
    connection_timeout = 10.0

    shoppers: Shoppers

    def on_start(self) -> None:
        """Come to the shop; the first one looks what filters may name."""
        self.shoppers.look_around(str(self.host))
        self.shopper = Shopper(self.shoppers)

    def wait_time(self) -> float:
        """Seconds that this shopper thinks."""
        return self.shopper.pause()

    @task
    def next_step(self) -> None:
        """Take the next step of the visit."""
        self.shopper.take(self._post(self.shopper.next_request()))

    def _post(self, request: Request) -> Answer | None:
        """Send one request and report it as good or as one kind of error; None where it failed."""
        name = str(request.operation)
        with self.client.post(request.path, json=request.body, name=name, catch_response=True) as response:
            broken = response.request_meta["exception"]
            if broken is not None and response.status_code == 0:
                outcome: Answer | str = f"no answer: {type(broken).__name__}"
            else:
                outcome = read_answer(request.operation, response.status_code, response.content or b"{}")
            if isinstance(outcome, str):
                response.failure(outcome)
            response.request_meta["context"]["outcome"] = outcome
        if response.status_code == 0:
            time.sleep(BACK_OFF_S)  # yields to the other users: locust has patched it
        return None if isinstance(outcome, str) else outcome


def user_class(settings: LoadtestSettings) -> type[ShopUser]:
    """Make the user class of one load test; its users draw from one seeded stream."""
    bearer = settings.bearer

    class UserOfThisTest(ShopUser):
        host = settings.url.rstrip("/")
        default_headers = {"Authorization": f"Bearer {bearer}"} if bearer else None
        shoppers = Shoppers(settings)

    return UserOfThisTest


def shape_class(settings: LoadtestSettings) -> type[LoadTestShape]:
    """Make locust's shape of one load test: how many users there are at each time."""
    share_of_peak = SHAPES[settings.shape]
    seconds = settings.seconds or DEFAULT_SECONDS
    peak = settings.users or DEFAULT_USERS

    class ShapeOfThisTest(LoadTestShape):
        def tick(self) -> tuple[int, float] | None:
            """Users, and how many of them start per second; None at the end."""
            passed = self.get_run_time() / seconds  # type: ignore[no-untyped-call]
            users = max(1, round(peak * share_of_peak(passed)))
            return (users, min(users, MAX_SPAWN_RATE)) if passed < 1 else None

    return ShapeOfThisTest
