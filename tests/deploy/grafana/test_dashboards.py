"""Dashboards: generated, complete, readable, and about metrics that exist."""

from __future__ import annotations

import itertools
import json
import re

import pytest
import yaml

from grafana.generate import FOLDER, pages
from tests.support.declared import ROOT, unknown

BOARDS = {name: json.loads(content) for name, content in pages().items()}
PANELS = [
    pytest.param(panel, id=f"{name}: {panel['title']}")
    for name, board in BOARDS.items()
    for panel in board["panels"]
    if panel["type"] != "row"
]


def test_the_files_are_what_the_generator_writes():
    """The committed JSON is generated: python -m grafana.generate."""
    committed = {path.name: path.read_text() for path in FOLDER.iterdir()}
    assert committed == pages()


@pytest.mark.parametrize("panel", PANELS)
def test_every_panel_can_be_read_without_asking(panel):
    """A unit, a description in sentences, and legends a person can read."""
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert re.fullmatch(r"[A-Z].+\.", panel["description"], re.DOTALL)
    for target in panel["targets"]:
        assert target["legendFormat"]
        labels = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        grouped = {
            name for by in re.findall(r"\bby \(([^)]*)\)", target["expr"]) for name in by.replace(" ", "").split(",")
        }
        assert labels <= grouped | {"node"}, "the legend names a label that the query does not keep"


@pytest.mark.parametrize("panel", PANELS)
def test_panels_ask_for_metrics_that_exist(panel):
    """Every metric in a query is declared by a service or recorded by a rule."""
    for target in panel["targets"]:
        assert unknown(target["expr"]) == set()


@pytest.mark.parametrize("name", BOARDS)
def test_panels_do_not_overlap_and_have_identities_of_their_own(name):
    """Panels lie within the grid, none on another."""
    panels = BOARDS[name]["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
    for left, right in itertools.combinations([panel["gridPos"] for panel in panels], 2):
        beside = left["x"] + left["w"] <= right["x"] or right["x"] + right["w"] <= left["x"]
        apart = left["y"] + left["h"] <= right["y"] or right["y"] + right["h"] <= left["y"]
        assert beside or apart


def test_dashboards_have_lasting_addresses():
    """Each has a uid of its own and a title."""
    assert len({board["uid"] for board in BOARDS.values()}) == len(BOARDS)
    titles = ["Overview", "Workloads", "TCP health", "DNS", "Edge", "Pipeline and ledger", "Node"]
    assert [board["title"] for board in BOARDS.values()] == titles


def test_dashboards_use_the_provisioned_source():
    """The data source that panels name is the one that is provisioned; ConfigMaps hold every dashboard."""
    folder = ROOT / "grafana"
    (source,) = yaml.safe_load((folder / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    assert {panel.values[0]["datasource"]["uid"] for panel in PANELS} == {source["uid"]}
    maps = yaml.safe_load((folder / "kustomization.yaml").read_text())["configMapGenerator"]
    assert {file for each in maps for file in each["files"] if "dashboards/" in file and file.endswith(".json")} == {
        f"dashboards/{name}" for name in BOARDS
    }


def test_variables_are_those_of_the_panels():
    """Each choice above the panels changes some panel, each query asks only for choices there are, all by cluster."""
    for name, board in BOARDS.items():
        declared = {variable["name"] for variable in board["templating"]["list"]}
        expressions = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
        used = {found for expression in expressions for found in re.findall(r"\$([a-z]+)\b", expression)}
        assert declared == used, name
        assert "cluster" in declared
    assert {"namespace", "workload"} <= {
        variable["name"] for variable in BOARDS["workloads.json"]["templating"]["list"]
    }
