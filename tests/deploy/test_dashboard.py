"""The dashboard: Grafana's own model reads it, and it asks for metrics that there are."""

from __future__ import annotations

import json
import re

import yaml
from grafana_foundation_sdk.models.dashboard import Dashboard

from isslim.compress.worker.metrics import WorkerMetrics
from isslim.service.metrics import Metrics
from tests.deploy.programs import ROOT

DASHBOARD = ROOT / "deploy" / "grafana" / "isslim.json"
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
SUFFIXES = re.compile(r"_(bucket|count|sum|total)$")


def known() -> set[str]:
    """The names of all metrics, without the suffixes of their samples."""
    registries = (Metrics().registry, WorkerMetrics().registry)
    return {
        SUFFIXES.sub("", family.name) for registry in registries for family in registry.collect()
    }


def named(text: str) -> set[str]:
    """The metrics that an expression asks for."""
    found = re.findall(r"\b(?:isslim|http_server|process)_[a-z_]+", text)
    return {SUFFIXES.sub("", each) for each in found}


def test_grafanas_model_reads_it_and_loses_nothing() -> None:
    content = json.loads(DASHBOARD.read_text())
    read = json.loads(
        json.dumps(Dashboard.from_json(content).to_json(), default=lambda o: o.to_json())
    )
    assert read["title"] == "isslim"
    panels = [(each["title"], each["type"]) for each in content["panels"]]
    assert [(each["title"], each["type"]) for each in read["panels"]] == panels
    rows = [title for title, kind in panels if kind == "row"]
    assert rows == ["Traffic", "Inference", "Compression", "Models and processes"]
    assert [each["name"] for each in read["templating"]["list"]] == [
        "datasource",
        "job",
        "worker",
        "model",
    ]


def test_every_panel_asks_the_chosen_source_for_metrics_that_there_are() -> None:
    content = json.loads(DASHBOARD.read_text())
    metrics = known()
    for panel in content["panels"]:
        for target in panel.get("targets", []):
            assert target["datasource"]["uid"] == "${datasource}"
            assert named(target["expr"]) <= metrics, target["expr"]
            assert named(target["expr"]), target["expr"]


def test_every_alert_asks_for_metrics_that_there_are_and_is_in_the_handbook() -> None:
    handbook = (ROOT / "docs" / "operations.md").read_text()
    for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]:
        assert named(rule["expr"]) <= known()
        assert f"`{rule['alert']}`" in handbook


def test_metric_that_is_not_there_is_found() -> None:
    assert not named("rate(isslim_nothing_total[5m])") <= known()
