"""``radsearch bench``: one command per benchmark."""

import typer

from benchmarks.assignment import assignment
from benchmarks.bm25 import bm25
from benchmarks.decode.command import decode
from benchmarks.experiments import experiments
from benchmarks.live import live
from benchmarks.objectives.command import objectives
from benchmarks.packing import packing
from benchmarks.quality import quality
from benchmarks.scale import scale
from benchmarks.serving.command import service
from benchmarks.sids import sids
from benchmarks.sizing import sizing
from benchmarks.training_speed import training_speed

bench = typer.Typer(no_args_is_help=True)
bench.command("assignment")(assignment)
bench.command("bm25")(bm25)
bench.command("decode")(decode)
bench.command("experiments")(experiments)
bench.command("live")(live)
bench.command("objectives")(objectives)
bench.command("packing")(packing)
bench.command("quality")(quality)
bench.command("scale")(scale)
bench.command("service")(service)
bench.command("sids")(sids)
bench.command("sizing")(sizing)
bench.command("training-speed")(training_speed)


@bench.callback()
def _group() -> None:
    """Measure baselines and speed side by side.

    Example: radsearch bench bm25 --data data --split test
    """
