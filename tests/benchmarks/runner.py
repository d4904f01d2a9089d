"""Benchmarks as the command line runs them."""

from typer.testing import CliRunner, Result

from radsearch.cli import build


def bench(*arguments: object) -> Result:
    """What ``radsearch bench`` with these arguments came to."""
    argv = ["bench", *map(str, arguments)]
    return CliRunner().invoke(build(argv), argv)
