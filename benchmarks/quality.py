"""``radsearch bench quality``: our answers against BM25, dense retrieval and their fusion.

Whatever has weights is tuned on valid queries: the fusion, and the ordering of our items. "every_item" orders
the whole catalogue by the text parts of our ordering, without a decoder: what generation has to be held
against. A waterfall says where the relevant items were lost.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx_ir as ir
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.baselines import Rankings, rank_by_bm25, rank_by_cosine, rank_by_fusion
from benchmarks.objectives.statistics import difference, estimate
from benchmarks.output import AsJson, Out, deliver
from benchmarks.record import record, slug
from model_export.graph import build_graph
from model_export.proof import weights_of
from model_export.real_queries import search_texts
from model_export.session import GraphSession
from sid import ItemFeatures, OrderingWeights, QueryFeatures
from training.checkpoint import load_decoder, load_provenance
from training.data.errors import DataError
from training.data.items import item_texts
from training.data.splits import Split
from training.dataset import Dataset
from training.metrics import PerQuery, item_values, relevant_items
from training.model import Decoder
from training.ordering import (
    Candidates,
    JudgedCandidates,
    climb,
    gather_candidates,
    item_features,
    judge,
)
from training.search import Beams
from training.sids.build import read_items
from training.sids.embedders import Embedder, load_embedder
from training.sids.sentence import SentenceEmbedder

DEPTH = 100  # the deepest metric is Item Recall@100
TOP = 10
COSINE_WEIGHTS = (1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 30.0, 50.0)
WIDER = 2  # how many times more beams the waterfall looks at
# Ordering by ever more parts of the score, each tuned by itself.
PARTS: dict[str, tuple[str, ...]] = {
    "log p and popularity": ("prior",),
    "and query vector": ("prior", "tau"),
    "and words": ("prior", "tau", "words"),
    "and trigrams": ("prior", "tau", "words", "trigrams"),
    "and embedding": ("prior", "tau", "words", "trigrams", "embedding"),
}
EVERYTHING = tuple(PARTS)[-1]


@dataclass(frozen=True)
class Asked:
    """The queries of a split with what is relevant to them.

    Attributes:
        queries: those that have a relevant item.
        grades: query → {item row: grade}.
        relevant: query → item rows.
    """

    queries: list[str]
    grades: dict[str, dict[int, float]]
    relevant: dict[str, list[int]]

    @classmethod
    def of(cls, dataset: Dataset, split: Split) -> "Asked":
        """Read a split.

        Raises:
            DataError: if it has no query with a relevant item.
        """
        grades = dataset.relevance(split)
        relevant = relevant_items(grades, dataset.positive_from)
        if not relevant:
            raise DataError(f"{dataset.path} has no {split} query with a relevant item; judge some")
        return cls(list(relevant), {query: grades[query] for query in relevant}, relevant)

    def values(self, ranked: Rankings, positive_from: float) -> PerQuery:
        """Every metric of every query, by slug."""
        values = item_values(ranked, self.grades, positive_from)
        return {slug(name): of_queries for name, of_queries in values.items()}


class Pipeline:
    """Generated SIDs, then item ordering: the graph that the service runs, and the ordering it shares."""

    def __init__(self, decoder: Decoder, dataset: Dataset, beam_width: int, progress: Progress) -> None:
        self._decoder, self._dataset, self._beam_width = decoder, dataset, beam_width
        self._features = item_features(decoder, dataset)
        self._progress = progress

    def candidates(self, queries: Sequence[str]) -> dict[str, Candidates]:
        """The items of the K best SIDs of every query."""
        beams = self._search(queries, self._beam_width)
        found = gather_candidates(self._features, self._dataset, queries, beams)
        return dict(zip(queries, found, strict=True))

    def wider(self, queries: Sequence[str]) -> dict[str, set[int]]:
        """The leaves of the WIDER · K best SIDs of every query."""
        leaves = self._search(queries, WIDER * self._beam_width).leaves.tolist()
        return {query: set(of_query) for query, of_query in zip(queries, leaves, strict=True)}

    def _search(self, queries: Sequence[str], beam_width: int) -> Beams:
        graph = build_graph(self._decoder.config, weights_of(self._decoder), beam_width)
        session = GraphSession(ir.to_proto(graph).SerializeToString(), beam_width)
        track = partial(self._progress.track, description=f"Search, {beam_width} beams")
        return search_texts(session, self._dataset, queries, track)


class EveryItem:
    """No generation and no learning: the ordering's text parts over the whole catalogue.

    What a fusion of today would reach with our lexical index; it costs a pass over all items per query.
    """

    PARTS = ("words", "trigrams", "embedding")

    def __init__(self, dataset: Dataset) -> None:
        n_items = dataset.n_items
        self._dataset = dataset
        nothing = np.zeros((n_items, 1), dtype=np.float32)
        self._features = ItemFeatures(nothing, dataset.item_embeddings, dataset.lexical, nothing[:, 0])
        self._items = np.arange(n_items, dtype=np.int32)

    def tune(self, asked: Asked) -> OrderingWeights:
        """Choose weights as those of our pipeline are chosen."""
        judged = [
            JudgedCandidates.of(self._candidates(query), asked.grades[query], self._dataset.positive_from)
            for query in asked.queries
        ]
        return climb(judged, self.PARTS)

    def rank(self, asked: Asked, weights: OrderingWeights) -> Rankings:
        """Order all items for every query."""
        return {query: self._candidates(query).order(weights, DEPTH).tolist() for query in asked.queries}

    def _candidates(self, query: str) -> Candidates:
        nothing = np.zeros(1, dtype=np.float32)
        features = QueryFeatures(nothing, self._dataset.embed([query])[0], self._dataset.lexical.query(query))
        log_probs = np.zeros(len(self._items), dtype=np.float32)
        return Candidates(self._items, self._features.parts(self._items, log_probs, features))


def rank(candidates: Mapping[str, Candidates], weights: OrderingWeights) -> Rankings:
    """Order the candidates of every query."""
    return {query: found.order(weights, DEPTH).tolist() for query, found in candidates.items()}


def waterfall(
    asked: Asked,
    candidates: Mapping[str, Candidates],
    wider: Mapping[str, set[int]],
    ranked: Rankings,
    leaf_of_item: NDArray[np.int32],
) -> dict[str, float]:
    """Where the relevant items are: in the top 10, or lost, and by what.

    Args:
        asked: the queries.
        candidates: query → items of the K best SIDs.
        wider: query → leaves of the WIDER · K best SIDs.
        ranked: query → the first DEPTH of these items in order.
        leaf_of_item: int32 [n_items].

    Returns:
        Shares of the relevant items, averaged over queries; they sum to 1.
    """
    shares = dict.fromkeys(
        ("in the top 10", "ordered below 10", "ordered below 100", "generated below K", "SID not generated"),
        0.0,
    )
    for query, relevant in asked.relevant.items():
        rank_of = {item: rank for rank, item in enumerate(ranked[query])}
        found = set(candidates[query].items.tolist())
        for item in relevant:
            if item not in found:
                generated = int(leaf_of_item[item]) in wider[query]
                place = "generated below K" if generated else "SID not generated"
            elif item not in rank_of:
                place = "ordered below 100"
            else:
                place = "in the top 10" if rank_of[item] < TOP else "ordered below 10"
            shares[place] += 1 / len(relevant) / len(asked.queries)
    return shares


def compare(
    dataset: Dataset, decoder: Decoder, beam_width: int, dense: Embedder | None, progress: Progress
) -> dict[str, Any]:
    """Measure every system on test queries.

    Args:
        dataset: the data.
        decoder: what generates SIDs.
        beam_width: K.
        dense: embeds items and queries for the dense system; None takes the data directory's embedder.
        progress: shows what takes long.

    Raises:
        DataError: if a split cannot be judged, or nothing embeds queries.
    """
    valid, test = Asked.of(dataset, "valid"), Asked.of(dataset, "test")
    texts = item_texts(read_items(dataset.path / "items.parquet"))
    item_embeddings = dataset.item_embeddings if dense is None else dense.embed(texts)
    embedder = dense or load_embedder(dataset.path / "embedder")
    if embedder is None:
        raise DataError(f"{dataset.path} has embeddings of unknown make; name an encoder with --dense")
    positive_from = dataset.positive_from

    def fuse(asked: Asked, weights: Sequence[float]) -> dict[float, Rankings]:
        embeddings = embedder.embed(asked.queries)
        return rank_by_fusion(texts, item_embeddings, embeddings, asked.queries, DEPTH, weights)

    tuning = {
        weight: float(np.mean([of.mean() for of in valid.values(ranked, positive_from).values()]))
        for weight, ranked in fuse(valid, COSINE_WEIGHTS).items()
    }
    best = max(tuning, key=lambda weight: tuning[weight])

    every_item = EveryItem(dataset)
    every_weights = every_item.tune(valid)
    pipeline = Pipeline(decoder, dataset, beam_width, progress)
    judged = judge(pipeline.candidates(valid.queries), valid.grades, positive_from)
    weights = {name: climb(judged, parts) for name, parts in PARTS.items()}
    found = pipeline.candidates(test.queries)
    ours = {name: rank(found, weight) for name, weight in weights.items()}
    values = {
        "bm25": test.values(rank_by_bm25(texts, test.queries, DEPTH), positive_from),
        "dense": test.values(
            rank_by_cosine(item_embeddings, embedder.embed(test.queries), test.queries, DEPTH), positive_from
        ),
        "fusion": test.values(fuse(test, [best])[best], positive_from),
        "every_item": test.values(every_item.rank(test, every_weights), positive_from),
        "radsearch": test.values(ours[EVERYTHING], positive_from),
    }
    sizes = np.array([len(candidates.items) for candidates in found.values()])
    return {
        "n_items": dataset.n_items,
        "n_queries": {"valid": len(valid.queries), "test": len(test.queries)},
        "sids": {"codebooks": list(dataset.sids.codebook_sizes), "n_sids": dataset.sids.n_leaves},
        "beam_width": beam_width,
        "candidates_per_query": {"mean": float(sizes.mean()), "max": int(sizes.max())},
        "systems": {name: _estimates(of_system) for name, of_system in values.items()},
        "differences": {
            "radsearch": {
                name: _differences(values["radsearch"], values[name])
                for name in values
                if name != "radsearch"
            }
        },
        "every_item": {"weights": every_weights.to_dict()},
        "fusion": {"cosine_weight": best, "valid": {str(weight): mean for weight, mean in tuning.items()}},
        "ordering": {
            name: {"weights": weights[name].to_dict(), **_estimates(test.values(ours[name], positive_from))}
            for name in PARTS
        },
        "waterfall": waterfall(
            test, found, pipeline.wider(test.queries), ours[EVERYTHING], dataset.sids.leaf_of_item()
        ),
    }


def quality(
    data: Annotated[Path, typer.Option(help="Data directory, with SIDs.")],
    checkpoint: Annotated[Path, typer.Option(help="Decoder to judge.")],
    beam_width: Annotated[int, typer.Option(min=1, max=4096, help="SIDs to find per query.")] = 128,
    dense: Annotated[
        Path | None, typer.Option(help="sentence-transformers model for the dense system.")
    ] = None,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Compare our answers with BM25, dense retrieval and their fusion, all tuned on valid, on test queries.

    Without --dense, the dense system is the cosine of the embeddings that SIDs were made from.

    Example: radsearch bench quality --data data --checkpoint rad-dpo --beam-width 512
    """
    started = time.perf_counter()
    dataset, decoder = Dataset.load(data), load_decoder(checkpoint)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        encoder = SentenceEmbedder.from_path(dense) if dense else None
        fields = compare(dataset, decoder, beam_width, encoder, progress)
    provenance = load_provenance(checkpoint)
    trained = {
        "objective": provenance.objective,
        "steps": provenance.figures["steps"],
        "examples": provenance.figures["examples"],
        "parameters": provenance.figures["parameters"],
        "seed": provenance.settings["seed"],
    }
    fields |= {"checkpoint": trained, "seconds": round(time.perf_counter() - started, 1)}
    report = record("quality", torch.device("cpu"), [provenance.settings["seed"]], fields)
    deliver(report, out, as_json, _print)


