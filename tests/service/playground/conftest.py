"""One service for all tests, one browser for those of a module: Playwright occupies the thread meanwhile."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from service.settings import BundleSource

DESK = {"width": 1440, "height": 900}
PICTURES = Path(__file__).parents[3] / "artefacts" / "playground"


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


@pytest.fixture(scope="session")
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


Visiting = Callable[..., AbstractContextManager[Visit]]


@pytest.fixture(scope="module")
def visiting(browser: Browser, site: Any) -> Visiting:
    """Open a page of a fresh profile, on the shared service where no other is given."""

    @contextmanager
    def visiting(url: str = site.url, **options: Any) -> Iterator[Visit]:
        context = browser.new_context(base_url=url, **({"viewport": DESK} | options))
        context.set_default_timeout(10_000)
        visit = Visit(context.new_page())
        yield visit
        context.close()
        assert visit.complaints == []

    return visiting


@pytest.fixture
def visit(visiting: Visiting) -> Iterator[Visit]:
    with visiting() as visit:
        yield visit
