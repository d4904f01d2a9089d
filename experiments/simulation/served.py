"""``radsearch serve`` in a process of its own, for as long as a block lasts."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from experiments.errors import ExperimentError

OF_A_SERVICE = ("RADSEARCH_", "REDIS_URL", "PORT")
"""Begins of the environment's names that mean another service, and shall not change this one."""

SETTINGS = {
    # Shoppers wait, so that a slow machine shows them nothing else than a fast one.
    "RADSEARCH_MAX_QUEUE_MS": "600000",
    "RADSEARCH_TIMEOUT_MS": "30000",
    "RADSEARCH_REDIS_TIMEOUT_MS": "30000",
    # Beside other queries of a batch sums are rounded otherwise, and items all but equal change places.
    "RADSEARCH_MAX_BATCH": "1",
    # Caches would make the variant that more shoppers get the faster one.
    "RADSEARCH_RESULT_CACHE": "0",
    "RADSEARCH_ITEM_CACHE": "0",
}
"""With these a query has one answer, at one price, whoever else searches and however busy the machine is."""


@contextmanager
def served(bundles: Sequence[str], features: dict[str, Any], directory: Path) -> Iterator[str]:
    """Serve bundles, and give the URL.

    When the block has ended the service has as well, and ``directory/events`` has all of its log.

    Args:
        bundles: as ``radsearch serve`` takes them.
        features: of GrowthBook.
        directory: for its files; exists.

    Raises:
        ExperimentError: if the service does not start.
    """
    experiments, log = directory / "features.json", directory / "serve.log"
    experiments.write_text(json.dumps({"features": features}), encoding="utf-8")
    arguments = ["serve", "--json", "--port", "0", "--log-level", "error"]
    arguments += ["--experiments", str(experiments), "--event-log", str(directory / "events")]
    for bundle in bundles:
        arguments += ["--bundle", bundle]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(OF_A_SERVICE)}
    environment |= SETTINGS
    with (
        log.open("w", encoding="utf-8") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "radsearch", *arguments],
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
        ) as process,
    ):
        try:
            assert process.stdout is not None  # noqa: S101 — it is a pipe
            announced = process.stdout.readline()
            if not announced:
                said = log.read_text(encoding="utf-8").strip().splitlines()
                raise ExperimentError(f"the service did not start: {said[-1] if said else 'it says nothing'}")
            yield json.loads(announced)["url"]
        finally:
            process.terminate()
