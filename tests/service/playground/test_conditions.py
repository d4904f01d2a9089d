"""The playground where all is not well: slow, away, refused, hostile, small, dark; and by other senses."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Route, expect

from reports.axes import Axis
from reports.intervals import Interval
from reports.page import cell, facts, note, plots, section, table, verdict
from reports.page import page as report_page
from reports.plots import forest
from service.keys import Scope, add_key

QUERY = "red running shoes"
PHONE = {"width": 390, "height": 844}


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def test_the_theme_follows_the_system_until_it_is_chosen(visiting: Any) -> None:
    with visiting(color_scheme="dark") as visit:
        page = visit.open(f"/?q={QUERY}")
        visit.item_ids()
        visit.picture("dark")
        assert brightness(page) < 60
        page.locator("body").press("t")
        assert brightness(page) > 200
        page.reload()
        assert brightness(page) > 200


def brightness(page: Page) -> float:
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return max(map(float, re.findall(r"\d+", colour)[:3]))


def test_a_late_answer_never_replaces_a_newer_one(visit: Any, site: Any) -> None:
    visit.page.clock.install()
    page = visit.open()
    held: list[Route] = []
    page.route("**/v1/search", lambda route: held.append(route) if not held else route.continue_())
    page.keyboard.type("wool hat")
    page.locator(".waiting").wait_for()
    page.clock.fast_forward(3_000)
    expect(page.locator("[role=status].unseen").first).to_contain_text("waiting for 3 s")
    page.locator("#query").fill(QUERY)
    assert visit.item_ids() == ids(site.search(QUERY, k=24))
    held[0].abort()  # the page has given it up
    expect(page.locator(".waiting")).to_have_count(0)
    assert visit.item_ids() == ids(site.search(QUERY, k=24))


def test_a_server_that_is_away_is_told_and_asked_again(visit: Any, site: Any) -> None:
    page = visit.open()
    page.route("**/v1/**", lambda route: route.abort("connectionrefused"))
    page.keyboard.type(QUERY)
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    visit.picture("away")
    page.unroute("**/v1/**")
    page.get_by_role("button", name="Try again").click()
    assert visit.item_ids() == ids(site.search(QUERY, k=24))
    assert all("ERR_CONNECTION_REFUSED" in text for text in visit.complaints)
    visit.complaints.clear()


def test_what_is_refused_says_why(visit: Any) -> None:
    page = visit.open('/?q=red&filters={"colour":"red"}')
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("no attribute of this catalogue; known: ")
    expect(alert).to_contain_text("request_id")
    page.locator("body").press("x")
    expect(page.locator(".item")).to_have_count(24)
    assert all("422" in text for text in visit.complaints)
    visit.complaints.clear()


def test_a_key_is_asked_for_and_kept_for_the_tab(
    visiting: Any, start_service: Callable[..., Any], tmp_path: Path
) -> None:
    key = add_key(tmp_path / "keys.toml", Scope.SEARCH, "page")
    with (
        start_service(keys=tmp_path / "keys.toml") as running,
        visiting(running.url) as visit,
    ):
        page = visit.open(f"/?q={QUERY}")
        expect(page.get_by_role("alert")).to_contain_text("this needs a key of scope search")
        page.get_by_role("button", name="Enter a key").click()
        page.get_by_label("Search key").fill(key)
        page.keyboard.press("Enter")
        expect(page.locator(".item")).to_have_count(24)
        expect(page.locator(".facet").first).to_be_visible()
        assert key not in page.url
        assert key not in page.evaluate("JSON.stringify(localStorage)")
        page.reload()
        expect(page.locator(".item")).to_have_count(24)
        assert all("401" in text for text in visit.complaints)
        visit.complaints.clear()


def test_titles_are_text_whatever_they_hold(visit: Any) -> None:
    page = visit.open()
    hostile = '<img src=x onerror="document.title = 1"><b>bold</b>'

    def altered(route: Route) -> None:
        response = route.fetch()
        answer = response.json()
        answer["items"][0]["title"] = answer["items"][0]["attributes"]["category"] = hostile
        route.fulfill(response=response, json=answer)

    page.route("**/v1/search", altered)
    page.keyboard.type(QUERY)
    expect(page.locator(".item h3").first).to_have_text(hostile)
    expect(page.locator("main img, main b")).to_have_count(0)


@pytest.mark.parametrize("path", [f"/?q={QUERY}", f"/?q={QUERY}&view=compare", "/?view=map"])
def test_a_phone_scrolls_in_one_direction(path: str, visiting: Any) -> None:
    with visiting(viewport=PHONE, has_touch=True) as visit:
        page = visit.open(path)
        page.locator(".item, .node").first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        visit.picture(f"phone-{len(path)}")


VIEWS = [
    "/",
    *(f"/?q={QUERY}&k=4&{more}" for more in ("beam=64", "why=true&beam=4", "view=compare")),
    "/?view=map",
]


@pytest.mark.parametrize("path", VIEWS)
def test_a_view_has_no_barrier(path: str, visit: Any) -> None:
    page = visit.open(path)
    page.locator(".item, .node, .chip").first.wait_for()
    assert_accessible(page, "body" if path == "/" else "main")


@pytest.mark.parametrize("key", ["?", "d"])
def test_a_dialog_has_no_barrier(key: str, visit: Any) -> None:
    page = visit.open("/?view=map")
    page.locator("body").press(key)
    page.locator("dialog[open]").wait_for()
    assert_accessible(page, "dialog[open]")


def test_a_failure_has_no_barrier(visit: Any) -> None:
    visit.page.route("**/v1/**", lambda route: route.abort())
    page = visit.open(f"/?q={QUERY}")
    page.get_by_role("alert").wait_for()
    assert_accessible(page, "main")
    visit.complaints.clear()


def test_a_report_has_no_barrier(visit: Any) -> None:
    wide = table(["name", *map(str, range(40))], [["one", *(cell(f"{n}.5", "± 1") for n in range(40))]])
    rows = {"one": Interval(0.2, 0.1, 0.3), "two": Interval(-0.2, -0.3, -0.1)}
    plot = forest("Differences", rows, Axis("points, %", factor=100))
    parts = section("Figures", note("Said."), wide, plots([plot]), facts({"seed": 1}))
    visit.page.set_viewport_size(PHONE)
    visit.page.set_content(report_page("A report", [verdict(["Better."], "better"), parts]))
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert_accessible(visit.page, "body")


def assert_accessible(page: Page, part: str) -> None:
    """Nothing serious by axe in a part of the page; in the dark only the colours are others."""
    assert_no_violations(page, part, {"resultTypes": ["violations"]})
    page.emulate_media(color_scheme="dark")
    assert_no_violations(page, part, {"runOnly": ["color-contrast"]})


def assert_no_violations(page: Page, part: str, options: dict[str, Any]) -> None:
    found = {
        (each["id"], node["html"])
        for each in Axe().run(page, part, options).response["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    }
    assert found == set()


def test_the_page_loads_little(visit: Any) -> None:
    sizes: list[int] = []
    visit.page.on("response", lambda response: sizes.append(len(response.body())))
    visit.open(f"/?q={QUERY}")
    visit.item_ids()
    assert 0 < sum(sizes) <= 300_000


def test_the_page_tells_how_soon_items_are_seen(visit: Any) -> None:
    """How soon that is depends on the machine: see it with -rP."""
    measured = """() => new Promise(resolve => new PerformanceObserver(list => {
        for (const { duration } of list.getEntriesByName("response to paint")) resolve(duration);
    }).observe({ type: "measure", buffered: true }))"""
    duration = visit.open(f"/?q={QUERY}").evaluate(measured)
    assert visit.item_ids()
    assert duration > 0
    print(f"from the response to the items on the screen: {duration:.0f} ms")
