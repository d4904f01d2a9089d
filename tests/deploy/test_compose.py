import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from radsearch.cli import COMMANDS
from radsearch.demo import VARIANTS, plan
from service.settings import BundleSource, ServiceSettings

VARIABLE = re.compile(r"\$\{(?P<name>\w+):-(?P<default>[^}]*)\}")


def with_defaults(value: str) -> str:
    """Fill in a value as compose does where nobody sets a variable."""
    return VARIABLE.sub(lambda match: match["default"], value)


def mounts(service: dict[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """Source, target and read-only of each mount."""
    for volume in service.get("volumes", []):
        if isinstance(volume, str):
            source, target, *options = with_defaults(volume).split(":")
            yield source, target, options == ["ro"]
        else:
            yield with_defaults(volume["source"]), volume["target"], volume["read_only"]


def published(service: dict[str, Any]) -> list[tuple[str, int, int]]:
    """Address, host port and container port of each published port."""
    split = [with_defaults(port).split(":") for port in service.get("ports", [])]
    return [(address, int(host), int(container)) for address, host, container in split]


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Any]:
    return compose["services"]


def test_one_command_starts_the_service_and_its_watchers(services: dict[str, Any]) -> None:
    profiles = {name: service.get("profiles", []) for name, service in services.items()}
    assert profiles == {
        "front": [],
        "api": [],
        "api-gpu": ["gpu"],
        "redis": [],
        "prometheus": [],
        "grafana": [],
        "locust": ["loadtest"],
    }


def test_every_mounted_path_exists_or_is_made_by_the_demo(
    services: dict[str, Any], compose: dict[str, Any], root: Path
) -> None:
    outputs = {str(step.output) for step in plan(Path(".demo"), items=300, seed=0)}
    assert {f".demo/bundles/{name}" for name in VARIANTS} <= outputs
    demo_makes = {"./.demo/bundles", "./.demo/features.json"}
    for service in services.values():
        for source, _, _ in mounts(service):
            if source.startswith("."):
                assert source in demo_makes or (root / source).exists(), source
            else:
                assert source in compose["volumes"]


def test_bundles_are_read_only_and_all_variants_of_the_demo_are_served(services: dict[str, Any]) -> None:
    api = services["api"]
    by_target = {target: (source, read_only) for source, target, read_only in mounts(api)}
    assert by_target["/bundles"] == ("./.demo/bundles", True)
    assert by_target[api["environment"]["RADSEARCH_EXPERIMENTS"]] == ("./.demo/features.json", True)


@pytest.mark.parametrize("name", ["api", "api-gpu"])
def test_the_service_understands_its_environment(
    monkeypatch: pytest.MonkeyPatch, services: dict[str, Any], image_environment: dict[str, str], name: str
) -> None:
    environment = image_environment | services[name]["environment"]
    ours = {
        key: with_defaults(value)
        for key, value in environment.items()
        if re.match("RADSEARCH|REDIS|PORT", key)
    }
    monkeypatch.setattr(os, "environ", ours)
    settings = ServiceSettings.load()

    fields = {key.removeprefix("RADSEARCH_").lower() for key in ours}
    assert fields <= set(ServiceSettings.model_fields)
    assert fields <= settings.model_fields_set, "a variable that the settings do not read"
    assert settings.bundles == tuple(BundleSource(name, Path("/bundles", name)) for name in VARIANTS)
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == "redis://redis:6379/0"
    assert settings.host == "0.0.0.0"
    assert settings.provider == ("cuda" if name == "api-gpu" else "auto")


def test_docker_waits_longer_than_the_service_drains(services: dict[str, Any]) -> None:
    settings = ServiceSettings()
    drain_s = float(services["api"]["environment"]["RADSEARCH_DRAIN_S"])
    grace_s = float(services["api"]["stop_grace_period"].removesuffix("s"))
    assert grace_s > drain_s + settings.max_timeout_ms / 1000


def test_commands_and_their_options_exist(
    services: dict[str, Any], image: dict[str, list[str]], options_of: Callable[[str], set[str]]
) -> None:
    assert json.loads(image["ENTRYPOINT"][0]) == ["radsearch"]
    for command in (services["api"]["command"], json.loads(image["CMD"][0])):
        name, *options = command
        assert name in COMMANDS
        assert {option for option in options if option.startswith("--")} <= options_of(name)


def test_who_is_waited_for_says_when_it_is_healthy(
    services: dict[str, Any], image: dict[str, list[str]]
) -> None:
    for service in services.values():
        for name, condition in service.get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}
            assert "healthcheck" in services[name] or (name == "api" and "HEALTHCHECK" in image)


def test_ports_meet(
    services: dict[str, Any], image: dict[str, list[str]], image_environment: dict[str, str], root: Path
) -> None:
    port = int(image_environment["PORT"])
    assert image["EXPOSE"] == [str(port)]
    assert published(services["api"]) == [], "the front spreads requests over the replicas"
    assert [container for _, _, container in published(services["api-gpu"])] == [port]
    ((_, _, front),) = published(services["front"])
    assert services["locust"]["command"] == ["--host", f"http://front:{front}"]
    nginx = (root / "deploy" / "nginx.conf").read_text(encoding="utf-8")
    assert re.findall(r"listen (\d+);", nginx) == [str(front)]
    assert re.findall(r"server (\S+) resolve", nginx) == [f"api:{port}"]
    prometheus = yaml.safe_load((root / "deploy" / "prometheus.yml").read_text(encoding="utf-8"))
    (job,) = prometheus["scrape_configs"]
    (discovery,) = job["dns_sd_configs"]
    assert discovery["port"] == port
    assert set(discovery["names"]) == {"api", "api-gpu"} <= set(services)


def test_the_front_takes_what_the_service_takes(root: Path) -> None:
    nginx = (root / "deploy" / "nginx.conf").read_text(encoding="utf-8")
    settings = ServiceSettings()
    assert re.findall(r"client_max_body_size (\d+)k;", nginx) == [str(settings.max_body_bytes // 1024)]
    (read_s,) = re.findall(r"proxy_read_timeout (\d+)s;", nginx)
    assert int(read_s) > settings.max_timeout_ms / 1000


def test_compose_files_are_what_the_specification_says(root: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run(
        [*command, root / "docker-compose.yml"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_nothing_is_published_beyond_this_machine_and_no_port_twice(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in published(service)]
    assert {address for address, _, _ in ports} == {"127.0.0.1"}
    assert len({host for _, host, _ in ports}) == len(ports)


def test_images_are_pinned(services: dict[str, Any]) -> None:
    for service in services.values():
        assert re.fullmatch(r"[\w./-]+:(?!latest)[\w.-]+", service["image"])


def test_no_container_can_take_all_the_memory(services: dict[str, Any]) -> None:
    for service in services.values():
        assert re.fullmatch(r"\d+[MG]", with_defaults(service["deploy"]["resources"]["limits"]["memory"]))
    assert services["api-gpu"]["deploy"]["resources"]["reservations"]["devices"]


@pytest.mark.parametrize("name", ["front", "api", "api-gpu", "locust"])
def test_our_containers_have_no_rights_to_lose(services: dict[str, Any], name: str) -> None:
    service = services[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_builds_name_a_stage_of_the_dockerfile(
    services: dict[str, Any], dockerfile: list[tuple[str, str]], root: Path
) -> None:
    stages = {rest.split(" AS ")[1] for word, rest in dockerfile if word == "FROM"}
    for service in services.values():
        if "build" in service:
            assert service["build"]["target"] in stages
            assert (root / service["build"]["dockerfile"]).is_file()
