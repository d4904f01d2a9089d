"""``radsearch bench sids``: which codebooks, plain or balanced, lead a decoder to the relevant items."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.output import AsJson, Out, deliver
from benchmarks.record import record
from sid import RadsearchError, SidTable, Trie
from sid.report import SidReport, report
from training.commands.sids import parse_codebooks
from training.data.splits import Split
from training.dataset import Dataset
from training.distributed import World, joined_world
from training.judged import judged_queries
from training.metrics import SID_RECALLS, Interval, PerQuery, intervals, relevant_items, sid_values
from training.model import Decoder
from training.search import TrieTree, constrained_search, search_queries
from training.settings import TrainSettings, make_objective, parse_assignments, read_settings
from training.sids.kmeans import train_quantizer
from training.train import TrainRequest, plan, starting_decoder
from training.trainer import fit

GRID = "64,64,64;128,128;128,128,128;256,256,256"
FIRST = 256  # candidates that are compared however many items a SID has
SHARES = ("Candidate recall", f"Candidate recall, first {FIRST}")
LEGEND = (
    "most: items of the fullest SID; even: evenness of the least even level; lost: share of the embeddings' "
    f"variance; found: share of the relevant items among all candidates and among the first {FIRST}; items: "
    "candidates per query"
)

Leaves = NDArray[np.int64]


class GridError(RadsearchError):
    """A grid that cannot be measured."""


@dataclass(frozen=True)
class Point:
    """One way to make SIDs.

    Attributes:
        codebooks: centroids per level.
        balanced: whether codes share the items evenly.
        seed: of k-means, and of the decoder's training.
    """

    codebooks: tuple[int, ...]
    balanced: bool
    seed: int


@dataclass(frozen=True)
class Measured:
    """What came of a point.

    Attributes:
        point: how the SIDs were made.
        sids: how they are spread.
        seconds: by stage.
        loss: of the last steps of training.
        metrics: on held-out queries.
    """

    point: Point
    sids: SidReport
    seconds: dict[str, float]
    loss: float
    metrics: dict[str, Interval]

    def to_dict(self) -> dict[str, Any]:
        """Plain form for JSON."""
        return {
            **asdict(self.point),
            "seconds": self.seconds,
            "loss": self.loss,
            "metrics": {name: asdict(interval) for name, interval in self.metrics.items()},
            "sids": self.sids.to_dict(),
        }


def sids(
    data: Annotated[Path, typer.Option(help="Data directory, with embeddings.")],
    grid: Annotated[str, typer.Option(help="Codebooks to compare, separated by semicolons.")] = GRID,
    balanced: Annotated[Literal["no", "yes", "both"], typer.Option(help="Which variants.")] = "both",
    steps: Annotated[int, typer.Option(min=1, help="Of SFT, the same for all.")] = 500,
    seeds: Annotated[str, typer.Option(help="Of k-means and training, as in 0,1,2.")] = "0",
    config: Annotated[Path | None, typer.Option(help="TOML file with training settings.")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="A training setting, as in model.d_model=64.")
    ] = None,
    split: Annotated[Split, typer.Option(help="Which queries to judge by.")] = "valid",
    beam_width: Annotated[int, typer.Option(min=1, max=4096, help="SIDs to find per query.")] = 128,
    max_queries: Annotated[int | None, typer.Option(min=1, help="Judge by a sample of this size.")] = None,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Quantise a shop's embeddings in several ways and train a decoder on each from scratch.

    SID recall is over SIDs, of which each way has others; candidate recall is over items and compares them:
    the share of the relevant items behind the SIDs found, all of these or the first 256.

    Example: radsearch bench sids --data data --grid "64,64,64;256,256" --steps 500
    """
    points = parse_grid(grid, balanced, seeds)
    flags = {**parse_assignments(assignments or []), "steps": steps}
    settings = read_settings(config, flags)
    console = Console(stderr=True, highlight=False)
    dataset = Dataset.load(data)
    with joined_world(settings.device) as world:
        rows = []
        for point in points:
            console.print(_name(point))
            rows.append(measure(dataset, point, settings, split, beam_width, max_queries, world, console))
        device = world.device
    fields = {
        "data": {"items": dataset.n_items, "dim": dataset.item_embeddings.shape[1]},
        "settings": settings.model_dump(mode="json"),
        "split": split,
        "beam_width": beam_width,
        "points": [row.to_dict() for row in rows],
    }
    made = record("sids", device, sorted({point.seed for point in points}), fields, ("faiss-cpu",))
    deliver(made, out, as_json, lambda _, console: _print(rows, split, console))


def parse_grid(grid: str, balanced: str, seeds: str) -> list[Point]:
    """Read ``"64,64,64;128,128"``, ``"both"`` and ``"0,1"`` as all their combinations.

    Raises:
        GridError: if a seed is no whole number ≥ 0.
        DataError: if a list of codebooks is none.
    """
    try:
        numbers = [int(seed) for seed in seeds.split(",")]
    except ValueError:
        numbers = [-1]
    if min(numbers) < 0:
        raise GridError(f"--seeds {seeds!r} is not a list of whole numbers; write it as 0,1,2")
    variants = {"no": (False,), "yes": (True,), "both": (False, True)}[balanced]
    codebooks = [parse_codebooks(sizes) for sizes in grid.split(";")]
    return [Point(*choice) for choice in product(codebooks, variants, numbers)]


