"""Objects of a known minute at two nodes, twice, an hour apart, and who the addresses were."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support import query

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(name="folder", scope="session")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the objects."""
    return query.write_objects(tmp_path_factory.mktemp("objects"))
