"""The playground in a real browser: what a relevance engineer does with it all day."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from training.data.rejects import Rejects
from training.dataset import Dataset
from training.judged import queries_of_file

QUERY = "red running shoes"


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def test_items_come_while_one_types(visit: Any, site: Any) -> None:
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


def test_the_status_tells_what_was_out_of_the_ordinary(visit: Any) -> None:
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


def test_filters_are_those_of_the_catalogue(visit: Any, site: Any) -> None:
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


def test_a_link_shows_another_person_the_same(visit: Any, visiting: Any, site: Any) -> None:
    page = visit.open(f"/?q={QUERY}&k=7")
    page.locator(".facet label", has_text="yes").click()
    page.wait_for_url("**filters=**")
    expect(page.locator(".item")).to_have_count(7)
    mine = visit.item_ids()
    with visiting() as other:
        other.open(page.url)
        assert other.item_ids() == mine
        expect(other.page.locator(".facet label", has_text="yes").get_by_role("radio")).to_be_checked()
        expect(other.page.locator("#query")).to_have_value(QUERY)
    page.go_back()
    expect(page.locator(".chip")).to_have_count(0)
    assert visit.item_ids() == ids(site.search(QUERY, k=7))


def test_the_beam_explains_an_item(visit: Any, site: Any) -> None:
    page = visit.open(f"/?q={QUERY}&beam=4&k=6")
    visit.item_ids()
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("e")
    expect(page.get_by_role("button", name="Why", exact=True)).to_have_attribute("aria-pressed", "true")
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
    told = site.client.post("/v1/sids/titles", json={"prefixes": [top, third["sid"]]}).json()["prefixes"]
    assert told[0]["items"] > 1
    expect(page.locator(f'[data-key="{top[0]}"] .meaning')).to_have_text(" · ".join(told[0]["words"]))
    lies_under = page.locator(".path tbody tr").last.locator("td").nth(1)
    expect(lies_under).to_contain_text(" · ".join(told[1]["words"]))
    expect(lies_under).to_contain_text(" · ".join(told[1]["titles"]))
    visit.picture("why")


def test_the_beam_says_where_a_filter_cuts(visit: Any, site: Any) -> None:
    filters = {"price": {"lte": 30}}
    page = visit.open(f"/?q={QUERY}&k=6&why=true&filters={json.dumps(filters)}")
    kept = site.search(QUERY, k=6, explain=True, filters=filters)["explanation"]["kept"]
    cut = {"-".join(map(str, one["prefix"])): one["in_trie"] - one["alive"] for one in kept[0] + kept[1]}
    assert min(cut.values()) == 0 < max(cut.values())
    expect(page.locator(".meaning").first).not_to_have_text("…")
    for key, n in cut.items():
        expect(page.locator(f'[data-key="{key}"] .bad')).to_have_text([f"filter cuts {n}"] if n else [])


def lit(page: Page) -> list[str]:
    return page.locator(".node[data-key].lit").evaluate_all("nodes => nodes.map(node => node.dataset.key)")


def prefixes_of(item: dict[str, Any]) -> list[str]:
    return ["-".join(map(str, item["sid"][:depth])) for depth in (1, 2, 3)]


def test_the_tree_is_walked_with_arrow_keys(visit: Any, site: Any) -> None:
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


def test_two_variants_are_compared_and_judged(visit: Any, site: Any, bundles: Path) -> None:
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
    data = Dataset.load(bundles.parent / "data")
    judged, asked = queries_of_file(downloaded(download.value), data, 1.0, Rejects())
    rows = {data.item_ids.index(item_id): grade for item_id, grade in grades.items()}
    assert judged.grades == {QUERY: rows}
    assert asked.embed([QUERY]).any()


def test_a_side_has_beam_width_and_tau_of_its_own(visit: Any, visiting: Any, site: Any) -> None:
    page = visit.open(f"/?q={QUERY}&view=compare&k=10&a=sft&b=sft")
    b = page.get_by_label("Side B")
    expect(page.locator(".summary")).to_contain_text("overlap 1.000")
    b.get_by_label("Beam width").focus()
    page.keyboard.type("4")
    page.keyboard.press("Tab")
    expect(page).to_have_url(re.compile("bbeam=4"))
    expect(b.get_by_label("τ")).to_be_focused()
    page.keyboard.type("-2.5")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"btau=-2\.5"))
    expected = site.search(QUERY, k=10, beam_width=4, ordering={"tau": -2.5})
    assert visit.item_ids("[aria-label='Side B']") == ids(expected)
    assert visit.item_ids("[aria-label='Side A']") == ids(site.search(QUERY, k=10))
    with visiting() as other:
        other.open(page.url)
        assert other.item_ids("[aria-label='Side B']") == ids(expected)
        expect(other.page.get_by_label("Side B").get_by_label("τ")).to_have_value("-2.5")


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


def test_judgments_are_written_as_csv_whatever_is_typed(visit: Any) -> None:
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


def test_overlap_at_its_ends(visit: Any) -> None:
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


def test_the_map_leads_from_codes_to_items(visit: Any, site: Any) -> None:
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
    opened = page.locator(".miller [aria-expanded='true']")
    for depth, code in enumerate(crowded["prefix"]):
        page.locator(".miller .column").last.get_by_role("button", name=re.compile(rf"^{code} ")).click()
        expect(opened).to_have_count(depth + 1)  # the next column is there, too
        expect(opened.last).to_contain_text(str(code))
    leaf = site.client.get("/v1/sids", params={"prefix": "-".join(map(str, crowded["prefix"]))}).json()
    expect(page.locator(".miller .leaf")).to_have_text([item["title"] for item in leaf["items"]])
    assert f"at={'-'.join(map(str, crowded['prefix']))}" in page.url
    visit.picture("map")


def test_everything_can_be_reached_from_the_keyboard(visit: Any) -> None:
    page = visit.open(f"/?q={QUERY}")
    visit.item_ids()
    page.locator("body").press("/")
    expect(page.locator("#query")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.locator("#help-dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#help-dialog")).to_be_hidden()
    for shape in ("Why", "Cards"):
        page.get_by_role("button", name=shape, exact=True).click()
        expect(page.get_by_role("button", name=shape, exact=True)).to_have_attribute("aria-pressed", "true")
    for number, view in (("2", "Compare"), ("3", "Map"), ("1", "Search")):
        page.keyboard.press(number)
        expect(page.locator("nav [aria-current]")).to_have_text(view)
    for expected in ("j", "k", "y", "u"):
        page.keyboard.press(expected)
    expect(page.locator(".item:focus .rank")).to_have_text("1")
    expect(page.locator("#n-judgments")).to_have_text("0")
