"""The laws of team-draft interleaving."""

from collections import Counter
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from service.interleaving import Draft, team_draft

ids = st.integers(0, 15).map(str)
rankings = st.lists(ids, unique=True, max_size=12)
sizes = st.integers(0, 30)
seeds = st.text(max_size=8)


@given(rankings, rankings, sizes, seeds)
def test_every_beginning_is_fair(first: list[str], second: list[str], k: int, seed: str) -> None:
    teams = team_draft(first, second, k, seed).teams
    for end in range(len(teams) + 1):
        sizes = Counter(teams[:end])
        assert abs(sizes[0] - sizes[1]) <= 1


@given(rankings, rankings, sizes, seeds)
def test_as_many_items_as_there_are(first: list[str], second: list[str], k: int, seed: str) -> None:
    draft = team_draft(first, second, k, seed)
    assert len(draft.teams) == len(draft.item_ids) == min(k, len({*first, *second}))
    assert len(set(draft.item_ids)) == len(draft.item_ids)


@given(rankings, rankings, sizes, seeds)
def test_each_team_chooses_its_best_that_is_not_there_yet(
    first: list[str], second: list[str], k: int, seed: str
) -> None:
    draft, there = team_draft(first, second, k, seed), set[str]()
    for item_id, team in zip(draft.item_ids, draft.teams, strict=True):
        best = [next((one for one in ranking if one not in there), None) for ranking in (first, second)]
        if team is None:
            assert [one for one in best if one is not None] in ([item_id], [item_id, item_id])
        else:
            assert best[team] == item_id
        there.add(item_id)


@given(rankings, rankings, sizes, seeds)
def test_the_same_seed_gives_the_same_draft(first: list[str], second: list[str], k: int, seed: str) -> None:
    assert team_draft(first, second, k, seed) == team_draft(list(first), tuple(second), k, seed)


@given(rankings, sizes, seeds)
def test_equal_rankings_say_nothing(ranking: list[str], k: int, seed: str) -> None:
    draft = team_draft(ranking, ranking, k, seed)
    assert draft == Draft(tuple(ranking[:k]), (None,) * min(k, len(ranking)))


def possible(first: list[str], second: list[str], k: int) -> dict[Draft, float]:
    """Every draft and its probability, by an implementation that goes through all coins."""
    drafts: Counter[Draft] = Counter()
    for coins in product((0, 1), repeat=k):
        flips = iter(coins)
        items: list[str] = []
        teams: list[int | None] = []
        lists = [list(first), list(second)]
        while len(items) < k and any(lists):
            heads = [ranking[0] if ranking else None for ranking in lists]
            if None in heads or heads[0] == heads[1]:
                turns: list[int | None] = [None]
            else:
                begins = next(flips)
                turns = [begins, 1 - begins]
            for team in turns[: k - len(items)]:
                item_id = heads[0] or heads[1] if team is None else lists[team][0]
                assert item_id is not None
                items.append(item_id)
                teams.append(team)
                lists = [[one for one in ranking if one != item_id] for ranking in lists]
        drafts[Draft(tuple(items), tuple(teams))] += 1
    return {draft: n / 2**k for draft, n in drafts.items()}


short = st.lists(st.sampled_from("abcdef"), unique=True, max_size=5)


@given(short, short, st.integers(0, 6))
def test_who_clicks_at_random_prefers_no_team(first: list[str], second: list[str], k: int) -> None:
    drafts = possible(first, second, k)
    for place in range(k):
        share = [
            sum(p for draft, p in drafts.items() if len(draft.teams) > place and draft.teams[place] == team)
            for team in (0, 1)
        ]
        assert share[0] == share[1]


@given(short, short, st.integers(0, 6))
def test_each_possible_draft_comes_as_often_as_it_should(first: list[str], second: list[str], k: int) -> None:
    drafts, n = possible(first, second, k), 300
    counts = Counter(team_draft(first, second, k, str(seed)) for seed in range(n))
    assert set(counts) <= set(drafts)
    for draft, p in drafts.items():
        assert abs(counts[draft] - n * p) <= 5 * (n * p * (1 - p)) ** 0.5
