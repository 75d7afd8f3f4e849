"""A backup that is broken on purpose: it stores each message, whether the batch in it was stored before or not."""

from __future__ import annotations

import sys
from typing import Any

from services.backup.__main__ import main
from services.backup.intake import Intake


def _is_new(_intake: Intake, _batch: Any) -> bool:
    """Take every batch for a new one."""
    return True


if __name__ == "__main__":
    Intake._is_new = _is_new  # type: ignore[method-assign,assignment]
    sys.exit(main())
