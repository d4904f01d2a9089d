"""Epochs are swapped under load: every answer is of one epoch, and the old ones go."""

import ctypes
import gc
import itertools
import json
import random
import shutil
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service import store as store_module
from service.errors import ServiceError
from service.settings import BundleSource
from sid import ResidualQuantizer
from sid.manifest import BundleError, sha256

CLIENTS = 8
SEARCHES: list[dict[str, Any]] = [
    {"query": query, "filters": filters, "k": 100}
    for query in ("red running shoes", "wool hat", "雨伞", "parka")
    for filters in (None, {"in_stock": True}, {"price": {"lt": 50}})
]

Answers = list[dict[str, Any]]


@pytest.fixture
def live(start_service: Any, bundles: Path) -> Iterator[Any]:
    """A service whose catalogue a test may change; its answers are whole however busy the machine is."""
    sources = (BundleSource("sft", bundles / "sft"),)
    with start_service(bundles=sources, max_queue_ms=60_000) as running:
        yield running


@pytest.fixture(scope="module")
def catalogues(write_catalogue: Any, tmp_path_factory: pytest.TempPathFactory, bundles: Path) -> list[Path]:
    """Bundles of one model; the items have the same ids, and are others."""
    directory = tmp_path_factory.mktemp("catalogues")
    lines = (bundles.parent / "items.jsonl").read_text().splitlines()
    made = [bundles / "sft"]
    for number, n_items in enumerate([60, 35, 80]):
        rng = random.Random(number)
        items = [
            {**json.loads(rng.choice(lines)), "item_id": f"i{n}", "price": n + number / 10}
            for n in range(n_items)
        ]
        made.append(write_catalogue(directory / f"{number}", items))
    return made


def changes(live: Any, catalogues: list[Path], n: int) -> list[Callable[[], None]]:
    """Bundles and added items by turns; each change leads to another epoch."""
    bundles = itertools.cycle(catalogues[1:] + catalogues[:1])

    def load(path: Path) -> None:
        live.change("loaded", "sft", path)

    def upsert(number: int) -> None:
        item = {"title": f"parka {number}", "attributes": {"price": 9.0, "in_stock": True}}
        added = [{"item_id": item_id, **item} for item_id in (f"new{number}", "i3")]
        live.change("upserted", added)

    return [partial(upsert, number) if number % 3 else partial(load, next(bundles)) for number in range(n)]


def contents(answer: dict[str, Any]) -> dict[str, Any]:
    """All that an answer says about its items, but for the scores, by item_id."""
    return {item["item_id"]: (item["title"], item["attributes"], item["sid"]) for item in answer["items"]}


def scores(answer: dict[str, Any]) -> dict[str, float]:
    return {item["item_id"]: item["score"] for item in answer["items"]}


