import itertools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from service.metrics import Metrics

SAMPLES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
SCRAPED_LABELS = {"instance", "job"}


@pytest.fixture(scope="module")
def sample_labels() -> dict[str, set[str]]:
    """Each sample that the service exposes, with its labels."""
    known: dict[str, set[str]] = {}
    for metric in vars(Metrics()).values():
        if isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            for suffix in SAMPLES[family.type]:
                labels = {*metric._labelnames, *(["le"] if suffix == "_bucket" else [])}
                known[family.name + suffix] = labels | SCRAPED_LABELS
    return known


@pytest.fixture(scope="module")
def queries(dashboard: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def test_panels_ask_for_metrics_and_labels_that_exist(
    queries: list[str], sample_labels: dict[str, set[str]]
) -> None:
    for query in queries:
        names = set(re.findall(r"radsearch_\w+", query))
        assert names
        assert names <= sample_labels.keys(), query
        known = set.union(*(sample_labels[name] for name in names))
        selected = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", query)
        grouped = itertools.chain(*(group.split(",") for group in re.findall(r"by \(([^)]*)\)", query)))
        assert {*selected, *(label.strip() for label in grouped)} <= known, query


def test_legends_name_labels_that_the_query_keeps(dashboard: dict[str, Any]) -> None:
    for target in (target for panel in dashboard["panels"] for target in panel["targets"]):
        for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
            assert re.search(rf"by \([^)]*\b{label}\b", target["expr"]), target


def test_what_operators_look_for_is_on_the_dashboard(
    queries: list[str], sample_labels: dict[str, set[str]]
) -> None:
    asked = set(re.findall(r"radsearch_\w+", " ".join(queries)))
    families = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in sample_labels}
    assert {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in asked} == families


def test_panels_do_not_overlap(dashboard: dict[str, Any]) -> None:
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in dashboard["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_grafana_finds_the_dashboard_and_its_data(
    compose: dict[str, Any], dashboard: dict[str, Any], root: Path
) -> None:
    provisioning = root / "deploy" / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "radsearch.yml").read_text())["providers"]
    grafana = compose["services"]["grafana"]
    folder = provider["options"]["path"]

    assert source["url"] == "http://prometheus:9090"
    assert f"./deploy/grafana/dashboards:{folder}:ro" in grafana["volumes"]
    assert grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == f"{folder}/radsearch.json"
    used = {panel["datasource"]["uid"] for panel in dashboard["panels"]}
    assert used == {source["uid"]}
