"""Panels, rows and dashboards as plain values, and the JSON Grafana reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

DATA_SOURCE: Final = {"type": "prometheus", "uid": "streamgauge-prometheus"}

#: Columns of Grafana's grid, and heights of panels in its rows.
_GRID: Final = 24
HEIGHTS: Final = {"stat": 4, "timeseries": 8, "heatmap": 8, "table": 10}

GREEN_IS_ZERO: Final = ((None, "green"), (0.000001, "red"))


@dataclass(frozen=True)
class Query:
    """One PromQL expression and how its series are called in the legend."""

    expression: str
    legend: str
    #: Only the value now, not its course.
    instant: bool = False


@dataclass(frozen=True)
class Variable:
    """A choice above the panels: the values of a label among the series of a selector."""

    name: str
    label: str
    selector: str
    #: The label, if it is not called like the variable.
    source: str = ""


@dataclass(frozen=True)
class Panel:
    """One panel. Width is in columns of 24."""

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: str = "timeseries"
    width: int = 12
    stacked: bool = False
    #: (from this value on, colour); None is the beginning.
    thresholds: tuple[tuple[float | None, str], ...] = ()
    decimals: int | None = None
    maximum: float | None = None


@dataclass(frozen=True)
class Row:
    """A titled group of panels."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Dashboard:
    """One dashboard; ``uid`` is in its address and never changes."""

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]
    variables: tuple[Variable, ...] = ()


def as_json(dashboard: Dashboard) -> dict[str, Any]:
    """Return a dashboard as Grafana reads it."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["streamgauge"],
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "schemaVersion": 39,
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "links": [
            {
                "title": "streamgauge",
                "type": "dashboards",
                "tags": ["streamgauge"],
                "asDropdown": True,
                "includeVars": True,
                "keepTime": True,
            }
        ],
        "templating": {"list": [_variable(variable) for variable in dashboard.variables]},
        "panels": _panels(dashboard.rows),
    }


#: A table's columns are the labels and the value; the time is the same in each row.
_TABLE: Final = {
    "id": "organize",
    "options": {
        "excludeByName": {"Time": True},
        "renameByName": {
            "Value": "bytes",
            "source_namespace": "from namespace",
            "source_workload": "from workload",
            "destination_namespace": "to namespace",
            "destination_workload": "to workload",
        },
    },
}


def _variable(variable: Variable) -> dict[str, Any]:
    query = f"label_values({variable.selector}, {variable.source or variable.name})"
    return {
        "name": variable.name,
        "label": variable.label,
        "type": "query",
        "datasource": DATA_SOURCE,
        "definition": query,
        "query": {"query": query, "refId": "values"},
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
        "refresh": 2,
        "sort": 1,
    }


def _panels(rows: tuple[Row, ...]) -> list[dict[str, Any]]:
    """Lay rows out from top to bottom, panels from left to right."""
    made: list[dict[str, Any]] = []
    top = 0
    for row in rows:
        made.append(
            {
                "id": len(made) + 1,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "panels": [],
                "gridPos": {"x": 0, "y": top, "w": _GRID, "h": 1},
            }
        )
        top += 1
        left = tallest = 0
        for panel in row.panels:
            if left + panel.width > _GRID:
                top, left, tallest = top + tallest, 0, 0
            height = HEIGHTS[panel.kind]
            place = {"x": left, "y": top, "w": panel.width, "h": height}
            made.append({"id": len(made) + 1, "gridPos": place, **_panel(panel)})
            left, tallest = left + panel.width, max(tallest, height)
        top += tallest
    return made


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        **({"transformations": [_TABLE]} if panel.kind == "table" else {}),
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATA_SOURCE,
        "targets": [_target(panel, query, letter) for query, letter in zip(panel.queries, "ABCDEFGH", strict=False)],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
    }


def _target(panel: Panel, query: Query, letter: str) -> dict[str, Any]:
    return {
        "refId": letter,
        "datasource": DATA_SOURCE,
        "expr": query.expression,
        "legendFormat": query.legend,
        "instant": query.instant,
        "range": not query.instant,
        "format": panel.kind if panel.kind in ("heatmap", "table") else "time_series",
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0}
    if panel.decimals is not None:
        defaults["decimals"] = panel.decimals
    if panel.maximum is not None:
        defaults["max"] = panel.maximum
    if panel.thresholds:
        steps = [{"value": value, "color": color} for value, color in panel.thresholds]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
        defaults["color"] = {"mode": "thresholds" if panel.kind == "stat" else "palette-classic"}
    if panel.kind == "timeseries":
        defaults["custom"] = {
            "fillOpacity": 25 if panel.stacked else 10,
            "lineWidth": 1,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        }
    return defaults


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "stat":
        return {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "colorMode": "value",
            "graphMode": "area",
            "textMode": "auto",
        }
    if panel.kind == "table":
        return {"showHeader": True, "cellHeight": "sm", "sortBy": [{"displayName": "bytes", "desc": True}]}
    if panel.kind == "heatmap":
        return {"calculate": False, "cellGap": 1, "color": {"mode": "scheme", "scheme": "Blues", "steps": 64}}
    many = len(panel.queries) > 1 or "{{" in panel.queries[0].legend
    return {
        "legend": {
            "displayMode": "table" if many else "list",
            "placement": "bottom",
            "calcs": ["mean", "max", "lastNotNull"] if many else [],
            "showLegend": many,
            "sortBy": "Mean",
            "sortDesc": True,
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
