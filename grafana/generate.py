"""Writes grafana/dashboards/*.json: ``python -m grafana.generate``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

from grafana.boards_edge import EDGE
from grafana.boards_pipeline import PIPELINE
from grafana.boards_protocols import DNS, TCP
from grafana.boards_traffic import NODE, OVERVIEW
from grafana.boards_workloads import WORKLOADS
from grafana.model import as_json

BOARDS: Final = (OVERVIEW, WORKLOADS, TCP, DNS, EDGE, PIPELINE, NODE)
FOLDER: Final = Path(__file__).with_name("dashboards")


def pages() -> dict[str, str]:
    """Return the content of each file by its name."""
    return {
        f"{board.uid.removeprefix('streamgauge-')}.json": json.dumps(as_json(board), indent=2, ensure_ascii=False)
        + "\n"
        for board in BOARDS
    }


def main() -> int:
    """Write all files."""
    for name, content in pages().items():
        (FOLDER / name).write_text(content, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
