"""``radsearch prepare``."""

from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console

from training.data.prepare import PrepareSettings
from training.data.prepare import prepare as prepare_data
from training.data.rejects import OnError

N_ATTRIBUTES = 8  # named in the summary; all of them are in prepare.json


def prepare(
    items: Annotated[Path, typer.Option(help="Catalogue: item_id, title, attributes.")],
    out: Annotated[Path, typer.Option(help="Data directory to write; an older one is replaced.")],
    sessions: Annotated[Path | None, typer.Option(help="Sessions: query, positives, negatives.")] = None,
    judgments: Annotated[Path | None, typer.Option(help="Judgments: query, item_id, grade.")] = None,
    positive_from: Annotated[float, typer.Option(help="Grade from which an item is relevant.")] = 2.5,
    negative_to: Annotated[float, typer.Option(help="Grade up to which an item is a negative.")] = 2.0,
    on_error: Annotated[OnError, typer.Option(help="What to do with a bad row.")] = "fail",
    vocab_size: Annotated[int, typer.Option(min=260, help="Most tokens of the tokenizer.")] = 4096,
    keep_case: Annotated[bool, typer.Option("--keep-case", help="Keep case and accents in queries.")] = False,
    max_prompt: Annotated[int, typer.Option(min=4, help="Tokens of the longest prompt.")] = 32,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Check items, sessions and judgments, split them by query, and train the tokenizer.

    Files are JSONL, CSV (either also as .gz) or Parquet. With judgments alone, sessions are made from them.

    Example: radsearch prepare --items items.csv.gz --judgments judgments.csv.gz --out data
    """
    settings = PrepareSettings(positive_from, negative_to, on_error, vocab_size, not keep_case, max_prompt)
    report = prepare_data(items, sessions, judgments, out, settings)
    if as_json:
        typer.echo(orjson.dumps(report))
    else:
        _print(report, out, Console(highlight=False))


def _print(report: dict[str, Any], out: Path, console: Console) -> None:
    items, sessions = report["items"], report["sessions"]
    console.print(f"[bold]{items['count']:,} items[/bold]  {_attributes(items['attributes'])}")
    console.print(f"[bold]{sum(sessions['count'].values()):,} sessions[/bold]  {_splits(sessions['count'])}")
    console.print(f"  of {sum(sessions['queries'].values()):,} queries: {_splits(sessions['queries'])}")
    if "judgments" in report:
        judgments = report["judgments"]
        console.print(
            f"[bold]{judgments['grades']:,} judgments[/bold]  of queries: {_splits(judgments['queries'])}"
        )
    console.print(f"[bold]{report['tokenizer']['vocab_size']:,} tokens[/bold]")
    rejected = report["rejected"]
    if rejected["total"]:
        console.print(f"[yellow]bad rows left out: {rejected['total']:,}[/yellow]")
        for reason, count in rejected["by_reason"].items():
            console.print(f"  {count:,} × {reason}", markup=False)
        for sentence in rejected["first"]:
            console.print(f"  {sentence}", markup=False)
    console.print(f"→ {out}", markup=False)


def _attributes(types: dict[str, str]) -> str:
    """Name the attributes, or the first few of many."""
    first = [f"{name} {kind}" for name, kind in list(types.items())[:N_ATTRIBUTES]]
    more = [f"{len(types) - N_ATTRIBUTES} more"] if len(types) > N_ATTRIBUTES else []
    return ", ".join(first + more) or "no attributes"


def _splits(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {split}" for split, count in counts.items())
