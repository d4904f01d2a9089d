"""``explain`` says how the model came to the items of an answer."""

from typing import Any

import numpy as np


def test_an_explanation_follows_every_item(running: Any) -> None:
    plain = running.search(query="red wool hat", user_id="u", k=5)
    answer = running.search(query="red wool hat", user_id="u", k=5, explain=True)
    assert plain["explanation"] is None
    assert [item["item_id"] for item in answer["items"]] == [item["item_id"] for item in plain["items"]]
    explained = {tuple(one["sid"]): one["codes"] for one in answer["explanation"]["sids"]}
    assert set(explained) == {tuple(item["sid"]) for item in answer["items"]}
    for sid, codes in explained.items():
        assert [step["code"] for step in codes] == list(sid)
        assert all(step["log_prob"] <= 1e-6 and step["rank"] >= 1 for step in codes)


def test_what_was_pruned_lies_behind_what_was_kept(running: Any) -> None:
    answer = running.search(query="red wool hat", user_id="u", k=5, beam_width=4, explain=True)
    pruned = answer["explanation"]["pruned"]
    assert [len(prefix["prefix"]) for prefix in pruned[-1]] == [len(pruned)] * len(pruned[-1])
    assert any(pruned)
    for level in pruned:
        assert [one["behind"] for one in level] == sorted(one["behind"] for one in level)
        assert all(one["behind"] >= 0 for one in level)
    for one in answer["explanation"]["sids"]:
        for step, level in zip(one["codes"], pruned, strict=True):
            assert step["rank"] <= 4
            assert (step["margin"] is None) == (not level)


def test_a_search_that_finds_nothing_explains_nothing(running: Any) -> None:
    answer = running.search(query="red wool hat", user_id="u", filters={"price": {"lt": -1}}, explain=True)
    assert answer["items"] == []
    assert answer["explanation"]["sids"] == []


def test_the_beams_are_told_level_by_level(running: Any) -> None:
    """Each beam continues one of the level before; its ways on are those that catalogue and filter leave."""
    filters = {"in_stock": True}
    answer = running.search(
        query="red wool hat", user_id="u", k=5, beam_width=4, filters=filters, explain=True
    )
    explanation = answer["explanation"]
    snapshot = running.service.catalogue.snapshot(answer["variant"])
    mask = running.wait(snapshot.filters.mask(filters))
    codes = snapshot.epoch.table.codes
    leaves = snapshot.epoch.table.leaf_of_item()
    left = np.isin(np.arange(len(codes)), leaves[mask.items])
    before = [explanation["root"]]
    for level in explanation["kept"]:
        assert 0 < len(level) <= 4
        assert [one["log_prob"] for one in level] == sorted((one["log_prob"] for one in level), reverse=True)
        assert {tuple(one["prefix"][:-1]) for one in level} <= {tuple(one["prefix"]) for one in before}
        for one in level:
            depth = len(one["prefix"])
            under = (codes[:, :depth] == one["prefix"]).all(axis=1)
            next_codes = codes[:, depth : depth + 1]
            assert one["in_trie"] == len(set(next_codes[under].ravel().tolist()))
            assert one["alive"] == len(set(next_codes[under & left].ravel().tolist()))
        before = level
    assert {tuple(item["sid"]) for item in answer["items"]} <= {tuple(one["prefix"]) for one in before}
