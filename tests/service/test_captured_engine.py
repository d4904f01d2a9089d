"""The engine of a GPU, and on a CPU its twin, which takes the same steps and captures nothing."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from service.bundle import Bundle
from service.device import CPU, Device, OwnedDevice, open_device
from service.engine import Beams, Engine
from service.epoch import Epoch
from service.searches import MOST_TRIES, BoundTrie
from service.tokenizer import Query

MAX_BATCH = 8
CLOSE = 1e-2  # of log-probabilities in float16 and float32, relative where they are below −1


@pytest.fixture(scope="module")
def bundle(bundles_of_gpu: Path) -> Bundle:
    return Bundle.load(bundles_of_gpu / "sft")


@pytest.fixture(scope="module")
def epoch(bundle: Bundle) -> Epoch:
    return Epoch.load(bundle.path, bundle.manifest)


@pytest.fixture(scope="module", params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Device:
    return open_device("cuda") if request.param == "cuda" else OwnedDevice(CPU)


@pytest.fixture(scope="module")
def engine(bundle: Bundle, device: Device) -> Engine:
    return Engine(bundle, device, "fp16", intra_threads=1, max_batch=MAX_BATCH)


@pytest.fixture(scope="module")
def exact(bundle: Bundle) -> Engine:
    return Engine(bundle, Device(CPU), "fp32", intra_threads=1, max_batch=MAX_BATCH)


def everything(engine: Engine, epoch: Epoch) -> BoundTrie:
    return engine.bind(epoch.trie, np.ones(epoch.trie.n_nodes, dtype=bool))


@pytest.fixture(scope="module")
def bound(engine: Engine, epoch: Epoch) -> BoundTrie:
    return everything(engine, epoch)


@cache
def queries(n: int, seed: int) -> list[Query]:
    rng = np.random.default_rng(seed)
    texts = ["red shoes", "wool hat", "雨伞", "?"]
    return [
        Query(texts[rng.integers(len(texts))], (1, *rng.integers(4, 300, rng.integers(1, 21)).tolist(), 2))
        for _ in range(n)
    ]


def search(
    engine: Engine, bound: BoundTrie, asked: list[Query], width: int = 64, *masks: NDArray[np.bool_]
) -> Beams:
    """All with the first of the masks, or the offer."""
    return engine.search(bound, width, asked, list(masks), np.full(len(asked), bool(masks), np.int32))


def assert_alike(found: Beams, exact: Beams) -> None:
    """The widest beam holds every SID, so both hold the same ones, in an order that roundings may change."""
    np.testing.assert_array_equal(np.sort(found.leaves, axis=1), np.sort(exact.leaves, axis=1))
    np.testing.assert_array_equal(found.leaves >= 0, exact.leaves >= 0)
    filled = exact.leaves >= 0
    near = np.abs(found.log_probs - exact.log_probs) <= CLOSE * np.maximum(1, np.abs(exact.log_probs))
    assert (near | ~filled).mean() >= 0.99
    np.testing.assert_allclose(found.query_vectors, exact.query_vectors, atol=1e-2)


@pytest.mark.parametrize("n", [1, 2, 3, 5, MAX_BATCH])
def test_it_finds_what_float32_finds(
    engine: Engine, exact: Engine, bound: BoundTrie, epoch: Epoch, n: int
) -> None:
    of_exact = everything(exact, epoch)
    for seed in (0, 1, 2):  # the first of a size is captured, the others are replays
        asked = queries(n, seed)
        assert_alike(search(engine, bound, asked), search(exact, of_exact, asked))


def test_a_narrow_beam_ranks_as_the_wide_one(engine: Engine, bound: BoundTrie) -> None:
    """Over so few SIDs pruning loses next to nothing: the first of four is the first of all."""
    asked = queries(MAX_BATCH, 3)
    narrow, wide = search(engine, bound, asked, 4), search(engine, bound, asked)
    assert (narrow.log_probs[:, 0] <= wide.log_probs[:, 0] + CLOSE * np.abs(wide.log_probs[:, 0])).all()
    assert np.mean(narrow.leaves[:, 0] == wide.leaves[:, 0]) >= 0.5


def test_a_replay_gives_what_the_capture_gave(engine: Engine, epoch: Epoch) -> None:
    fresh = everything(engine, epoch)
    asked = queries(3, 4)
    captured, replayed = search(engine, fresh, asked), search(engine, fresh, asked)
    np.testing.assert_array_equal(captured.leaves, replayed.leaves)
    np.testing.assert_allclose(captured.log_probs, replayed.log_probs, atol=1e-5)


def test_filters_hold(engine: Engine, exact: Engine, bound: BoundTrie, epoch: Epoch) -> None:
    rng, asked = np.random.default_rng(5), queries(3, 5)
    for share in (0.0, 0.1, 0.6):
        mask = epoch.trie.alive(rng.random(epoch.trie.n_leaves) < share)
        of_exact = search(exact, everything(exact, epoch), asked, 64, mask)
        assert_alike(search(engine, bound, asked, 64, mask), of_exact)


def test_another_offer_holds_for_replays(engine: Engine, bound: BoundTrie, epoch: Epoch) -> None:
    offered = np.arange(epoch.table.n_leaves) % 2 == 0
    half, asked = engine.rebind(bound, epoch.trie.alive(offered)), queries(2, 6)
    for _ in range(2):
        assert set(search(engine, half, asked).leaves[0]) - {-1} == set(np.flatnonzero(offered))
        assert len(set(search(engine, bound, asked).leaves[0]) - {-1}) == epoch.table.n_leaves


def test_explanations_rank_what_is_found(engine: Engine, bound: BoundTrie) -> None:
    asked = queries(2, 7)
    found = search(engine, bound, asked, 4)
    explained = engine.search(bound, 4, asked, [], np.zeros(2, np.int32), explains=True)
    np.testing.assert_allclose(explained.log_probs, found.log_probs, atol=5e-2)
    assert len(explained.rankings) == 3
    np.testing.assert_allclose(explained.rankings[-1].log_probs[:, :4], explained.log_probs, atol=1e-6)


def test_graphs_in_float32_run_there_too(bundle: Bundle, device: Device, exact: Engine, epoch: Epoch) -> None:
    engine = Engine(bundle, device, "fp32", intra_threads=1, max_batch=MAX_BATCH)
    asked = queries(5, 8)
    found = search(engine, everything(engine, epoch), asked)
    expected = search(exact, everything(exact, epoch), asked)
    np.testing.assert_allclose(found.log_probs, expected.log_probs, atol=5e-3)  # TF32 multiplies on GPUs


@contextmanager
def searching(engine: Engine, bound: BoundTrie, n_threads: int = 4) -> Iterator[list[Beams]]:
    """Threads that search for the same again and again; what they found."""
    found: list[Beams] = []
    ended = threading.Event()

    def run(n: int) -> None:
        asked = queries(1 + n % 3, 9)
        while not ended.is_set():
            beams = search(engine, bound, asked)
            if len(asked) == 1:
                found.append(beams)

    with ThreadPoolExecutor(n_threads) as threads:
        futures = [threads.submit(run, n) for n in range(n_threads)]
        try:
            yield found
        finally:
            ended.set()
        for future in futures:
            future.result()


def test_tries_come_and_go_while_others_are_searched(engine: Engine, bound: BoundTrie, epoch: Epoch) -> None:
    """More of them than one session captures; a capture fails where another thread touches the device."""
    engine.warm_up(bound)
    expected = search(engine, bound, queries(1, 9))
    with searching(engine, bound) as found:
        for _ in range(MOST_TRIES + 2):
            fresh = everything(engine, epoch)
            engine.warm_up(fresh)
            np.testing.assert_array_equal(search(engine, fresh, queries(1, 9)).leaves, expected.leaves)
            fresh = engine.rebind(fresh, fresh.alive.copy())
        n_found = len(found)
    assert n_found > 0
    for beams in found:
        np.testing.assert_array_equal(beams.leaves, expected.leaves)


def test_engines_come_and_go_while_others_search(
    engine: Engine, bound: BoundTrie, bundle: Bundle, device: Device, epoch: Epoch
) -> None:
    with searching(engine, bound) as found:
        for _ in range(3):
            other = Engine(bundle, device, "fp16", intra_threads=1, max_batch=MAX_BATCH)
            other.warm_up(everything(other, epoch))
            del other
    assert found


@pytest.mark.gpu
def test_a_gpu_gets_the_memory_of_old_tries_back(bundle: Bundle, epoch: Epoch) -> None:
    """Past the first session that captured, as much is given back as is taken."""
    engine = Engine(bundle, open_device("cuda"), "fp16", intra_threads=1, max_batch=MAX_BATCH)

    def free_after(n_tries: int) -> int:
        for _ in range(n_tries):
            engine.warm_up(everything(engine, epoch))
        engine.warm_up(everything(engine, epoch))
        free, _ = torch.cuda.mem_get_info()
        return int(free)

    before = free_after(3 * MOST_TRIES)
    assert before - free_after(3 * MOST_TRIES) < 64 * 2**20