def measure(
    dataset: Dataset,
    point: Point,
    settings: TrainSettings,
    split: Split,
    beam_width: int,
    max_queries: int | None,
    world: World,
    console: Console,
) -> Measured:
    """Make the SIDs, train a decoder from scratch, and see what it finds.

    Raises:
        EvaluationError: if no query of the split has a relevant item.
    """
    judged = judged_queries(dataset, split, max_queries, point.seed)
    started = time.perf_counter()
    quantizer = train_quantizer(
        dataset.item_embeddings, point.codebooks, point.seed, lambda: None, balanced=point.balanced
    )
    codes = quantizer.encode(dataset.item_embeddings)
    dataset = replace(dataset, sids=SidTable.from_item_codes(codes, quantizer.codebook_sizes))
    quantised = time.perf_counter()
    decoder, loss = train(dataset, settings.model_copy(update={"seed": point.seed}), world, console)
    trained = time.perf_counter()
    relevant = relevant_items(judged.grades, dataset.positive_from)
    found = find(decoder, dataset, list(relevant), beam_width)
    values = judge(dataset.sids, list(relevant.values()), found, beam_width)
    return Measured(
        point=point,
        sids=report(dataset.sids, quantizer, dataset.item_embeddings),
        seconds={
            "quantize": round(quantised - started, 2),
            "train": round(trained - quantised, 2),
            "search": round(time.perf_counter() - trained, 2),
        },
        loss=loss,
        metrics=intervals(values, point.seed),
    )


def train(dataset: Dataset, settings: TrainSettings, world: World, console: Console) -> tuple[Decoder, float]:
    """Train a decoder by SFT from scratch; gives it in evaluation mode, with its last loss."""
    torch.manual_seed(settings.seed)
    with tempfile.TemporaryDirectory(prefix="radsearch-bench-") as scratch:
        request = TrainRequest(dataset.path, Path(scratch) / "sft", "sft")
        decoder = starting_decoder(request, settings, dataset, console)
        objective = make_objective(request.objective, settings.objective)
        state = fit(plan(request, settings, dataset, decoder, objective, world), world)
    return decoder.eval(), state.history[-1]["loss"]


def find(decoder: Decoder, dataset: Dataset, queries: Sequence[str], beam_width: int) -> list[Leaves]:
    """The leaves of each query's beams, best first."""
    device = decoder.item_head.weight.device
    trie = TrieTree.from_trie(Trie.from_table(dataset.sids), device)
    search = partial(constrained_search, decoder, trie=trie, beam_width=beam_width)
    beams = search_queries(dataset, queries, search, device)
    return [leaves[leaves >= 0] for leaves in beams.leaves.numpy()]


def judge(
    table: SidTable, relevant: Sequence[Sequence[int]], found: Sequence[Leaves], beam_width: int
) -> PerQuery:
    """SID recalls and MRR, and what share of the relevant items the found SIDs hold.

    Args:
        table: the SIDs.
        relevant: per query, rows of the relevant items, at least one.
        found: per query, leaves, best first.
        beam_width: K.
    """
    leaf_of_item = table.leaf_of_item()
    names = [str(number) for number in range(len(found))]
    held = [np.concatenate([table.posting(leaf) for leaf in leaves]) for leaves in found]
    return {
        **sid_values(
            dict(zip(names, (leaves.tolist() for leaves in found), strict=True)),
            {
                name: set(leaf_of_item[list(items)].tolist())
                for name, items in zip(names, relevant, strict=True)
            },
            beam_width,
        ),
        SHARES[0]: _shares(relevant, held),
        SHARES[1]: _shares(relevant, [items[:FIRST] for items in held]),
        "Candidates": np.array([len(items) for items in held], dtype=np.float64),
    }


def _shares(relevant: Sequence[Sequence[int]], held: Sequence[NDArray[np.int32]]) -> NDArray[np.float64]:
    return np.array(
        [np.isin(items, among).mean() for items, among in zip(relevant, held, strict=True)], np.float64
    )


def _name(point: Point) -> str:
    sizes = ",".join(str(size) for size in point.codebooks)
    return f"{sizes} {'balanced' if point.balanced else 'plain'}, seed {point.seed}"


def _print(rows: Sequence[Measured], split: Split, console: Console) -> None:
    spread = _table("SIDs", "most", "even", "lost", "seconds")
    retrieval = _table("R@8", "R@64", "R@128", "MRR", "found", f"in {FIRST}", "items")
    for row in rows:
        point, report, metrics = row.point, row.sids, row.metrics
        names = (
            ",".join(map(str, point.codebooks)),
            "balanced" if point.balanced else "plain",
            str(point.seed),
        )
        spread.add_row(
            *names,
            f"{report.n_sids:,}",
            f"{report.items_per_sid_max:,}",
            f"{min(level.evenness for level in report.levels):.2f}",
            f"{report.reconstruction_error:.1%}",
            f"{row.seconds['quantize']:.1f}",
        )
        shares = (*(f"SID Recall@{k}" for k in SID_RECALLS), "SID MRR", *SHARES)
        retrieval.add_row(
            *names,
            *(f"{metrics[name].mean:.3f}" if name in metrics else "" for name in shares),
            f"{metrics['Candidates'].mean:,.0f}",
        )
    console.print(spread, "", retrieval, f"{split} queries; {LEGEND}", sep="\n", soft_wrap=True)


def _table(*headings: str) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for heading in ("codes", "", "seed"):
        table.add_column(heading)
    for heading in headings:
        table.add_column(heading, justify="right")
    return table
