import os

import pytest
from pydantic import SecretStr, ValidationError

from loadtest.settings import LoadtestSettings


@pytest.mark.parametrize(
    "settings",
    [
        LoadtestSettings(),
        LoadtestSettings(
            url="https://shop.example:8443/", seconds=0.5, users=3, zipf=0, seed=4, key=SecretStr("k")
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


def test_the_key_is_not_shown() -> None:
    assert "sesame" not in repr(LoadtestSettings(key=SecretStr("sesame")))
