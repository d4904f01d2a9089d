"""A simulation from a shop and its bundles to an event log."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.errors import ExperimentError
from experiments.simulation.known_shop import KnownShop
from experiments.simulation.moved_log import check_unwritten, move_log
from experiments.simulation.served import served
from experiments.simulation.shoppers import Days, Shoppers
from experiments.simulation.visits import Visited, visit


@dataclass(frozen=True)
class Arms:
    """What shoppers are shown.

    Attributes:
        bundles: ``NAME=DIR`` each, the control first; a single one is no experiment.
        weights: of the bundles, together 1; None for equal ones.
        interleave: show everybody both of two, in one list.
        effect: shoppers of other bundles than the first click more readily, by this factor minus 1.
    """

    bundles: tuple[str, ...]
    weights: tuple[float, ...] | None = None
    interleave: bool = False
    effect: float = 0.0

    @property
    def names(self) -> list[str]:
        """Of the variants."""
        return [bundle.partition("=")[0].partition("@")[0] for bundle in self.bundles]

    @property
    def key(self) -> str | None:
        """Of the experiment, if there is one."""
        return ("-with-" if self.interleave else "-against-").join(self.names) if self.bundles[1:] else None

    def check(self) -> None:
        """Refuse what makes no sense.

        Raises:
            ExperimentError: says what.
        """
        if not self.bundles or any("=" not in bundle for bundle in self.bundles):
            raise ExperimentError("pass --bundle NAME=DIR once for each variant, the control first")
        if len(set(self.names)) < len(self.names):
            raise ExperimentError(f"--bundle has a name twice: {', '.join(self.names)}")
        if self.interleave and (len(self.bundles) != 2 or self.weights or self.effect):
            raise ExperimentError(
                "--interleave shows two bundles to everybody; --weights and --effect do not fit"
            )
        if self.weights is not None and (
            len(self.weights) != len(self.bundles) or abs(sum(self.weights) - 1) > 1e-6
        ):
            raise ExperimentError(f"--weights needs {len(self.bundles)} numbers that sum to 1")

    def features(self) -> dict[str, Any]:
        """The experiment as the service's features; see ``docs/experiments.md``."""
        weights = list(self.weights or [1 / len(self.names)] * len(self.names))
        split: dict[str, Any] = {"key": self.key, "seed": self.key, "hashVersion": 2}
        split |= {"variations": self.names, "weights": weights}
        both: dict[str, Any] = {"id": self.key, "force": {"interleave": self.names}}
        rules = [both if self.interleave else split] if self.key is not None else []
        return {"variant": {"defaultValue": self.names[0], "rules": rules}}


def simulate(
    shop: KnownShop, arms: Arms, days: Days, out: Path, report: Callable[[int, int], None]
) -> Visited:
    """Let shoppers visit the real service, and write its log as if it had taken days.

    Args:
        shop: what they want.
        arms: what they are shown.
        days: who comes when.
        out: directory of the event log, which may have other days already.
        report: told how many searches are done, and of how many.

    Raises:
        ExperimentError: if arms make no sense, the service does not start or fails, or out has these days.
    """
    arms.check()
    check_unwritten(out, days.first, days.n_days)
    traffic = Shoppers.draw(days).traffic(shop.frequency, days.first)
    eagerness = dict.fromkeys(arms.names[1:], 1 + arms.effect)
    n_done = 0

    def advance() -> None:
        nonlocal n_done
        n_done += 1
        report(n_done, len(traffic))

    with tempfile.TemporaryDirectory(prefix="radsearch-simulation-") as scratch:
        with served(arms.bundles, arms.features(), Path(scratch)) as url:
            visited = visit(url, shop, traffic, eagerness, advance)
        move_log(Path(scratch) / "events", visited.days, days.first, out)
    return visited
