import numpy as np
import pytest
from tokenizers import Tokenizer

from training.dataset import Dataset
from training.ragged import Ragged
from training.tasks import PreferenceTask, SupervisedTasks, TaskError, pseudo_query, unpadded


def rows(ragged: Ragged) -> list[list[int]]:
    return [part.tolist() for part in np.split(ragged.values, ragged.indptr[1:-1])]


def texts(tokenizer: Tokenizer, prompts: Ragged) -> list[str]:
    return [tokenizer.decode(ids[1:-1]).strip() for ids in rows(prompts)]


def test_supervised_tasks_teach_titles_pseudo_queries_and_sessions(session_dataset: Dataset) -> None:
    tasks = SupervisedTasks(session_dataset)
    examples = tasks.epoch(np.random.default_rng(0))
    n, sessions = session_dataset.n_items, session_dataset.sessions("train")
    assert len(examples) == 2 * n + len(sessions)
    prompts, positives = texts(session_dataset.tokenizer, examples.prompts), rows(examples.positives)
    assert prompts[:n] == session_dataset.titles
    assert positives[: 2 * n] == 2 * [[item] for item in range(n)]
    for title, cut in zip(session_dataset.titles, prompts[n : 2 * n], strict=True):
        assert set(cut.split()) <= set(title.split())
    assert prompts[2 * n :] == [session.query for session in sessions]
    assert positives[2 * n :] == [session.positives.tolist() for session in sessions]
    assert len(examples.negatives) == len(examples)
    assert not len(examples.negatives.values)


def test_pseudo_queries_are_cut_anew_each_epoch_and_repeat_with_the_seed(session_dataset: Dataset) -> None:
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


def test_pseudo_queries_keep_the_order_of_the_words() -> None:
    words = ["a", "b", "c", "d", "e", "f", "g"]
    rng = np.random.default_rng(0)
    cuts = [pseudo_query(words, rng).split() for _ in range(200)]
    assert all(cut == sorted(set(cut)) for cut in cuts)
    assert {len(cut) for cut in cuts} == {1, 2, 3, 4}
    assert {word for cut in cuts for word in cut} == set(words)
    assert pseudo_query(["one"], rng) == "one"
    assert pseudo_query([], rng) == ""


def test_the_copy_alone_loses_its_padding(session_dataset: Dataset) -> None:
    copy = unpadded(session_dataset.tokenizer)
    assert copy.padding is None
    assert session_dataset.tokenizer.padding is not None
    assert copy.truncation == session_dataset.tokenizer.truncation
