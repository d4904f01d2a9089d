import os
from pathlib import Path
from typing import get_args

import pytest
from pydantic import SecretStr, ValidationError

from loadtest.settings import LoadtestSettings
from loadtest.shapes import SHAPES
from loadtest.thinking import PROFILES


@pytest.mark.parametrize(
    "settings",
    [
        LoadtestSettings(),
        LoadtestSettings(
            url="https://shop.example:8443/",
            seconds=0.5,
            users=3,
            rate=2.5,
            shape="spike",
            think="mixed",
            queries=Path("queries.txt"),
            zipf=0,
            clicks=0,
            seed=4,
            slo=Path("slo.toml"),
            key=SecretStr("k"),
        ),
    ],
)
def test_settings_survive_the_way_through_the_environment(
    monkeypatch: pytest.MonkeyPatch, settings: LoadtestSettings
) -> None:
    monkeypatch.setattr(os, "environ", settings.environment())
    assert LoadtestSettings() == settings


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host", "http://host/v1/search", "http://"])
def test_an_address_is_scheme_and_host(url: str) -> None:
    with pytest.raises(ValidationError):
        LoadtestSettings(url=url)


def test_shapes_and_profiles_are_those_that_there_are() -> None:
    fields = LoadtestSettings.model_fields
    assert set(get_args(fields["shape"].annotation)) == set(SHAPES)
    assert set(get_args(fields["think"].annotation)) == set(PROFILES)


def test_the_key_is_not_shown() -> None:
    assert "sesame" not in repr(LoadtestSettings(key=SecretStr("sesame")))
