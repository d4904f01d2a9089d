"""Team-draft interleaving: one answer of two, and who put each item there (Radlinski et al., CIKM 2008)."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from service.schemas import Interleaved, SearchResponse, Timings


@dataclass(frozen=True)
class Draft:
    """What two rankings became.

    Attributes:
        item_ids: best first.
        teams: of each item, 0 or 1 for the ranking that put it there; None where none did it alone.
    """

    item_ids: tuple[str, ...]
    teams: tuple[int | None, ...]


def team_draft(first: Sequence[str], second: Sequence[str], k: int, seed: str) -> Draft:
    """Let two rankings choose items in turn, as captains choose their teams.

    A coin says who begins a round; each then chooses its best item that is not there yet. An item that both
    would choose as a round begins is nobody's: it says nothing about which ranking is better. Neither does
    what one ranking still has when the other has no more. So in every beginning of the answer the teams
    differ by one item at most, and who clicks at random clicks as often for one as for the other.

    Args:
        first: ids of items, best first, each once.
        second: the other ranking's.
        k: how many items at most.
        seed: of the coins; with the same one the draft is the same.
    """
    coins = random.Random(seed)
    rankings = _Ranking(first), _Ranking(second)
    drafted: dict[str, int | None] = {}
    while len(drafted) < k:
        best = [ranking.best_without(drafted) for ranking in rankings]
        chosen = [item_id for item_id in best if item_id is not None]
        if not chosen:
            break
        if len(set(chosen)) == 1:
            drafted[chosen[0]] = None
            continue
        begins = coins.getrandbits(1)
        for team in (begins, 1 - begins)[: k - len(drafted)]:
            drafted[chosen[team]] = team  # the choice of who begins leaves that of the other as it is
    return Draft(tuple(drafted), tuple(drafted.values()))


def interleaved(answers: Sequence[SearchResponse], names: list[str], seed: str) -> SearchResponse:
    """One answer of two.

    Args:
        answers: of the same request, which took their time side by side.
        names: of those who gave them, different.
        seed: of the draft.
    """
    first, second = answers
    items = {item.item_id: item for answer in (second, first) for item in answer.items}
    ours, theirs = ([item.item_id for item in answer.items] for answer in answers)
    draft = team_draft(ours, theirs, first.requested, seed)
    timings = {
        stage: max(getattr(answer.timings_ms, stage) for answer in answers) for stage in Timings.model_fields
    }
    return first.model_copy(
        update={
            "items": [items[item_id] for item_id in draft.item_ids],
            "returned": len(draft.item_ids),
            "exhausted": first.exhausted and second.exhausted and len(draft.item_ids) < first.requested,
            "degraded": sorted({*first.degraded, *second.degraded}),
            "cached": first.cached and second.cached,
            "variant": "+".join(names),
            "model": _joined(first.model, second.model),
            "epoch": _joined(first.epoch, second.epoch),
            "timings_ms": Timings(**timings),
            "interleaved": Interleaved(variants=names, teams=list(draft.teams)),
        }
    )


def _joined(first: str, second: str) -> str:
    return first if first == second else f"{first}+{second}"


class _Ranking:
    """What a ranking has not given away yet."""

    def __init__(self, item_ids: Sequence[str]) -> None:
        self._left = list(reversed(item_ids))

    def best_without(self, drafted: dict[str, int | None]) -> str | None:
        """Its best item that is not there yet, if it has one."""
        while self._left and self._left[-1] in drafted:
            self._left.pop()
        return self._left[-1] if self._left else None
