"""Make the load: ``python -m loadtest.run``, settings from the environment, the report as JSON on stdout.

It is a process of its own because locust patches the standard library for gevent when it is imported.
"""

import random
import sys
import time

from locust.env import Environment

from loadtest.recorder import Recorder, Report
from loadtest.settings import LoadtestSettings
from loadtest.users import shopper

MAX_SPAWN_RATE = 100
"""Users started per second; locust warns above it."""

DRAIN_S = 35.0
"""How long a request in flight may still take at the end, which is more than a shopper's own patience."""


def run(settings: LoadtestSettings) -> Report:
    """Let the shoppers work for as long as was asked, then let each finish its request."""
    random.seed(settings.seed)  # from which locust draws the users' tasks
    recorder = Recorder()
    environment = Environment(user_classes=[shopper(settings)], stop_timeout=DRAIN_S)
    environment.events.request.add_listener(recorder.on_request)  # type: ignore[no-untyped-call]
    runner = environment.create_local_runner()
    start = time.perf_counter()
    runner.start(settings.users, spawn_rate=min(settings.users, MAX_SPAWN_RATE))
    time.sleep(settings.seconds)  # yields to the users: locust has patched it
    runner.quit()
    seconds = time.perf_counter() - start
    return recorder.report(settings.url, settings.users, seconds, runner.cpu_warning_emitted)


if __name__ == "__main__":
    sys.stdout.write(run(LoadtestSettings()).model_dump_json())
