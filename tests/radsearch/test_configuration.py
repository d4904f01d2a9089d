"""The page of settings is what the code says."""

from pathlib import Path

import pytest

from loadtest.settings import LoadtestSettings
from radsearch.configuration import attribute_docstrings, page
from service.settings import ServiceSettings
from training.settings import ModelSettings, TrainSettings

ROOT = Path(__file__).parents[2]


def test_the_page_is_up_to_date() -> None:
    written = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert written == page(), "run: python -m radsearch.configuration > docs/configuration.md"


@pytest.mark.parametrize("settings", [TrainSettings, ModelSettings, ServiceSettings, LoadtestSettings])
def test_every_setting_says_what_it_is(settings: type) -> None:
    assert set(attribute_docstrings(settings)) == set(settings.model_fields)