def _estimates(values: PerQuery) -> dict[str, Any]:
    return {metric: asdict(estimate(of_queries[None])) for metric, of_queries in values.items()}


def _differences(ours: PerQuery, theirs: PerQuery) -> dict[str, Any]:
    return {metric: asdict(difference(ours[metric][None], theirs[metric][None])) for metric in ours}


def _print(report: dict[str, Any], console: Console) -> None:
    table = Table(box=None, header_style="dim")
    table.add_column("")
    systems = report["systems"]
    for name in systems:
        table.add_column(name, justify="right")
    for metric in systems["radsearch"]:
        table.add_row(metric, *(f"{of[metric]['mean']:.4f}" for of in systems.values()))
    console.print(table)
    for metric, gap in report["differences"]["radsearch"]["fusion"].items():
        interval = f"{gap['mean']:+.4f} [{gap['low']:+.4f}, {gap['high']:+.4f}]"
        console.print(f"{interval}  radsearch - fusion, {metric}", markup=False)
    for name, share in report["waterfall"].items():
        console.print(f"{share:6.1%}  of the relevant items {name}", markup=False)
    console.print(
        f"{report['n_queries']['test']:,} test queries, K = {report['beam_width']}, "
        f"{report['candidates_per_query']['mean']:,.0f} of {report['n_items']:,} items ordered per query, "
        f"{report['seconds']:.0f} s"
    )
