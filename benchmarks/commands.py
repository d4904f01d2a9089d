"""``radsearch bench``: one command per benchmark."""

import typer

from benchmarks.bm25 import bm25
from benchmarks.objectives.command import objectives
from benchmarks.sids import sids

bench = typer.Typer(no_args_is_help=True)
bench.command("bm25")(bm25)
bench.command("objectives")(objectives)
bench.command("sids")(sids)


@bench.callback()
def _group() -> None:
    """Measure baselines and speed side by side.

    Example: radsearch bench bm25 --data data --split test
    """
