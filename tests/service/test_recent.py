"""What is remembered of an epoch is what its store tells, and is asked for once."""

import asyncio
import gc
import math
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import ref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.catalogue import ItemPayload
from service.epoch import Epoch
from service.recent import RecentItems
from service.store import Found
from sid.manifest import Manifest
from tests.service.waiting import eventually

pytestmark = pytest.mark.anyio


class Told:
    """Stands where the item store stands: tells of the epoch's own copy, and keeps account of it."""

    is_away = False

    def __init__(self) -> None:
        self.leaves: list[int] = []
        self.rows: list[int] = []

    async def postings(
        self, epoch: Epoch, leaves: np.ndarray, sids: np.ndarray, deadline: float = math.inf
    ) -> Found[list[np.ndarray]]:
        np.testing.assert_array_equal(sids, epoch.table.codes[leaves])
        await asyncio.sleep(0)
        self.leaves += leaves.tolist()
        return Found([epoch.table.posting(leaf) for leaf in leaves.tolist()], is_degraded=True)

    async def items(
        self, epoch: Epoch, rows: np.ndarray, deadline: float = math.inf
    ) -> Found[list[ItemPayload]]:
        await asyncio.sleep(0)
        self.rows += rows.tolist()
        return Found(epoch.catalogue.items(rows), is_degraded=True)


@pytest.fixture(scope="module")
def epoch(bundles: Path) -> Epoch:
    return Epoch.load(bundles / "sft", Manifest.read(bundles / "sft"))


def made(store: Told, capacity: int) -> RecentItems:
    return RecentItems(store, capacity)  # type: ignore[arg-type]


async def look_up(recent: RecentItems, epoch: Epoch, leaves: list[int], rows: list[int]) -> tuple[bool, bool]:
    """Compare with the epoch's own copy; returns which of both the store was asked for."""
    asked = np.array(leaves, dtype=np.int32)
    postings = await recent.postings(epoch, asked, epoch.table.codes[asked])
    expected = [epoch.table.posting(leaf).tolist() for leaf in leaves]
    assert postings.value.items.tolist() == [item for posting in expected for item in posting]
    assert postings.value.beams.tolist() == [beam for beam, each in enumerate(expected) for _ in each]
    assert (postings.value.items.dtype, postings.value.beams.dtype) == ("i4", "i4")
    items = await recent.items(epoch, np.array(rows, dtype=np.int32))
    assert items.value == epoch.catalogue.items(np.array(rows, dtype=np.int32))
    return postings.is_degraded, items.is_degraded


@given(
    capacity=st.sampled_from([0, 1, 3, 10, 1_000]),
    searches=st.lists(
        st.tuples(
            st.lists(st.integers(0, 1_000), unique=True, max_size=12),
            st.lists(st.integers(0, 1_000), unique=True, max_size=12),
        ),
        max_size=8,
    ),
    side_by_side=st.booleans(),
)
def test_answers_are_the_stores_own(
    epoch: Epoch, capacity: int, searches: list[tuple[list[int], list[int]]], side_by_side: bool
) -> None:
    n_leaves, n_items = epoch.table.n_leaves, len(epoch.catalogue)
    asked = [
        (sorted({leaf % n_leaves for leaf in leaves}), sorted({row % n_items for row in rows}))
        for leaves, rows in searches
    ]

    async def all_of_them() -> None:
        store = Told()
        recent = made(store, capacity)
        if side_by_side:
            await asyncio.gather(*(look_up(recent, epoch, *each) for each in asked))
        else:
            for leaves, rows in asked:
                await look_up(recent, epoch, leaves, rows)
        await recent.close()

    asyncio.run(all_of_them())


async def test_everything_is_told_before_it_is_asked_for(epoch: Epoch) -> None:
    store = Told()
    recent = made(store, 1_000)
    assert await look_up(recent, epoch, [3, 1], [5]) == (True, True)
    await eventually(lambda: len(set(store.rows)) == len(epoch.catalogue))
    assert sorted(set(store.leaves)) == list(range(epoch.table.n_leaves))
    before = len(store.leaves), len(store.rows)
    every = list(range(epoch.table.n_leaves)), list(range(len(epoch.catalogue)))
    assert await look_up(recent, epoch, *every) == (False, False)
    assert (len(store.leaves), len(store.rows)) == before
    await recent.close()


async def test_what_is_popular_is_told_ahead_where_not_all_can_be_kept(epoch: Epoch) -> None:
    prior = np.zeros(len(epoch.catalogue), dtype=np.float32)
    prior[[7, 2, 9]] = [0.5, 1.0, 0.75]
    store = Told()
    recent = made(store, 6)
    await look_up(recent, replace(epoch, prior=prior), [0], [])
    await eventually(lambda: len(store.rows) == 3)
    assert store.rows == [2, 9, 7]
    leaf_of_item = epoch.table.leaf_of_item()
    assert set(store.leaves) == {0, *leaf_of_item[[2, 9, 7]].tolist()}
    await recent.close()


async def test_an_epoch_that_nobody_holds_is_asked_for_no_more(epoch: Epoch, monkeypatch: Any) -> None:
    monkeypatch.setattr("service.recent.AT_ONCE", 1)
    store = Told()
    recent = made(store, 1_000)
    mine = replace(epoch)
    await look_up(recent, mine, [0], [])
    watched = ref(mine)
    await eventually(lambda: len(store.rows) > 0)
    del mine
    await eventually(lambda: not recent._asking_ahead)
    gc.collect()
    assert watched() is None
    assert len(store.rows) < len(epoch.catalogue)


async def test_nothing_is_asked_ahead_where_nothing_is_kept(epoch: Epoch) -> None:
    store = Told()
    recent = made(store, 0)
    for _ in range(2):
        assert await look_up(recent, epoch, [1, 2], [3]) == (True, True)
    await asyncio.sleep(0.05)
    assert (store.leaves, store.rows) == ([1, 2, 1, 2], [3, 3])
