"""Dashboard and alerts ask for what a service tells: each query is parsed and held against its /metrics."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

DEPLOY = Path(__file__).parents[2] / "deploy"
OPERATIONS = DEPLOY.parent / "docs" / "operations.md"
SCRAPED = {"instance", "job"}
OF_PROMETHEUS = {"up": SCRAPED, "ALERTS": {"alertname", "alertstate", "severity"}}
GRAFANA = {"$__rate_interval": "5m", "$instance": ".*"}

Labels = dict[str, set[str]]
"""Names of samples, each with the labels that it has."""


@dataclass(frozen=True)
class Query:
    """An expression, parsed.

    Attributes:
        text: of it.
        selectors: what it selects.
        groupings: labels that it groups or matches by.
        made: labels that it makes itself.
    """

    text: str
    selectors: list[promql_parser.VectorSelector]
    groupings: set[str]
    made: set[str]

    @classmethod
    def parse(cls, text: str) -> "Query":
        query = cls(text, [], set(), set())
        promql_parser.walk(promql_parser.parse(text), query._visit)
        return query

    def _visit(self, node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            self.selectors.append(node)
        elif isinstance(node, promql_parser.AggregateExpr):
            self.groupings.update(node.modifier.labels if node.modifier else [])
            if isinstance(node.param, promql_parser.StringLiteral):
                self.made.add(node.param.val)

    @property
    def names(self) -> set[str]:
        return {selector.name or "" for selector in self.selectors}


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    return json.loads((DEPLOY / "grafana" / "dashboards" / "radsearch.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((DEPLOY / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    return group["rules"]


@pytest.fixture(scope="module")
def panel_queries(dashboard: dict[str, Any]) -> list[Query]:
    def expanded(text: str) -> str:
        for variable, value in GRAFANA.items():
            text = text.replace(variable, value)
        return text

    targets = [target for panel in dashboard["panels"] for target in panel["targets"]]
    return [Query.parse(expanded(target["expr"])) for target in targets]


@pytest.fixture(scope="module")
def alert_queries(alerts: list[dict[str, Any]]) -> list[Query]:
    return [Query.parse(alert["expr"]) for alert in alerts]


@pytest.fixture(scope="module")
def exposed(start_service: Any) -> Iterator[dict[str, list[dict[str, str]]]]:
    """Samples of a service that has seen some traffic: labels and values by name."""
    with start_service() as running:
        running.search()
        running.client.post("/v1/search", json={"query": " "})
        samples = defaultdict(list)
        for family in text_string_to_metric_families(running.client.get("/metrics").text):
            for sample in family.samples:
                samples[sample.name].append(sample.labels)
        yield samples


def test_every_query_asks_for_what_exists(
    panel_queries: list[Query], alert_queries: list[Query], exposed: dict[str, list[dict[str, str]]]
) -> None:
    labels = {name: {*samples[0], *SCRAPED} for name, samples in exposed.items()} | OF_PROMETHEUS
    for query in [*panel_queries, *alert_queries]:
        assert query.names <= labels.keys(), query.text
        known = set.union(*(labels[name] for name in query.names))
        assert query.groupings <= known | query.made, query.text
        for selector in query.selectors:
            asked = {matcher.name for matcher in selector.matchers.matchers}
            assert asked <= labels[selector.name or ""], query.text


def test_every_stage_and_kind_that_a_query_names_exists(
    panel_queries: list[Query], alert_queries: list[Query], exposed: dict[str, list[dict[str, str]]]
) -> None:
    """Outcomes come with traffic; all other values are there from the start."""
    for query in [*panel_queries, *alert_queries]:
        for selector in query.selectors:
            for matcher in selector.matchers.matchers:
                if matcher.name in {"stage", "kind"}:
                    values = {labels[matcher.name] for labels in exposed[selector.name or ""]}
                    assert matcher.value in values, query.text


def test_all_that_is_measured_is_on_the_dashboard(
    panel_queries: list[Query], exposed: dict[str, list[dict[str, str]]]
) -> None:
    def families(names: set[str]) -> set[str]:
        ours = {name for name in names if name.startswith("radsearch_") and not name.endswith("_created")}
        return {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in ours}

    shown = set.union(*(query.names for query in panel_queries))
    assert families(shown) == families(set(exposed))


def test_legends_name_labels_that_the_query_keeps(dashboard: dict[str, Any]) -> None:
    for target in (target for panel in dashboard["panels"] for target in panel["targets"]):
        for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
            assert re.search(rf"by \([^)]*\b{label}\b", target["expr"]), target


def test_every_alert_says_how_bad_it_is_and_where_to_read_on(alerts: list[dict[str, Any]]) -> None:
    headings = re.findall(r"^### (Radsearch\w+)$", OPERATIONS.read_text(encoding="utf-8"), re.MULTILINE)
    assert headings == [alert["alert"] for alert in alerts]
    for alert in alerts:
        assert alert["labels"]["severity"] in {"critical", "warning"}
        assert alert["annotations"]["runbook_url"] == f"docs/operations.md#{alert['alert'].lower()}"
        assert promql_parser.parse_duration(alert.get("for", "1m")).total_seconds() > 0


def test_texts_of_alerts_name_labels_that_the_alert_has(
    alerts: list[dict[str, Any]], alert_queries: list[Query]
) -> None:
    for alert, query in zip(alerts, alert_queries, strict=True):
        named = set(re.findall(r"\$labels\.(\w+)", " ".join(alert["annotations"].values())))
        assert named <= (query.groupings or SCRAPED), alert["alert"]
