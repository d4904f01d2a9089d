from html.parser import HTMLParser

from reports.page import bullets, cell, facts, note, page, plots, section, table, text, verdict


class Cells(HTMLParser):
    """Collects what stands in the cells of a page's tables."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag in ("td", "th"):
            self._inside = True
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.cells[-1] += data


def test_a_page_stands_alone_in_light_dark_and_print() -> None:
    made = page("A <report>", [section("One", text("Said."), plots(["<figure></figure>"]))])
    assert "<title>A &lt;report&gt;</title>" in made
    for forbidden in ("http", "<script", "<link", "@import", "url("):
        assert forbidden not in made
    assert "prefers-color-scheme: dark" in made
    assert "@media print" in made


def test_what_stands_in_a_table_can_be_copied_as_it_is() -> None:
    reader = Cells()
    reader.feed(table(["name", "value"], [["a & b", cell("1234.5", kind="better"), cell("-0.25", "<p>")]]))
    assert reader.cells == ["name", "value", "a & b", "1234.5", "-0.25<p>"]


def test_words_are_never_markup() -> None:
    evil = "<script>x</script>"
    for made in (text(evil), note(evil), bullets([evil]), verdict([evil]), facts({evil: {evil: [evil]}})):
        assert "<script>" not in made
        assert "&lt;script&gt;" in made


def test_a_section_without_parts_is_left_out() -> None:
    assert section("Nothing", "", "") == ""
