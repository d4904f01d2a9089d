from collections import Counter

import numpy as np
import pytest
from tokenizers import Tokenizer

from training.dataset import Dataset
from training.ragged import Ragged
from training.tasks import SESSIONS, PreferenceTask, SupervisedTasks, TaskError, tokenize, unpadded


def rows(ragged: Ragged) -> list[list[int]]:
    return [part.tolist() for part in np.split(ragged.values, ragged.indptr[1:-1])]


def texts(tokenizer: Tokenizer, prompts: Ragged) -> list[str]:
    return [tokenizer.decode(ids[1:-1]).strip() for ids in rows(prompts)]


def test_supervised_tasks_teach_titles_pseudo_queries_and_sessions(session_dataset: Dataset) -> None:
    tasks = SupervisedTasks(session_dataset)
    examples = tasks.epoch(np.random.default_rng(0))
    n, pseudo = session_dataset.n_items, session_dataset.pseudo_queries()
    of_session = slice(n + len(pseudo.texts), None)
    prompts, positives = texts(session_dataset.tokenizer, examples.prompts), rows(examples.positives)
    embeddings = tasks.embeddings[examples.embeddings]
    assert prompts[: of_session.start] == session_dataset.titles + pseudo.texts
    assert positives[: of_session.start] == [[item] for item in range(n)] + pseudo.items.tolist()
    np.testing.assert_array_equal(embeddings[:n], session_dataset.item_embeddings)
    np.testing.assert_array_equal(embeddings[n : of_session.start], pseudo.embeddings)
    np.testing.assert_array_equal(embeddings[of_session], session_dataset.embed(prompts[of_session]))
    known = {(session.query, tuple(session.positives)) for session in session_dataset.sessions("train")}
    shown = zip(prompts[of_session], map(tuple, positives[of_session]), strict=True)
    assert set(shown) == known
    assert len(examples.negatives) == len(examples)
    assert not len(examples.negatives.values)


@pytest.mark.parametrize("n_kept", [1, 3, 17, 48])
def test_sessions_are_a_share_of_an_epoch_and_all_of_them_are_in_it(
    session_dataset: Dataset, monkeypatch: pytest.MonkeyPatch, n_kept: int
) -> None:
    kept = session_dataset.sessions("train")[:n_kept]
    monkeypatch.setattr(Dataset, "sessions", lambda self, split: kept)
    tasks = SupervisedTasks(session_dataset)
    n_texts = session_dataset.n_items + len(session_dataset.pseudo_queries().texts)
    for seed in range(2):
        examples = tasks.epoch(np.random.default_rng(seed))
        n_shown = len(examples) - n_texts
        assert n_shown == max(n_kept, round(n_texts * SESSIONS / (1 - SESSIONS)))
        assert n_shown / len(examples) == pytest.approx(SESSIONS, abs=0.02) or n_shown == n_kept
        shown = Counter(texts(session_dataset.tokenizer, examples.prompts)[n_texts:])
        times = [shown[query] / count for query, count in Counter(one.query for one in kept).items()]
        assert max(times) - min(times) <= 1, "none comes twice as long as another has not come once"


def test_an_epoch_without_sessions_is_its_titles_and_pseudo_queries(
    session_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Dataset, "sessions", lambda self, split: [])
    examples = SupervisedTasks(session_dataset).epoch(np.random.default_rng(0))
    assert len(examples) == session_dataset.n_items + len(session_dataset.pseudo_queries().texts)


def test_an_epoch_repeats_with_the_seed(session_dataset: Dataset) -> None:
    tasks = SupervisedTasks(session_dataset)
    one, two, again = (tasks.epoch(np.random.default_rng(seed)) for seed in (0, 1, 0))
    assert rows(one.prompts) == rows(again.prompts)
    assert rows(one.prompts) != rows(two.prompts)
    assert len(one) == len(two)


def test_what_any_session_of_a_query_chose_is_relevant_to_it(session_dataset: Dataset) -> None:
    examples = PreferenceTask(session_dataset).epoch(np.random.default_rng(0))
    sessions = [session for session in session_dataset.sessions("train") if len(session.negatives)]
    assert len(examples) == len(sessions) == 40
    chosen: dict[str, set[int]] = {}
    for session in sessions:
        chosen.setdefault(session.query, set()).update(session.positives.tolist())
    assert rows(examples.relevant) == [sorted(chosen[session.query]) for session in sessions]
    assert rows(examples.negatives) == [session.negatives.tolist() for session in sessions]


def test_without_negatives_there_is_nothing_to_prefer(
    session_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = [session for session in session_dataset.sessions("train") if not len(session.negatives)]
    assert len(without) == 8
    monkeypatch.setattr(Dataset, "sessions", lambda self, split: without)
    with pytest.raises(TaskError, match="no training session with negatives"):
        PreferenceTask(session_dataset)


def test_the_copy_alone_loses_its_padding(session_dataset: Dataset) -> None:
    copy = unpadded(session_dataset.tokenizer)
    assert copy.padding is None
    assert session_dataset.tokenizer.padding is not None
    assert copy.truncation == session_dataset.tokenizer.truncation


@pytest.mark.parametrize("at_a_time", [1, 3, 7, 100])
def test_prompts_do_not_depend_on_how_many_are_tokenized_at_a_time(
    session_dataset: Dataset, monkeypatch: pytest.MonkeyPatch, at_a_time: int
) -> None:
    monkeypatch.setattr("training.tasks.TOKENIZED", at_a_time)
    tokenizer, titles = unpadded(session_dataset.tokenizer), session_dataset.titles[:7]
    assert rows(tokenize(tokenizer, titles)) == [tokenizer.encode(title).ids for title in titles]
    assert len(tokenize(tokenizer, [])) == 0
