"""Sessions: a search engine that is not perfect shows results, and a user chooses some of them.

The user follows the position-based click model (Craswell et al., WSDM 2008): a result is chosen if it is
examined, which depends on its position alone, and found attractive, which depends on its relevance alone.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.shop.relevance import Answers, Rows

MIN_RESULTS, MAX_RESULTS = 10, 20
SCREEN = 5  # results seen at once
N_DISTRACTORS = 60  # items of the department that the engine considers beside the relevant ones
GRADE_WEIGHT, POPULARITY_WEIGHT = 0.6, 0.35  # of the engine's score
ENGINE_ERROR, PAGE_ERROR = 1.0, 0.5  # standard deviation: the same for all pages of a query, and per page
GOALS = (0.45, 0.30, 0.15, 0.10)  # share of users who want 1, 2, 3, 4 items and leave when they have them
# Chance that an examined item of grade 0..3 is chosen, by a user without and with nothing but noise.
ATTRACTIVE = np.array([0.0, 0.0, 0.4, 1.0])
ATTRACTIVE_AT_NOISE = np.array([0.10, 0.25, 0.45, 0.70])


@dataclass(frozen=True)
class Pages:
    """Result pages of one query.

    Attributes:
        items: int32 [n_pages, MAX_RESULTS], item rows, best first by the engine's score.
        shown: bool, same shape; logged as shown, a prefix of each page.
        chosen: bool, same shape; one at least per page, a part of shown.
    """

    items: NDArray[np.int32]
    shown: NDArray[np.bool_]
    chosen: NDArray[np.bool_]


def examination(noise: float) -> NDArray[np.float64]:
    """Chance that each position is looked at: 1 without noise, 1 / position with nothing else."""
    positions = np.arange(1, MAX_RESULTS + 1, dtype=np.float64)
    return (1.0 - noise) + noise / positions


def attraction(noise: float) -> NDArray[np.float64]:
    """Chance that an examined item of each grade is chosen, float64 [4]."""
    mixed: NDArray[np.float64] = (1.0 - noise) * ATTRACTIVE + noise * ATTRACTIVE_AT_NOISE
    return mixed


def simulate_pages(
    answers: Answers,
    department: Rows,
    log_popularity: NDArray[np.float64],
    n_pages: int,
    noise: float,
    random: np.random.Generator,
) -> Pages:
    """Answer a query several times, each for another user.

    Args:
        answers: true relevance.
        department: the items among which the engine goes wrong, int32 [n].
        log_popularity: float64 [n_items], centred on 0.
        n_pages: how often.
        noise: 0 for users who look at every result until they have what they came for and choose only what is
            relevant, and a log of the screens they saw; 1 for users who look at the top and choose by
            chance, and a log of whole pages.
        random: draws everything.
    """
    items = _results(answers, department, log_popularity, n_pages, random)
    grades = answers.grades_of(items)
    position = np.arange(items.shape[1])
    on_page = position < random.integers(MIN_RESULTS, MAX_RESULTS + 1, (n_pages, 1))
    goal = random.choice(len(GOALS), (n_pages, 1), p=GOALS) + 1
    chosen = _choices(grades, on_page, noise, random)
    chosen &= chosen.cumsum(axis=1) <= goal
    # A user who has it all leaves after this screen; by noise, the log has the whole page nevertheless.
    last = items.shape[1] - 1 - chosen[:, ::-1].argmax(axis=1)[:, None]
    left = chosen.sum(axis=1, keepdims=True) == goal
    logged_whole = random.random((n_pages, 1)) < noise
    shown = on_page & ((position // SCREEN <= last // SCREEN) | ~left | logged_whole)
    return Pages(items, shown, chosen)


def _results(
    answers: Answers,
    department: Rows,
    log_popularity: NDArray[np.float64],
    n_pages: int,
    random: np.random.Generator,
) -> NDArray[np.int32]:
    """What the engine finds, best first: relevance and popularity, and errors that last or come and go."""
    candidates = np.union1d(answers.rows, random.choice(department, N_DISTRACTORS))
    score = GRADE_WEIGHT * answers.grades_of(candidates) + POPULARITY_WEIGHT * log_popularity[candidates]
    score += random.normal(0.0, ENGINE_ERROR, len(candidates))
    scores = score + random.normal(0.0, PAGE_ERROR, (n_pages, len(candidates)))
    found: NDArray[np.int32] = candidates[np.argsort(-scores, axis=1)[:, :MAX_RESULTS]]
    return found


def _choices(
    grades: NDArray[np.int8], on_page: NDArray[np.bool_], noise: float, random: np.random.Generator
) -> NDArray[np.bool_]:
    """Which results would be chosen by users without end; one at least on each page."""
    chance = attraction(noise)[grades] * examination(noise)[: grades.shape[1]] * on_page
    chosen: NDArray[np.bool_] = random.random(chance.shape) < chance
    # Who would leave with nothing takes the best there is, since a session has a positive.
    without = np.flatnonzero(~chosen.any(axis=1))
    chosen[without, (chance + grades * on_page)[without].argmax(axis=1)] = True
    return chosen