def is_wrong(answer: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Whether an answer differs from the quiet one of the epoch that it names, rounding aside."""
    return (
        contents(answer) != contents(expected)
        or scores(answer) != pytest.approx(scores(expected), abs=1e-4)
        or answer["exhausted"] != expected["exhausted"]
        or answer["degraded"] != []
    )


def search_meanwhile(live: Any, n_searches: int, steps: Sequence[Callable[[], None]]) -> Answers:
    """Search from many clients at once and take the steps evenly among the searches."""
    numbers, counted = itertools.count(), threading.Semaphore(0)

    def search(_: int) -> dict[str, Any]:
        number = next(numbers) % len(SEARCHES)
        answer = live.search(**SEARCHES[number])
        counted.release()
        return {**answer, "number": number}

    with ThreadPoolExecutor(CLIENTS) as threads:
        answers = [threads.submit(search, number) for number in range(n_searches)]
        for step in steps:
            for _ in range(n_searches // (len(steps) + 1)):
                counted.acquire()
            step()
        return [answer.result() for answer in answers]


def drive(live: Any, catalogues: list[Path], n_searches: int, n_swaps: int) -> None:
    """Swap quietly and note what each epoch answers; swap again under load and compare."""
    catalogue = live.service.catalogue
    live.change("loaded", "sft", catalogues[0])
    steps = changes(live, catalogues, n_swaps)
    quiet: dict[str, Answers] = {}
    for step in (lambda: None, *steps):
        step()
        answers = [live.search(**search) for search in SEARCHES]
        quiet[answers[0]["epoch"]] = answers
    live.change("loaded", "sft", catalogues[0])

    epochs: list[weakref.ref[Any]] = []

    def watch(step: Callable[[], None]) -> None:
        epochs.append(weakref.ref(catalogue.snapshot("sft").epoch))
        step()

    answers = search_meanwhile(live, n_searches, [partial(watch, step) for step in steps])

    wrong = [answer for answer in answers if is_wrong(answer, quiet[answer["epoch"]][answer["number"]])]
    assert len(answers) == n_searches
    assert wrong == []
    assert len({answer["epoch"] for answer in answers}) == len(quiet), "every epoch has answered"
    gc.collect()
    assert len(epochs) == n_swaps
    assert [epoch for epoch in epochs if epoch() is not None] == [], "old epochs are garbage"


def test_every_answer_is_of_the_epoch_it_names(live: Any, catalogues: list[Path]) -> None:
    drive(live, catalogues, n_searches=1_000, n_swaps=10)


@pytest.mark.slow
def test_ten_thousand_answers_across_fifty_swaps(live: Any, catalogues: list[Path]) -> None:
    drive(live, catalogues, n_searches=10_000, n_swaps=50)


def test_searches_that_wait_while_the_epoch_is_swapped(
    live: Any, catalogues: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One before, one after, equal but for the epoch: neither joins the other."""
    search = SEARCHES[0]
    quiet = {}
    for bundle in (catalogues[1], catalogues[0]):
        live.change("loaded", "sft", bundle)
        answer = live.search(**search)
        quiet[answer["epoch"]] = answer

    def waits(n_searches: int) -> None:
        while live.metric("radsearch_queue_depth") != n_searches:
            time.sleep(0.001)

    n_batches = live.metric("radsearch_batch_size_count")
    release = threading.Event()
    engine = live.service.catalogue.snapshot("sft").variant.engine
    decode = engine.search

    def held(trie: Any, width: int, queries: Any, *rest: Any) -> Any:
        if queries[0].text == "hat":  # not those that warm an epoch up
            release.wait()
        return decode(trie, width, queries, *rest)

    monkeypatch.setattr(engine, "search", held)
    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(live.search, "hat")
        while live.metric("radsearch_batch_size_count") == n_batches:
            time.sleep(0.001)
        before = threads.submit(live.search, **search)
        waits(1)
        live.change("loaded", "sft", catalogues[1])
        after = threads.submit(live.search, **search)
        waits(2)
        release.set()
        answers = [before.result(), after.result()]
        first.result()
    assert [answer["epoch"] for answer in answers] == list(quiet)[::-1]
    assert [answer for answer in answers if is_wrong(answer, quiet[answer["epoch"]])] == []
    assert live.metric("radsearch_coalesced_total") == 0
    assert live.metric("radsearch_batch_size_count") == n_batches + 3


def test_an_old_epoch_goes_with_its_last_search(live: Any, catalogues: list[Path]) -> None:
    """Without a collector of cycles: its arrays are large."""
    catalogue = live.service.catalogue
    live.search(**SEARCHES[1])
    held = catalogue.snapshot("sft")
    parts = [
        held.epoch,
        held.filters,
        held.trie,
        held.epoch.trie,
        held.epoch.embeddings,
        held.features.vectors,
    ]
    watched = [weakref.ref(part) for part in parts]
    del parts
    live.change("loaded", "sft", catalogues[1])
    gc.collect()
    gc.disable()
    try:
        assert all(part() is not None for part in watched), "a search that started before may need them"
        del held
        time.sleep(0.1)  # a thread that worked for the change may be about to let go of it
        assert [part() for part in watched if part() is not None] == []
    finally:
        gc.enable()


def resident_bytes() -> int:
    """What the process holds, after everything that can be given back was."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_memory_comes_back(live: Any, write_catalogue: Any, tmp_path: Path) -> None:
    """Catalogues so large that one which stayed would be seen."""
    rng = random.Random(4)
    words = [f"word{number}" for number in range(3_000)]
    bundles = []
    for name in ("one", "other"):
        items = [
            {"item_id": f"{name}{n}", "title": " ".join(rng.choices(words, k=12)), "price": float(n)}
            for n in range(20_000)
        ]
        bundles.append(write_catalogue(tmp_path / name, items))
    resident = []
    for _ in range(6):
        for bundle in bundles:
            live.change("loaded", "sft", bundle)
            live.change("relisted", ["one1", "other1"])
            for search in SEARCHES[:3]:
                live.search(**search)
        resident.append(resident_bytes())
    assert resident[-1] < 1.05 * resident[1], "from the second round on, nothing is there for the first time"


def test_an_epoch_answers_before_redis_has_it(
    live: Any, catalogues: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "SETTLE_S", 0.0)
    store = live.service.retriever._store._store
    may_write = threading.Event()
    write = store._redis.write

    async def waits(epoch: Any) -> None:
        while not may_write.is_set():
            await store_module.asyncio.sleep(0.01)
        await write(epoch)

    monkeypatch.setattr(store._redis, "write", waits)
    live.change("loaded", "sft", catalogues[1])
    epoch = live.service.catalogue.snapshot("sft").epoch
    own_copy = [live.search(**search) for search in SEARCHES]
    assert epoch.id not in store._complete
    may_write.set()
    while epoch.id not in store._complete:
        live.search(**SEARCHES[0])
    from_redis = [live.search(**search) for search in SEARCHES]
    for ours, theirs in zip(own_copy, from_redis, strict=True):
        assert ours["degraded"] == theirs["degraded"] == []
        assert contents(ours) == contents(theirs)


def test_variants_are_swapped_apart(start_service: Any, bundles: Path, catalogues: list[Path]) -> None:
    sources = tuple(BundleSource(name, bundles / name) for name in ("sft", "rad-dpo"))
    with start_service(bundles=sources) as live:
        catalogue = live.service.catalogue
        before = catalogue.snapshot("rad-dpo")
        live.change("loaded", "sft", catalogues[1])
        assert catalogue.snapshot("rad-dpo") is before
        assert catalogue.snapshot("sft").epoch.id != before.epoch.id
        live.change("loaded", "sft", catalogues[0])
        assert catalogue.snapshot("sft").epoch is before.epoch, "what is served already is shared"


def resign(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"] = {name: sha256(bundle / name) for name in manifest["files"]}
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def other_codebooks(bundle: Path) -> None:
    ResidualQuantizer(tuple(np.ones((5, 8), np.float32) for _ in range(3))).save(bundle / "quantizer.npz")


def other_dimension(bundle: Path) -> None:
    ResidualQuantizer(tuple(np.ones((4, 9), np.float32) for _ in range(3))).save(bundle / "quantizer.npz")


def other_centroids(bundle: Path) -> None:
    ResidualQuantizer(tuple(np.ones((4, 8), np.float32) for _ in range(3))).save(bundle / "quantizer.npz")


def other_head(bundle: Path) -> None:
    np.save(bundle / "item_head.npy", 2 * np.load(bundle / "item_head.npy"))


def wider_head(bundle: Path) -> None:
    np.save(bundle / "item_head.npy", np.ones((9, 8), np.float32))


def too_few_vectors(bundle: Path) -> None:
    np.save(bundle / "item_vectors.npy", np.load(bundle / "item_vectors.npy")[1:])


def narrow_vectors(bundle: Path) -> None:
    np.save(bundle / "item_vectors.npy", np.load(bundle / "item_vectors.npy")[:, 1:])


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (other_codebooks, r"codebooks of sizes \(5, 5, 5\), the model 'sft' has \(4, 4, 4\)"),
        (other_dimension, "embeddings of dimension 9, the model 'sft' has 8"),
        (wider_head, r"an item head of shape \(9, 8\), the model 'sft' has \(8, 8\)"),
        (other_centroids, r"quantizer\.npz is not that of the model 'sft'"),
        (other_head, r"item_head\.npy is not that of the model 'sft'"),
        (too_few_vectors, r"item_vectors\.npy is float32 of shape \(59, 8\), expected float32 with 60 rows"),
        (narrow_vectors, "codebook sizes and dimensions"),
    ],
)
def test_a_bundle_that_does_not_fit_is_refused(
    live: Any, catalogues: list[Path], tmp_path: Path, change: Callable[[Path], None], complaint: str
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(catalogues[1], bundle)
    change(bundle)
    resign(bundle)
    before = live.service.catalogue.snapshot("sft")
    with pytest.raises(BundleError, match=complaint) as caught:
        live.change("loaded", "sft", bundle)
    assert "\n" not in str(caught.value)
    assert live.service.catalogue.snapshot("sft") is before


def test_a_variant_that_is_not_there(live: Any, catalogues: list[Path]) -> None:
    with pytest.raises(ServiceError, match="no variant is named 'gone'; choose one of sft"):
        live.change("loaded", "gone", catalogues[0])


def test_a_damaged_bundle_changes_nothing(live: Any, catalogues: list[Path], tmp_path: Path) -> None:
    shutil.copytree(catalogues[1], tmp_path / "bundle")
    (tmp_path / "bundle" / "sids.npz").write_bytes(b"")
    before = live.service.catalogue.snapshot("sft")
    with pytest.raises(BundleError, match=r"sids\.npz differs from the hash"):
        live.change("loaded", "sft", tmp_path / "bundle")
    assert live.service.catalogue.snapshot("sft") is before
