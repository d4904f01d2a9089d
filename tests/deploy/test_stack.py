"""The compose file as plain processes: what ``deploy/verify.sh`` starts."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="module")
def module(root: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location("stack", root / "deploy" / "stack.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["stack"] = module
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def stack(module: ModuleType, tmp_path: Path) -> Any:
    return module.Stack.read(("front", "prometheus", "api", "redis"), tmp_path)


def test_who_is_needed_starts_first(module: ModuleType, stack: Any) -> None:
    order = module._in_order(stack.services)
    for name, service in stack.services.items():
        for needed in service.get("depends_on", {}):
            assert order.index(needed) < order.index(name)


def test_services_find_each_other_where_they_listen_here(stack: Any) -> None:
    (redis,) = stack.addresses["redis"]
    assert stack.environment("api")["REDIS_URL"] == f"redis://127.0.0.1:{redis.host_port}/0"


def test_the_front_spreads_over_every_replica(stack: Any, root: Path, compose: dict[str, Any]) -> None:
    front = stack.translated((root / "deploy" / "nginx.conf").read_text(encoding="utf-8"))
    replicas = [address.host_port for address in stack.addresses["api"]]
    assert len(replicas) == compose["services"]["api"]["deploy"]["replicas"] == 2
    assert all(f"server 127.0.0.1:{port} max_fails=1" in front for port in replicas)
    assert "api:8000" not in front


def test_mounts_are_paths_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, tmp_path: Path
) -> None:
    monkeypatch.setenv("BUNDLES", str(tmp_path))
    stack = module.Stack.read(("api",), tmp_path / "data")
    environment = stack.environment("api")
    assert environment["RADSEARCH_BUNDLES"] == f"sft={tmp_path}/sft,rad-dpo={tmp_path}/rad-dpo"
    assert stack.source("api", "/var/lib/radsearch/events") == tmp_path / "data" / "events"
