"""The playground in a real browser: what a relevance engineer does with it all day."""

import csv
import io
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from service.keys import Scope, add_key
from service.settings import BundleSource
from training.data.items import load_items
from training.data.judgments import load_judgments
from training.data.rejects import Rejects

QUERY = "red running shoes"
DESK, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
PICTURES = Path(__file__).parents[2] / "artefacts" / "playground"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None and "CI" not in os.environ:
        pytest.skip("needs Chromium: apt-get install chromium")
    assert program is not None, "CI must have Chromium"
    with sync_playwright() as playwright:
        # Root, as in a container, has no sandbox; the pages are our own.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def site(start_service: Callable[..., Any], bundles: Path) -> Iterator[Any]:
    """Both variants, the first for everyone, with a cache."""
    sources = tuple(BundleSource(name, bundles / name) for name in ("sft", "rad-dpo"))
    with start_service(bundles=sources, result_cache=100) as running:
        yield running


class Visit:
    """A page of a fresh profile.

    Attributes:
        page: the page.
        complaints: errors on its console; a test that provokes some takes them out.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", lambda message: self._note(message.type, message.text))
        page.on("pageerror", lambda error: self._note("error", str(error)))

    def _note(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)

    def open(self, path: str = "/") -> Page:
        self.page.goto(path)
        return self.page

    def picture(self, name: str) -> None:
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{name}.png")

    def item_ids(self, within: str = "main") -> list[str]:
        """Of the cards, in their order, when the answer is there."""
        self.page.locator(f"{within} .cards .item").first.wait_for()
        expect(self.page.locator("main .waiting")).to_have_count(0)
        cards = self.page.locator(f"{within} .cards .item")
        return cards.evaluate_all("cards => cards.map(card => card.dataset.item)")


@pytest.fixture
def visit(browser: Browser, site: Any) -> Iterator[Visit]:
    with visiting(browser, site.url) as visit:
        yield visit


@contextmanager
def visiting(browser: Browser, url: str, **options: Any) -> Iterator[Visit]:
    context = browser.new_context(base_url=url, **({"viewport": DESK} | options))
    context.set_default_timeout(10_000)
    visit = Visit(context.new_page())
    yield visit
    context.close()
    assert visit.complaints == []


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def text_of(page: Page, selector: str) -> str:
    return page.locator(selector).first.inner_text()


def test_items_come_while_one_types(visit: Visit, site: Any) -> None:
    page = visit.open()
    expect(page.locator("#query")).to_be_focused()
    page.keyboard.type(QUERY)
    expect(page).to_have_title(f"{QUERY} · radsearch")
    page.wait_for_url("**/?q=red+running+shoes")
    expect(page.locator("main .item")).to_have_count(24)
    assert visit.item_ids() == ids(site.search(QUERY, k=24))
    first = site.search(QUERY, k=1)["items"][0]
    card = page.locator("main .item").first
    expect(card.get_by_role("heading")).to_have_text(first["title"])
    expect(card).to_contain_text(first["attributes"]["category"])
    expect(card.locator(".price")).to_have_text(f"{first['attributes']['price']:.2f}")
    expect(card.locator(".score")).to_have_text(f"{first['score']:.3f}".replace("-", "−"))
    visit.picture("search")


def test_the_status_tells_what_was_out_of_the_ordinary(visit: Visit) -> None:
    page = visit.open("/?q=wool+hat&k=100")
    status = page.locator(".status")
    expect(status).to_contain_text("60 items")
    expect(status).to_contain_text(re.compile(r"decode \d+\.\d"))
    expect(status.locator(".badge")).to_have_text(["exhausted"])
    page.reload()
    expect(status.locator(".badge")).to_have_text(["cached", "exhausted"])

    def degraded(route: Route) -> None:
        response = route.fetch()
        route.fulfill(response=response, json=response.json() | {"degraded": ["redis", "beam"]})

    page.route("**/v1/search", degraded)
    page.reload()
    expect(status.locator(".degraded")).to_have_text(["degraded: redis", "degraded: beam"])


def test_filters_are_those_of_the_catalogue(visit: Visit, site: Any) -> None:
    page = visit.open(f"/?q={QUERY}")
    told = {each["name"]: each for each in site.client.get("/v1/attributes").json()["attributes"]}
    hats = next(each for each in told["category"]["most_frequent"] if each["value"] == "wool hat")
    label = page.locator(".facet label", has_text="wool hat")
    expect(label.locator(".count")).to_have_text(str(hats["items"]))
    label.click()
    expect(page.locator(".status .n")).to_have_text(f"{hats['items']} items ")
    assert visit.item_ids() == ids(site.search(QUERY, k=24, filters={"category": ["wool hat"]}))
    page.get_by_label("price to").fill("50")
    page.get_by_label("price to").press("Enter")
    filters = {"category": ["wool hat"], "price": {"lte": 50}}
    expect(page.locator(".chips .chip")).to_have_text(["category: wool hat ×", "price: ≤ 50 ×"])
    expect(page.locator(".item")).to_have_count(site.search(QUERY, k=24, filters=filters)["returned"])
    assert visit.item_ids() == ids(site.search(QUERY, k=24, filters=filters))
    page.get_by_role("button", name="Take the filter category").click()
    expect(label.get_by_role("checkbox")).not_to_be_checked()
    page.locator("body").press("x")
    expect(page.locator(".item")).to_have_count(24)


def test_a_link_shows_another_person_the_same(visit: Visit, browser: Browser, site: Any) -> None:
    page = visit.open(f"/?q={QUERY}&k=7")
    page.locator(".facet label", has_text="yes").click()
    page.wait_for_url("**filters=**")
    expect(page.locator(".item")).to_have_count(7)
    mine = visit.item_ids()
    with visiting(browser, site.url) as other:
        other.open(page.url)
        assert other.item_ids() == mine
        expect(other.page.locator(".facet label", has_text="yes").get_by_role("radio")).to_be_checked()
        expect(other.page.locator("#query")).to_have_value(QUERY)
    page.go_back()
    expect(page.locator(".chip")).to_have_count(0)
    assert visit.item_ids() == ids(site.search(QUERY, k=7))


def test_the_beam_explains_an_item(visit: Visit, site: Any) -> None:
    page = visit.open(f"/?q={QUERY}&beam=4&k=6")
    visit.item_ids()
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("e")
    answer = site.search(QUERY, k=6, beam_width=4, explain=True)
    second, third = answer["items"][1:3]
    expect(page.locator(".item-node.lit")).to_have_attribute("data-item", second["item_id"])
    assert lit(page) == prefixes_of(second)
    page.locator(f'[data-item="{third["item_id"]}"]').hover()
    expect(page.locator(".item-node.lit")).to_have_attribute("data-item", third["item_id"])
    assert lit(page) == prefixes_of(third)
    expect(page.locator(".path h3")).to_have_text(third["title"])
    kept, pruned = answer["explanation"]["kept"], answer["explanation"]["pruned"]
    expect(page.locator(".node.pruned")).to_have_count(sum(map(len, pruned)))
    before = [answer["explanation"]["root"]]
    for level, codes in enumerate(kept):
        in_trie, alive = (sum(one[field] for one in before) for field in ("in_trie", "alive"))
        figures = [
            4 * len(before),
            4 * len(before) - in_trie,
            in_trie - alive,
            alive - len(codes),
            len(codes),
        ]
        expect(page.locator(".column").nth(level).locator(".cuts b")).to_have_text(list(map(str, figures)))
        before = codes
    top = kept[0][0]["prefix"]
    titles = site.client.post("/v1/sids/titles", json={"prefixes": [top]}).json()["prefixes"][0]["titles"]
    first, *others = [title.split() for title in titles]
    shared = [w for w in first if any(map(str.isalpha, w)) and all(w in other for other in others)]
    meaning = " ".join(shared) or titles[0]
    expect(page.locator(f'[data-key="{top[0]}"] .meaning')).to_have_text(meaning)
    visit.picture("why")


def lit(page: Page) -> list[str]:
    return page.locator(".node[data-key].lit").evaluate_all("nodes => nodes.map(node => node.dataset.key)")


def prefixes_of(item: dict[str, Any]) -> list[str]:
    return ["-".join(map(str, item["sid"][:depth])) for depth in (1, 2, 3)]


def test_the_tree_is_walked_with_arrow_keys(visit: Visit, site: Any) -> None:
    page = visit.open(f"/?q={QUERY}&k=6&why=true")
    top = site.search(QUERY, k=6, explain=True)["explanation"]["kept"][0][0]["prefix"]
    expect(page.locator(".path td").first).to_be_attached()
    expect(page.locator(".meaning").first).not_to_have_text("…")
    page.locator(f'[data-key="{top[0]}"]').focus()
    page.keyboard.press("ArrowRight")
    focused = page.locator(".node:focus")
    expect(focused).to_have_attribute("data-key", re.compile(rf"^{top[0]}-\d$"))
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(focused).to_have_attribute("data-item", re.compile("i"))
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    expect(focused).to_have_attribute("data-key", str(top[0]))


def test_two_variants_are_compared_and_judged(visit: Visit, site: Any, bundles: Path) -> None:
    page = visit.open(f"/?q={QUERY}&view=compare&k=10")
    expect(page.locator(".sides .status")).to_have_count(2)
    sides = [
        site.client.post(
            "/v1/search", json={"query": QUERY, "k": 10}, headers={"X-Radsearch-Variant": variant}
        ).json()
        for variant in ("sft", "rad-dpo")
    ]
    assert [side["variant"] for side in sides] == ["sft", "rad-dpo"]
    a, b = ids(sides[0]), ids(sides[1])
    assert visit.item_ids("[aria-label='Side A']") == a
    assert visit.item_ids("[aria-label='Side B']") == b
    summary = page.locator(".summary")
    expect(summary).to_contain_text(f"{len(set(a) & set(b))} of 10 on both sides")
    expect(summary).to_contain_text(f"rank-biased overlap {overlap(a, b):.3f}")
    marks = page.locator("[aria-label='Side A'] .mark").all_inner_texts()
    assert marks == [mark(place, b.index(one) if one in b else None) for place, one in enumerate(a)]

    page.locator("body").press("j")
    for key in "yjnln":  # relevant; the next one is not, nor is its neighbour on the other side
        page.keyboard.press(key)
    grades = {a[0]: 1.0} | {a[1]: 0.0, b[1]: 0.0}
    expect(page.locator("#n-judgments")).to_have_text(str(len(grades)))
    pressed = page.locator(f'[data-item="{a[1]}"] [data-grade="0"]').first
    expect(pressed).to_have_attribute("aria-pressed", "true")
    expect(summary).to_contain_text("in the first ten relevant")
    visit.picture("compare")
    page.reload()  # they are kept
    visit.item_ids()
    expect(pressed).to_have_attribute("aria-pressed", "true")
    page.locator("body").press("d")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    assert download.value.suggested_filename.endswith(".csv")
    items = load_items(bundles.parent / "items.jsonl", Rejects())
    judgments = load_judgments(downloaded(download.value), items, Rejects())
    assert judgments.grades[QUERY] == {items.rows[item_id]: grade for item_id, grade in grades.items()}


def downloaded(download: Any) -> Path:
    """The file under the name that it is offered by, for its ending says what it is."""
    path = Path(download.path())
    return path.rename(path.with_name(download.suggested_filename))


def mark(place: int, there: int | None) -> str:
    if there is None:
        return "only here"
    return "=" if there == place else f"{'▲' if there > place else '▼'} {abs(there - place)}"


def overlap(a: list[str], b: list[str], p: float = 0.9) -> float:
    """Rank-biased overlap of lists of one length, extrapolated, by its definition."""
    agreements = [len({*a[:depth]} & {*b[:depth]}) / depth for depth in range(1, len(a) + 1)]
    weighted = sum(p**depth * agreement for depth, agreement in enumerate(agreements))
    return (1 - p) * weighted + p ** len(a) * agreements[-1]


def test_judgments_are_written_as_csv_whatever_is_typed(visit: Visit) -> None:
    page = visit.open()
    query = 'red, "large"  shoes\t黑色'
    script = """async query => {
        const { judge, csv } = await import("/page/judgments.js");
        judge(query, { item_id: "i1", title: "one" }, 1);
        judge(query, { item_id: "i,2", title: "two" }, 0);
        judge(query + " ", { item_id: "i1", title: "one" }, 0);
        return csv();
    }"""
    rows = list(csv.DictReader(io.StringIO(page.evaluate(script, query), newline="")))
    cleaned = " ".join(query.split())
    assert [(row["query"], row["item_id"], row["grade"]) for row in rows] == [
        (cleaned, "i1", "0"),
        (cleaned, "i,2", "0"),
    ]


def test_overlap_at_its_ends(visit: Visit) -> None:
    cases = {
        ("", ""): 1.0,
        ("abc", ""): 0.0,
        ("abcd", "abcd"): 1.0,
        ("abcd", "efgh"): 0.0,
        # The beginning of a list agrees with it as far as it goes, and is taken to agree beyond.
        ("ab", "abcdef"): 1.0,
        ("abcdef", "ab"): 1.0,
    }
    script = """async pairs => {
        const { rankBiasedOverlap } = await import("/page/rbo.js");
        return pairs.map(([a, b]) => rankBiasedOverlap([...a], [...b]));
    }"""
    assert visit.open().evaluate(script, list(cases)) == pytest.approx(list(cases.values()))


def test_the_map_leads_from_codes_to_items(visit: Visit, site: Any) -> None:
    page = visit.open("/?view=map")
    report = site.client.get("/v1/sids/report").json()
    expect(page.locator(".summary")).to_contain_text(f"60 items under {report['sids']} SIDs")
    used = [sum(map(bool, level["items_per_code"])) for level in report["levels"]]
    heat = page.locator(".heat")
    for level, n in enumerate(used):
        expect(heat.nth(level)).to_have_attribute("aria-label", f"{n} of 4 codes are used")
        expect(heat.nth(level).locator(".dead")).to_have_count(4 - n)
    crowded = report["crowded"][0]
    expect(page.locator(".crowded button").first).to_contain_text(f"{crowded['items']} items")
    for code in crowded["prefix"]:
        page.locator(".miller .column").last.get_by_role("button", name=re.compile(rf"^{code} ")).click()
        expect(page.locator(".miller [aria-expanded='true']").last).to_contain_text(str(code))
    leaf = site.client.get("/v1/sids", params={"prefix": "-".join(map(str, crowded["prefix"]))}).json()
    expect(page.locator(".miller .leaf")).to_have_text([item["title"] for item in leaf["items"]])
    assert f"at={'-'.join(map(str, crowded['prefix']))}" in page.url
    visit.picture("map")


def test_everything_can_be_reached_from_the_keyboard(visit: Visit) -> None:
    page = visit.open(f"/?q={QUERY}")
    visit.item_ids()
    page.locator("body").press("/")
    expect(page.locator("#query")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.locator("#help-dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#help-dialog")).to_be_hidden()
    for number, view in (("2", "Compare"), ("3", "Map"), ("1", "Search")):
        page.keyboard.press(number)
        expect(page.locator("nav [aria-current]")).to_have_text(view)
    for expected in ("j", "k", "y", "u"):
        page.keyboard.press(expected)
    expect(page.locator(".item:focus .rank")).to_have_text("1")
    expect(page.locator("#n-judgments")).to_have_text("0")


def test_the_theme_follows_the_system_until_it_is_chosen(browser: Browser, site: Any) -> None:
    with visiting(browser, site.url, color_scheme="dark") as visit:
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


def test_a_late_answer_never_replaces_a_newer_one(visit: Visit, site: Any) -> None:
    page = visit.open()
    held: list[Route] = []
    page.route("**/v1/search", lambda route: held.append(route) if not held else route.continue_())
    page.keyboard.type("wool hat")
    page.locator(".waiting").wait_for()
    expect(page.locator("[role=status].unseen").first).to_contain_text("waiting for 1 s")
    page.locator("#query").fill(QUERY)
    assert visit.item_ids() == ids(site.search(QUERY, k=24))
    held[0].abort()  # the page has given it up
    expect(page.locator(".waiting")).to_have_count(0)
    assert visit.item_ids() == ids(site.search(QUERY, k=24))


def test_a_server_that_is_away_is_told_and_asked_again(visit: Visit, site: Any) -> None:
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


def test_what_is_refused_says_why(visit: Visit) -> None:
    page = visit.open('/?q=red&filters={"colour":"red"}')
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("no attribute of this catalogue; known: ")
    expect(alert).to_contain_text("request_id")
    page.locator("body").press("x")
    expect(page.locator(".item")).to_have_count(24)
    assert all("422" in text for text in visit.complaints)
    visit.complaints.clear()


def test_a_key_is_asked_for_and_kept_for_the_tab(
    browser: Browser, start_service: Callable[..., Any], tmp_path: Path
) -> None:
    key = add_key(tmp_path / "keys.toml", Scope.SEARCH, "page")
    with (
        start_service(keys=tmp_path / "keys.toml") as running,
        visiting(browser, running.url) as visit,
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


def test_titles_are_text_whatever_they_hold(visit: Visit) -> None:
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
def test_a_phone_scrolls_in_one_direction(path: str, browser: Browser, site: Any) -> None:
    with visiting(browser, site.url, viewport=PHONE, has_touch=True) as visit:
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
def test_a_view_has_no_barrier(path: str, visit: Visit) -> None:
    page = visit.open(path)
    page.locator(".item, .node, .chip").first.wait_for()
    assert_accessible(page)


@pytest.mark.parametrize("key", ["?", "d"])
def test_a_dialog_has_no_barrier(key: str, visit: Visit) -> None:
    page = visit.open("/?view=map")
    page.locator("body").press(key)
    assert_accessible(page)


def test_a_failure_has_no_barrier(visit: Visit) -> None:
    visit.page.route("**/v1/**", lambda route: route.abort())
    page = visit.open(f"/?q={QUERY}")
    page.get_by_role("alert").wait_for()
    assert_accessible(page)
    visit.complaints.clear()


def assert_accessible(page: Page) -> None:
    """Nothing serious by axe; in the dark only the colours are others."""
    assert_no_violations(page, {"resultTypes": ["violations"]})
    page.emulate_media(color_scheme="dark")
    assert_no_violations(page, {"runOnly": ["color-contrast"]})


def assert_no_violations(page: Page, options: dict[str, Any]) -> None:
    found = {
        (each["id"], node["html"])
        for each in Axe().run(page, options=options).response["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    }
    assert found == set()


def test_the_page_loads_little(visit: Visit) -> None:
    sizes: list[int] = []
    visit.page.on("response", lambda response: sizes.append(len(response.body())))
    visit.open(f"/?q={QUERY}")
    visit.item_ids()
    assert 0 < sum(sizes) <= 300_000
