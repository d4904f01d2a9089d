from pathlib import Path
from typing import Any

import yaml


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


def test_prometheus_finds_the_alerts(compose: dict[str, Any], root: Path) -> None:
    settings = yaml.safe_load((root / "deploy" / "prometheus.yml").read_text(encoding="utf-8"))
    (name,) = settings["rule_files"]
    assert (root / "deploy" / name).is_file()
    assert f"./deploy/{name}:/etc/prometheus/{name}:ro" in compose["services"]["prometheus"]["volumes"]
