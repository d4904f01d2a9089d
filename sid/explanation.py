"""Why beam search found a SID: how its prefixes ranked level by level, and what was pruned beside them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sid.trie import Trie


@dataclass(frozen=True)
class Ranking:
    """The best prefixes of one level, best first.

    Attributes:
        nodes: int32 [n], nodes of the trie; −1 where there are fewer.
        log_probs: float32 [n], of the whole prefixes.
    """

    nodes: NDArray[np.int32]
    log_probs: NDArray[np.float32]


@dataclass(frozen=True)
class Kept:
    """A prefix that went on.

    Attributes:
        prefix: its codes.
        log_prob: of the prefix.
        in_trie: codes that may follow because a SID has them; 0 where the prefix is a whole SID.
        alive: those of them under which the filter leaves an item.
    """

    prefix: tuple[int, ...]
    log_prob: float
    in_trie: int
    alive: int


@dataclass(frozen=True)
class Pruned:
    """A prefix that was ranked and did not go on.

    Attributes:
        prefix: its codes.
        log_prob: of the prefix.
        behind: how far below the last prefix that went on, ≥ 0.
    """

    prefix: tuple[int, ...]
    log_prob: float
    behind: float


@dataclass(frozen=True)
class Step:
    """One code of a SID.

    Attributes:
        code: the code.
        log_prob: of the code, given those before it.
        rank: of the prefix that ends with it among all prefixes of its level; 1 is the best.
        margin: how far the prefix lay above the best one pruned; None where none was pruned.
    """

    code: int
    log_prob: float
    rank: int
    margin: float | None


@dataclass(frozen=True)
class Explanation:
    """How a search came to its SIDs.

    Attributes:
        root: the empty prefix, from which all go on.
        kept: per level, the prefixes that went on, best first; on the last one they are the SIDs found.
        pruned: per level, the best prefixes that did not go on, best first.
        steps: per SID asked about, a step per level.
    """

    root: Kept
    kept: tuple[tuple[Kept, ...], ...]
    pruned: tuple[tuple[Pruned, ...], ...]
    steps: tuple[tuple[Step, ...], ...]


def explain(
    trie: Trie,
    rankings: Sequence[Ranking],
    beam_width: int,
    leaves: NDArray[np.integer],
    alive: NDArray[np.bool_] | None = None,
) -> Explanation:
    """Follow found SIDs through the levels of their search.

    Args:
        trie: that the search was held to.
        rankings: per level, the K prefixes that went on and then the best of the others.
        beam_width: K.
        leaves: int [n], SIDs that the search found.
        alive: bool [n_nodes], the nodes that it might reach; None for all.

    Raises:
        ValueError: if a leaf was not found by this search.
    """
    root = _kept(trie, 0, 0.0, alive)
    kept = tuple(tuple(_all_kept(trie, ranking, beam_width, alive)) for ranking in rankings)
    pruned = tuple(_pruned(trie, ranking, beam_width) for ranking in rankings)
    places = [{int(node): place for place, node in enumerate(ranking.nodes)} for ranking in rankings]
    explained = []
    for leaf in leaves.tolist():
        steps, before = [], 0.0
        for level, node in enumerate(_path(trie, trie.n_internal + leaf)):
            place = places[level].get(node, beam_width)
            if place >= beam_width:
                raise ValueError(f"leaf {leaf} was not found by this search")
            reached, others = float(rankings[level].log_probs[place]), pruned[level]
            margin = reached - others[0].log_prob if others else None
            steps.append(Step(int(trie.codes[node - 1]), reached - before, place + 1, margin))
            before = reached
        explained.append(tuple(steps))
    return Explanation(root, kept, pruned, tuple(explained))


def _all_kept(
    trie: Trie, ranking: Ranking, beam_width: int, alive: NDArray[np.bool_] | None
) -> Iterator[Kept]:
    for node, log_prob in zip(ranking.nodes[:beam_width], ranking.log_probs[:beam_width], strict=True):
        if node >= 0:
            yield _kept(trie, int(node), float(log_prob), alive)


def _kept(trie: Trie, node: int, log_prob: float, alive: NDArray[np.bool_] | None) -> Kept:
    children = _children(trie, node)
    n_alive = len(children) if alive is None else int(alive[children.start : children.stop].sum())
    return Kept(_prefix(trie, node), log_prob, len(children), n_alive)


def _pruned(trie: Trie, ranking: Ranking, beam_width: int) -> tuple[Pruned, ...]:
    n_ranked = int((ranking.nodes >= 0).sum())
    return tuple(
        Pruned(
            prefix=_prefix(trie, int(ranking.nodes[place])),
            log_prob=float(ranking.log_probs[place]),
            behind=float(ranking.log_probs[beam_width - 1] - ranking.log_probs[place]),
        )
        for place in range(beam_width, n_ranked)
    )


def _children(trie: Trie, node: int) -> range:
    """The nodes one level below a node; none below a leaf."""
    if node >= trie.n_internal:
        return range(0)
    return range(int(trie.indptr[node]) + 1, int(trie.indptr[node + 1]) + 1)


def _prefix(trie: Trie, node: int) -> tuple[int, ...]:
    return tuple(int(trie.codes[step - 1]) for step in _path(trie, node))


def _path(trie: Trie, node: int) -> list[int]:
    """The nodes on the way from the root, which is left out, to a node, which is not."""
    path: list[int] = []
    while node > 0:
        path.append(node)
        # Edge node − 1 leads here; its owner is the last node whose edges begin at or before it.
        node = int(np.searchsorted(trie.indptr, node - 1, side="right")) - 1
    return path[::-1]
