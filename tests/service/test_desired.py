"""What admins change, as a pure function from one state to the next."""

import random
from typing import Any

import pytest

from service.desired import MAX_VARIANTS, BundleRef, CatalogueHistory, DesiredState, Source
from service.problems import ConflictError

OLD, NEW, NEWER = (BundleRef(name, name * 2) for name in ("old", "new", "newer"))
CONFIGURED = ["a", "b"]
ROOM = 100_000


def item(item_id: str, title: str = "a hat") -> Any:
    return {"item_id": item_id, "title": title, "attributes": {"price": 1.5, "tags": ["new"], "brand": None}}


def with_items(state: DesiredState, *items: Any, most_bytes: int = ROOM) -> DesiredState:
    return state.with_items(items, most_bytes, CONFIGURED)


def added(state: DesiredState, name: str) -> list[str]:
    """Ids of what was added to the catalogue of a variant."""
    return [each["item_id"] for upsert in state.upserts_of(name) for each in upsert.items]


def test_a_state_survives_redis() -> None:
    state = with_items(DesiredState(version=4), item("x")).with_variant("c", NEW, CONFIGURED)
    state = state.with_catalogue("a", OLD, CONFIGURED).with_shares({"c": 0.25, "a": 0.75}, CONFIGURED)
    state = state.relisted(["y", "x"], False, ROOM, CONFIGURED).without_variant("b", "a", CONFIGURED)
    again = DesiredState.parse(state.document)
    assert again == state
    assert again.stamp == state.stamp
    assert list(again.variants(CONFIGURED)) == ["a", "c"]


def test_variants_come_and_go() -> None:
    state = DesiredState().with_variant("c", NEW, CONFIGURED)
    assert state.variants(CONFIGURED) == ["a", "b", "c"]
    assert state.with_variant("c", NEW, CONFIGURED) is state
    for name in ("a", "c"):
        with pytest.raises(ConflictError, match=f"another bundle is loaded as '{name}'"):
            state.with_variant(name, NEWER, CONFIGURED)
    without = state.without_variant("b", "a", CONFIGURED)
    assert without.variants(CONFIGURED) == ["a", "c"]
    assert without.without_variant("b", "a", CONFIGURED) is without
    assert without.with_variant("b", OLD, CONFIGURED).variants(CONFIGURED) == ["a", "c", "b"]
    assert state.without_variant("c", "a", CONFIGURED).variants(CONFIGURED) == CONFIGURED


def test_there_are_not_too_many_variants() -> None:
    state = DesiredState()
    for number in range(MAX_VARIANTS - 2):
        state = state.with_variant(f"v{number}", NEW, CONFIGURED)
    with pytest.raises(ConflictError, match="16 variants are loaded"):
        state.with_variant("one more", NEW, CONFIGURED)


def test_who_gets_traffic_cannot_be_unloaded() -> None:
    state = DesiredState()
    with pytest.raises(ConflictError, match="'a' gets traffic"):
        state.without_variant("a", "a", CONFIGURED)
    state = state.with_shares({"a": 0.9, "b": 0.1}, CONFIGURED)
    for name in CONFIGURED:
        with pytest.raises(ConflictError, match="gets traffic"):
            state.without_variant(name, "a", CONFIGURED)
    state = state.with_shares({"a": 0.0, "b": 1.0}, CONFIGURED)
    assert state.without_variant("a", "a", CONFIGURED).variants(CONFIGURED) == ["b"]


def test_traffic_is_rolled_back() -> None:
    state = DesiredState()
    with pytest.raises(ConflictError, match="never shifted"):
        state.with_previous_shares("a", CONFIGURED)
    first = state.with_shares({"b": 0.1, "a": 0.9}, CONFIGURED)
    assert first.with_shares({"a": 0.9, "b": 0.1}, CONFIGURED) is first
    second = first.with_shares({"b": 1.0}, CONFIGURED)
    back = second.with_previous_shares("a", CONFIGURED)
    assert back.shares == first.shares
    assert back.with_previous_shares("a", CONFIGURED) == back
    assert first.with_previous_shares("a", CONFIGURED).shares == {}
    without = second.without_variant("a", "a", CONFIGURED)
    with pytest.raises(ConflictError, match="no variant 'a' is loaded; there are b"):
        without.with_previous_shares("a", CONFIGURED)
    with pytest.raises(ConflictError, match="no variant 'c' is loaded"):
        state.with_shares({"c": 1.0}, CONFIGURED)


