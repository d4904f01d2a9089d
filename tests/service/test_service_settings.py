from pathlib import Path
from typing import Any

import pytest

from service.errors import ServiceError
from service.settings import BundleSource, ServiceSettings


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PORT", "REDIS_URL", "RADSEARCH_PORT", "RADSEARCH_BUNDLES"):
        monkeypatch.delenv(name, raising=False)


def test_flag_before_environment_before_file_before_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "service.toml"
    file.write_text('max_k = 50\nport = 1\nhost = "file"\nbundles = ["a=/a", "/b"]\n')
    monkeypatch.setenv("PORT", "2")
    monkeypatch.setenv("RADSEARCH_HOST", "environment")
    settings = ServiceSettings.load(file, host="flag", port=None)
    assert (settings.host, settings.port, settings.max_k) == ("flag", 2, 50)
    assert settings.default_k == 20
    assert settings.bundles == (BundleSource("a", Path("/a")), BundleSource(None, Path("/b")))


def test_port_by_either_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "2")
    monkeypatch.setenv("RADSEARCH_PORT", "3")
    assert ServiceSettings.load().port == 3


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "")
    assert ServiceSettings.load().redis_url is None


@pytest.mark.parametrize(
    ("text", "name", "path"),
    [
        ("sft=bundles/sft", "sft", "bundles/sft"),
        ("bundles/sft", None, "bundles/sft"),
        ("/data/a=b/sft", None, "/data/a=b/sft"),
        ("v1.2-x=/data/a=b", "v1.2-x", "/data/a=b"),
    ],
)
def test_a_bundle_may_have_a_name(text: str, name: str | None, path: str) -> None:
    assert BundleSource.parse(text) == BundleSource(name, Path(path))


def test_bundles_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADSEARCH_BUNDLES", "sft=/a, rad-dpo=/b")
    assert [source.name for source in ServiceSettings.load().bundles] == ["sft", "rad-dpo"]


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ({"port": 70_000}, "port: "),
        ({"provider": "tpu"}, "provider: .*'cuda'"),
        ({"default_k": 500}, "default_k 500 is larger than max_k 100"),
        ({"timeout_ms": 10**6}, "timeout_ms 1000000 is larger than max_timeout_ms 30000"),
        ({"log_level": "loud"}, "log_level: "),
        ({"redis_namespace": "a b"}, "redis_namespace: "),
    ],
)
def test_values_that_cannot_be_set(flags: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ServiceError, match=complaint) as caught:
        ServiceSettings.load(**flags)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="not found"):
        ServiceSettings.load(tmp_path / "service.toml")
    (tmp_path / "service.toml").write_text("max_k =")
    with pytest.raises(ServiceError, match="is not TOML"):
        ServiceSettings.load(tmp_path / "service.toml")


def test_the_password_of_redis_is_not_shown() -> None:
    assert "hunter2" not in repr(ServiceSettings.load(redis_url="redis://u:hunter2@host"))
