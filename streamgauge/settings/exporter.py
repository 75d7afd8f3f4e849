"""Settings of the exporter."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from streamgauge.inside import INSIDE
from streamgauge.settings.base import Port, Seconds
from streamgauge.settings.shared_work import SharedWorkSettings


class ExporterSettings(SharedWorkSettings):
    """From the stream to Prometheus metrics."""

    port: Port = Field(9103, description="port of /metrics, /livez and /readyz; 0 takes a free one")
    replay: bool = Field(False, description="count from the start of the stream instead of from now")
    max_lag: Seconds = Field(300.0, description="seconds of lag past which it skips to now and counts what it skipped")
    inside: str = Field(
        INSIDE,
        description="networks that are inside, for the label direction",
    )
    series_budget: int = Field(20_000, ge=10, le=1_000_000, description="most series of one metric family")
    door: str = Field("", description="host:port of the door, to tell when its certificate ends; empty: none")
    talkers: bool = Field(
        False, description="count packets and bytes by pair of addresses too: labels that traffic chooses"
    )
    domains: bool = Field(False, description="count DNS queries by registered domain too: labels that traffic chooses")
    identity: Literal["auto", "kubernetes", "none"] = Field(
        "auto", description="where names come from; auto: the Kubernetes API if this is a pod, or a kubeconfig is given"
    )
    cluster: str = Field(
        "default", pattern=r"^[A-Za-z0-9_-]{1,63}$", description="name of the cluster, in the subject of its identities"
    )
    kubeconfig: Path | None = Field(None, description="how the Kubernetes API is reached from outside of the cluster")
    labels: Path | None = Field(
        None, description="file with names for addresses and networks: CSV, or TOML by its name"
    )
