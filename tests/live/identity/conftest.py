"""What the exporter's live tests have, and a cluster to watch."""

from __future__ import annotations

import pytest

from services.exporter import identity, workloads
from services.exporter.kubernetes import book, watch
from tests.live.exporter.conftest import _bus, _run_exporter  # noqa: F401 fixtures
from tests.support.apiserver import ApiServer
from tests.support.cluster import Told


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    """Try again soon, and fold series soon after a workload is gone."""
    monkeypatch.setattr(watch, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(watch, "PAGE", 3)
    monkeypatch.setattr(book, "LINGER", 1 * 10**9)
    monkeypatch.setattr(workloads, "FOLD_INTERVAL", 0.2)
    monkeypatch.setattr(identity, "_LABELS_INTERVAL", 0.1)


@pytest.fixture(name="server")
async def _server(scratch):
    folder = scratch / "api"
    folder.mkdir()
    async with ApiServer(folder) as server:
        yield server


@pytest.fixture(name="told")
async def _told(bus):
    return await Told().listen(bus.client)
