"""``explain`` says how the model came to the items of an answer."""

from typing import Any


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
