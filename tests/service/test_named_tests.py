"""Every test that a page names as its proof exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("operations.md", "peers.md")


@pytest.fixture(scope="module")
def tests() -> dict[str, set[str]]:
    """The functions of all test files that are tests, by the file's name."""
    return {
        file.name: set(
            re.findall(r"^(?:async )?def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
        )
        for file in (ROOT / "tests").rglob("test_*.py")
    }


@pytest.mark.parametrize("page", PAGES)
def test_what_is_named_exists(page: str, tests: dict[str, set[str]]) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    named = re.findall(r"`(?:(test_\w+\.py)::|…::)?(test_\w+)`", text)
    assert len(named) > 10
    everywhere = set().union(*tests.values())
    missing = [
        (file, test) for file, test in named if test not in (tests.get(file, set()) if file else everywhere)
    ]
    assert missing == []
