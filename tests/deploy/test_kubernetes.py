"""The manifests are valid, and what they name exists."""

import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service.settings import ServiceSettings

KUBERNETES = "1.34"


def read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def base(root: Path) -> Path:
    return root / "deploy" / "k8s" / "base"


@pytest.fixture(scope="module")
def manifests(base: Path) -> dict[str, dict[str, Any]]:
    """By kind; every file of the base is one of them or the list of them."""
    listed = read(base / "kustomization.yaml")["resources"]
    assert {path.name for path in base.iterdir()} == {*listed, "kustomization.yaml"}
    found = [read(base / name) for name in listed]
    return {manifest["kind"]: manifest for manifest in found}


@pytest.fixture(scope="module")
def pod(manifests: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return manifests["Deployment"]["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def container(pod: dict[str, Any]) -> dict[str, Any]:
    (container,) = pod["containers"]
    return container


def test_every_manifest_is_what_kubernetes_takes(manifests: dict[str, dict[str, Any]]) -> None:
    assert set(manifests) == {"Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler"}
    for manifest in manifests.values():
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_the_deployment_for_gpus_is_valid(manifests: dict[str, dict[str, Any]], root: Path) -> None:
    overlay = root / "deploy" / "k8s" / "gpu"
    settings = read(overlay / "kustomization.yaml")
    assert settings["resources"] == ["../base"]
    (patch,) = settings["patches"]
    device = read(overlay / patch["path"])
    deployment = deepcopy(manifests["Deployment"])
    spec, changes = deployment["spec"]["template"]["spec"], device["spec"]["template"]["spec"]
    (container,), (changed,) = spec["containers"], changes.pop("containers")
    assert (device["kind"], device["metadata"]["name"]) == ("Deployment", deployment["metadata"]["name"])
    assert container["name"] == changed["name"]
    spec |= changes
    container |= changed
    kubernetes_validate.validate(deployment, KUBERNETES, strict=True)
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"


@pytest.mark.parametrize("overlay", ["base", "gpu"])
def test_the_service_understands_its_configuration(root: Path, overlay: str) -> None:
    settings = read(root / "deploy" / "k8s" / overlay / "kustomization.yaml")
    (generated,) = settings["configMapGenerator"]
    names = {line.partition("=")[0].removeprefix("RADSEARCH_").lower() for line in generated["literals"]}
    assert names <= set(ServiceSettings.model_fields)


def test_what_refers_to_each_other_fits(
    manifests: dict[str, dict[str, Any]], pod: dict[str, Any], container: dict[str, Any], base: Path
) -> None:
    deployment = manifests["Deployment"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert manifests["Service"]["spec"]["selector"] == labels
    assert manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    target = manifests["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
    assert {mount["name"] for mount in container["volumeMounts"]} == {one["name"] for one in pod["volumes"]}
    (generated,) = read(base / "kustomization.yaml")["configMapGenerator"]
    assert container["envFrom"] == [{"configMapRef": {"name": generated["name"]}}]


def test_ports_and_commands_are_the_image_s(
    manifests: dict[str, dict[str, Any]],
    pod: dict[str, Any],
    container: dict[str, Any],
    image: dict[str, list[str]],
) -> None:
    (port,) = container["ports"]
    assert image["EXPOSE"] == [str(port["containerPort"])]
    assert manifests["Service"]["spec"]["ports"][0]["targetPort"] == port["name"]
    assert image["USER"] == [str(pod["securityContext"]["runAsUser"])]
    assert container["args"] == ["serve"]


def test_nothing_is_lost_when_a_replica_goes(
    manifests: dict[str, dict[str, Any]], pod: dict[str, Any], base: Path
) -> None:
    (generated,) = read(base / "kustomization.yaml")["configMapGenerator"]
    (drain_s,) = (line.partition("=")[2] for line in generated["literals"] if "DRAIN_S" in line)
    longest_s = ServiceSettings().max_timeout_ms / 1000
    assert pod["terminationGracePeriodSeconds"] > float(drain_s) + longest_s
    ready = pod["containers"][0]["readinessProbe"]
    assert float(drain_s) > ready["periodSeconds"] * ready["failureThreshold"], (
        "until it gets no more requests"
    )
    assert manifests["Deployment"]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_replicas_are_added_by_a_metric_that_exists(manifests: dict[str, dict[str, Any]], root: Path) -> None:
    (metric,) = manifests["HorizontalPodAutoscaler"]["spec"]["metrics"]
    name = metric["pods"]["metric"]["name"]
    (rule,) = read(root / "deploy" / "k8s" / "adapter.yaml")["rules"]["custom"]
    assert rule["name"]["as"] == name
    assert re.match(r"\w+", rule["seriesQuery"])[0] == name  # type: ignore[index]
    operations = (root / "docs" / "operations.md").read_text(encoding="utf-8")
    assert f"| `{name}` | gauge |" in operations  # a table that is held to the registry
