"""Prometheus' configuration and rules: valid, about metrics that exist, firing when and only when they should."""

from __future__ import annotations

import re
import subprocess

import pytest
import yaml

from tests.deploy.prometheus.cases import CASES, SLOW
from tests.support import prometheus_build, require
from tests.support.declared import PROMETHEUS, ROOT, recorded, rules, unknown

ALERTS = rules("alert-rules.yml")


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_composes_configuration():
    """It loads, with the rules it names."""
    run(require.program("promtool"), "check", "config", str(PROMETHEUS / "prometheus.yml"))


# Building it the first time takes some minutes.
@pytest.mark.timeout(1800)
def test_promtool_accepts_the_configuration_in_kubernetes():
    """It loads, with the rules it names; by a promtool of the image's version, as Debian's knows no discovery there."""
    run(prometheus_build.program("promtool"), "check", "config", str(PROMETHEUS / "kubernetes.yml"))


def test_the_prometheus_that_is_built_is_the_images_version():
    """Image v3.15.0 is the Go module v0.315.0."""
    image = next(line for line in (ROOT / ".env").read_text().splitlines() if "prom/prometheus:" in line)
    major, minor, patch = re.search(r":v(\d+)\.(\d+)\.(\d+)@", image).groups()
    module = (prometheus_build.SOURCE / "go.mod").read_text()
    assert f"github.com/prometheus/prometheus v0.{int(major) * 100 + int(minor)}.{patch} " in module


def test_amtool_accepts_the_alertmanager_configuration():
    """Alertmanager loads its configuration."""
    run(require.program("amtool"), "check-config", str(PROMETHEUS / "alertmanager" / "alertmanager.yml"))


def as_test(alert, series, *, fires):
    """Return one case as promtool reads it: after 30 minutes (or as SLOW says) the alert fires, or it does not."""
    interval, eval_time = SLOW.get(alert, ("1m", "30m"))
    return {
        "interval": interval,
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})',
                "eval_time": eval_time,
                "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
            }
        ],
    }


@pytest.mark.parametrize("alert", CASES)
def test_alerts_fire_when_they_should_and_only_then(alert, tmp_path):
    """On made-up series that it is for an alert fires; on series like them it does not."""
    firing, silent = CASES[alert]
    cases = [as_test(alert, firing, fires=True), *(as_test(alert, series, fires=False) for series in silent)]
    files = [str(PROMETHEUS / name) for name in ("recording-rules.yml", "alert-rules.yml")]
    path = tmp_path / "test.yml"
    path.write_text(
        yaml.safe_dump({"rule_files": files, "evaluation_interval": SLOW.get(alert, ("1m",))[0], "tests": cases})
    )
    run(require.program("promtool"), "test", "rules", str(path))


def test_every_alert_has_cases_of_both_kinds():
    """No alert is without a case in which it fires and one in which it must not."""
    assert list(CASES) == [alert["alert"] for alert in ALERTS]
    assert all(firing and silent for firing, silent in CASES.values())


@pytest.mark.parametrize(
    "rule", ALERTS + rules("recording-rules.yml"), ids=lambda rule: rule.get("alert", rule.get("record"))
)
def test_rules_ask_for_metrics_that_exist(rule):
    """Every metric in an expression is declared by a service or recorded by a rule."""
    assert unknown(rule["expr"]) == set()


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_every_alert_has_a_page_for_who_is_called(alert):
    """Severity, words, and a section of docs/11-alerts.md that says what to do."""
    assert alert["labels"]["severity"] in ("critical", "warning", "info")
    assert alert["annotations"]["summary"]
    assert alert["annotations"]["description"]
    page, _, anchor = alert["annotations"]["runbook_url"].rpartition("/docs/11-alerts.md#")
    assert page.startswith("https://")
    assert anchor == alert["alert"].lower()
    sections = re.findall(r"^### (\w+)$", (ROOT / "docs" / "11-alerts.md").read_text(), re.MULTILINE)
    assert alert["alert"] in sections


def test_the_page_of_alerts_names_no_other():
    """docs/11-alerts.md has a section for each alert and for nothing else."""
    sections = re.findall(r"^### (\w+)$", (ROOT / "docs" / "11-alerts.md").read_text(), re.MULTILINE)
    assert sections == [alert["alert"] for alert in ALERTS]


def test_both_configurations_read_the_same_parts():
    """Compose and Kubernetes scrape the same jobs and load the same rules."""
    compose, kubernetes = (
        yaml.safe_load((PROMETHEUS / name).read_text()) for name in ("prometheus.yml", "kubernetes.yml")
    )
    for key in ("rule_files",):
        assert compose[key] == kubernetes[key]
    assert [job["job_name"] for job in compose["scrape_configs"]] == [
        job["job_name"] for job in kubernetes["scrape_configs"]
    ]


@pytest.mark.parametrize("name", ["prometheus.yml", "kubernetes.yml"])
def test_every_job_gives_its_series_the_cluster(name):
    """The same as on what leaves this Prometheus, so that the dashboards' choice holds everywhere."""
    configuration = yaml.safe_load((PROMETHEUS / name).read_text())
    cluster = configuration["global"]["external_labels"]["cluster"]
    wanted = {"target_label": "cluster", "replacement": cluster}
    assert [job["relabel_configs"][-1] for job in configuration["scrape_configs"]] == [wanted] * 5


def test_recorded_names_say_level_what_and_how():
    """Recorded series are named level:what:how."""
    assert all(re.fullmatch(r"(streamgauge|node|protocol|direction):[a-z_]+:[a-z0-9]+", name) for name in recorded())
