"""How every benchmark ends: its result in a file, and on the terminal as a table or as JSON."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console

from benchmarks.record import write_record

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Out = Annotated[Path | None, typer.Option(help="Also write the result to this file.")]


def deliver(
    result: dict[str, Any], out: Path | None, as_json: bool, show: Callable[[dict[str, Any], Console], None]
) -> None:
    """Write a result where it was asked for and print it.

    Args:
        result: one JSON object.
        out: file for it, or None.
        as_json: print it as one line of JSON instead of by ``show``.
        show: prints it for people.

    Raises:
        RecordError: if the file cannot be written.
    """
    if out is not None:
        write_record(out, result)
    if as_json:
        typer.echo(orjson.dumps(result))
    else:
        show(result, Console(highlight=False))
