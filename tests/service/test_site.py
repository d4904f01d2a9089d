import re
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest

from service.site import PAGE

INLINE = {"style", "onclick", "onload", "onsubmit", "onerror"}


class Page(HTMLParser):
    """What a page refers to, and what it carries inside."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__()
        self.references: list[str] = []
        self.inline: list[str] = []
        self.labels: set[str] = set()
        self.inputs: set[str] = set()
        self._inside: str | None = None
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/html")
        self.feed(response.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.references += [given[name] or "" for name in ("href", "src") if name in given]
        self.inline += [name for name in given if name in INLINE]
        self._inside = tag if tag in ("script", "style") else None
        if tag == "label":
            self.labels.add(given["for"] or "")
        if tag == "input":
            self.inputs.add(given["id"] or "")

    def handle_data(self, data: str) -> None:
        if self._inside and data.strip():
            self.inline.append(data)


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_needs_nothing_from_elsewhere_and_nothing_inline(path: str, running: Any) -> None:
    page = Page(running.client.get(path))
    assert page.references
    assert not page.inline
    within = [reference for reference in page.references if reference.startswith("#")]
    assert within == (["#main"] if path == "/" else [])
    for reference in set(page.references) - set(within):
        assert reference.startswith("/"), "no other server"
        assert running.client.get(reference).status_code == 200, reference


@pytest.mark.parametrize("path", ["/", "/docs", "/page/search.js", "/v1/models", "/nothing"])
def test_browsers_are_told_what_not_to_do(path: str, running: Any) -> None:
    headers = running.client.get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert ("'unsafe-inline'" in policy["style-src"]) == (path == "/docs")
    assert headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in headers


def test_every_input_has_a_label(running: Any) -> None:
    page = Page(running.client.get("/"))
    assert page.inputs == page.labels != set()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/page/style.css", "text/css"),
        ("/page/main.js", "javascript"),
        ("/page/search.js", "javascript"),
        ("/page/favicon.svg", "image/svg+xml"),
    ],
)
def test_files_have_their_types(path: str, kind: str, running: Any) -> None:
    assert kind in running.client.get(path).headers["content-type"]


def test_every_module_that_is_imported_is_there(running: Any) -> None:
    waiting, seen = ["/page/main.js"], set()
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            response = running.client.get(path)
            assert response.status_code == 200, path
            waiting += [
                f"/page/{name}" for name in re.findall(r'(?:from|import) "\./([a-z]+\.js)"', response.text)
            ]
    shipped = {f"/page/{path.name}" for path in PAGE.glob("*.js")} - {"/page/docs.js"}
    assert seen == shipped, "what nothing imports is not shipped"


def test_the_page_is_light() -> None:
    assert sum(path.stat().st_size for path in PAGE.iterdir()) <= 300_000


@pytest.mark.parametrize("path", ["/", "/page/main.js"])
def test_browsers_ask_before_they_use_what_they_kept(path: str, running: Any) -> None:
    response = running.client.get(path)
    assert response.headers["cache-control"] == "no-cache"
    known = {"If-None-Match": response.headers["etag"]}
    if path != "/":
        assert running.client.get(path, headers=known).status_code == 304