def test_a_catalogue_takes_what_is_added_later_and_a_rollback_all() -> None:
    state = with_items(DesiredState(), item("before"))
    loaded = state.with_catalogue("a", NEW, CONFIGURED)
    assert loaded.with_catalogue("a", NEW, CONFIGURED) is loaded
    loaded = with_items(loaded, item("after"))
    assert (added(loaded, "a"), added(loaded, "b")) == (["after"], ["before", "after"])
    back = loaded.with_previous_catalogue("a", CONFIGURED)
    assert back.catalogue("a").current == Source()
    assert added(back, "a") == ["before", "after"]
    assert back.with_previous_catalogue("a", CONFIGURED) == back
    with pytest.raises(ConflictError, match="'b' has no catalogue to roll back to"):
        loaded.with_previous_catalogue("b", CONFIGURED)
    with pytest.raises(ConflictError, match="no variant 'c'"):
        loaded.with_catalogue("c", NEW, CONFIGURED)


def test_a_variant_that_is_loaded_later_has_what_is_in_its_bundle() -> None:
    state = with_items(DesiredState(), item("before")).with_variant("c", NEW, CONFIGURED)
    assert added(with_items(state, item("after")), "c") == ["after"]


def test_the_same_items_again_change_nothing() -> None:
    state = with_items(DesiredState(), item("x"), item("y"))
    assert with_items(state, item("y")) is state
    assert added(with_items(state, item("y"), item("z")), "a") == ["x", "y", "z"]
    assert added(with_items(state, item("y", "a coat")), "a") == ["x", "y", "y"]
    delisted = state.relisted(["x"], False, ROOM, CONFIGURED)
    offered = with_items(delisted, item("x"))
    assert (offered.delisted, added(offered, "a")) == ((), ["x", "y", "x"])
    loaded = state.with_catalogue("b", NEW, CONFIGURED)
    assert added(with_items(loaded, item("x")), "b") == ["x"], "the new catalogue has not got it"


def test_items_are_delisted_and_relisted() -> None:
    state = DesiredState().relisted(["y", "x"], False, ROOM, CONFIGURED)
    assert state.delisted == ("x", "y")
    assert state.relisted(["x"], False, ROOM, CONFIGURED) is state
    assert state.relisted(["x", "z"], True, ROOM, CONFIGURED).delisted == ("y",)


def test_two_reloads_of_every_catalogue_drop_what_was_added_before() -> None:
    state = with_items(DesiredState(), item("x"))
    for bundle in (NEW, NEWER):
        assert [upsert.number for upsert in state.upserts] == [0]
        for name in CONFIGURED:
            state = state.with_catalogue(name, bundle, CONFIGURED)
    assert state.upserts == ()
    assert added(with_items(state, item("y")), "a") == ["y"]


def test_the_state_is_bounded() -> None:
    """What a rollback needs goes first; then nothing is added until a catalogue is loaded."""
    state = DesiredState()
    with pytest.raises(ConflictError, match="export bundles with these changes"):
        for number in range(1_000):
            state = with_items(state, item(str(number)), most_bytes=3_000)
    assert len(state.document) <= 3_000
    for name in CONFIGURED:
        state = state.with_catalogue(name, NEW, CONFIGURED)
    assert state.catalogue("a").previous == Source()
    state = with_items(state, *(item(f"n{number}") for number in range(5)), most_bytes=3_000)
    assert state.catalogue("a") == CatalogueHistory(Source(NEW, since=state.upserts[0].number))
    assert len(state.upserts) == 1
    with pytest.raises(ConflictError, match="at most 3,000 are kept"):
        state.relisted([f"item {number}" for number in range(1_000)], False, 3_000, CONFIGURED)


def test_cleared_is_as_configured() -> None:
    state = with_items(DesiredState(version=3), item("x")).with_variant("c", NEW, CONFIGURED)
    assert state.cleared() == DesiredState(version=3)
    assert state.cleared().cleared() == state.cleared()


@pytest.mark.parametrize("seed", range(20))
def test_no_sequence_of_changes_loses_what_a_catalogue_needs(seed: int) -> None:
    """The oracle: every item that was added since a catalogue was loaded, or since the one before it was."""
    rng = random.Random(seed)
    state, bundles = DesiredState(), [OLD, NEW, NEWER]
    since = dict.fromkeys(CONFIGURED, 0)
    previous: dict[str, int | None] = dict.fromkeys(CONFIGURED)
    everything: list[str] = []
    for step in range(60):
        name = rng.choice(CONFIGURED)
        action = rng.randrange(3)
        if action == 0:
            everything.append(f"item {step}")
            state = with_items(state, item(everything[-1]))
        elif action == 1:
            bundle = rng.choice(bundles)
            if bundle != state.catalogue(name).current.bundle:
                previous[name], since[name] = since[name], len(everything)
            state = state.with_catalogue(name, bundle, CONFIGURED)
        elif previous[name] is not None:
            since[name] = previous[name] or 0
            state = state.with_previous_catalogue(name, CONFIGURED)
        for variant in CONFIGURED:
            assert added(state, variant) == everything[since[variant] :]
