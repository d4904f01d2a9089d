import uuid
from typing import Any

import httpx
import pytest


def variant_of(client: httpx.Client, **fields: Any) -> str:
    response = client.post("/v1/search", json={"query": "red", "k": 1, **fields})
    return response.json()["variant"]


def test_a_browser_keeps_its_variant_by_a_cookie(running: Any) -> None:
    seen = set()
    for _ in range(20):
        with httpx.Client(base_url=running.url) as browser:
            first = variant_of(browser)
            assert {variant_of(browser) for _ in range(3)} == {first}
            seen.add(first)
    assert seen == {"sft", "rad-dpo"}


def test_the_cookie_is_out_of_reach_for_scripts(running: Any) -> None:
    response = httpx.post(f"{running.url}/v1/search", json={"query": "red"})
    cookie = response.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    uuid.UUID(response.cookies["radsearch_id"])


def test_a_user_of_the_shop_needs_no_cookie(running: Any) -> None:
    search = {"query": "red", "user_id": "ada"}
    event = {"request_id": "r", "type": "click", "item_id": "i1", "user_id": "ada"}
    for path, body in [("search", search), ("search/batch", {"searches": [search]}), ("events", event)]:
        response = httpx.post(f"{running.url}/v1/{path}", json=body)
        assert response.is_success
        assert "set-cookie" not in response.headers


@pytest.mark.parametrize("value", ["", "x" * 3000, "not-ours", "../../etc"])
def test_a_cookie_that_is_not_ours_is_replaced(value: str, running: Any) -> None:
    with httpx.Client(base_url=running.url, headers={"Cookie": f"radsearch_id={value}"}) as browser:
        response = browser.post("/v1/search", json={"query": "red"})
    assert response.status_code == 200
    assert uuid.UUID(response.cookies["radsearch_id"])


def test_a_user_has_one_variant_on_every_device(running: Any) -> None:
    for n in range(10):
        variants = set()
        for _ in range(3):
            with httpx.Client(base_url=running.url) as device:
                variants.add(variant_of(device, user_id=f"user-{n}"))
        assert len(variants) == 1


def test_experiments_are_told(running: Any) -> None:
    body = running.client.get("/v1/experiments").json()
    assert body["variants"] == ["sft", "rad-dpo"]
    assert body["features"]["variant"]["rules"][0]["key"] == "ab"
