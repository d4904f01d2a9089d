"""Make the closed loop: ``python -m loadtest.closed_loop``.

Settings come from the environment, the report goes to stdout as JSON. It is a process of its own because
locust patches the standard library for gevent when it is imported.
"""

import random
import sys
import time

from locust.env import Environment

from loadtest.answers import Answer, Operation
from loadtest.recorder import Recorder
from loadtest.report import Report, summarise
from loadtest.settings import DEFAULT_SECONDS, DEFAULT_USERS, LoadtestSettings
from loadtest.slo import Slo, load_slo
from loadtest.users import MAX_SPAWN_RATE, shape_class, user_class

DRAIN_S = 35.0
"""How long a request in flight may still take at the end, which is more than a shopper's own patience."""


def run(settings: LoadtestSettings) -> Report:
    """Let the shoppers work for as long as was asked, then let each finish its request."""
    random.seed(settings.seed)
    users, seconds = settings.users or DEFAULT_USERS, settings.seconds or DEFAULT_SECONDS
    recorder = Recorder()
    environment = Environment(user_classes=[user_class(settings)], stop_timeout=DRAIN_S)
    start, wall_start, cpu = time.perf_counter(), time.time(), time.process_time()

    def on_request(
        *, name: str, start_time: float, response_time: float, context: dict[str, Answer | str], **_: object
    ) -> None:
        recorder.add(Operation(name), start_time - wall_start, response_time, context["outcome"])

    environment.events.request.add_listener(on_request)  # type: ignore[no-untyped-call]
    runner = environment.create_local_runner()
    if settings.shape == "constant":
        runner.start(users, spawn_rate=min(users, MAX_SPAWN_RATE))
    else:
        environment.shape_class = shape_class(settings)()
        runner.start_shape()
    time.sleep(seconds)  # yields to the users: locust has patched it
    runner.quit()
    took_s = time.perf_counter() - start
    return summarise(
        recorder,
        load_slo(settings.slo) if settings.slo else Slo(),
        url=settings.url,
        loop="closed",
        load=f"{users} users, {settings.shape}, think time {settings.think}",
        seconds=took_s,
        cpu_share=(time.process_time() - cpu) / took_s,
    )


if __name__ == "__main__":
    sys.stdout.write(run(LoadtestSettings()).model_dump_json())
