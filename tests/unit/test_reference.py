"""The reference pages in docs/ are those the code would write."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamgauge import reference, schema
from streamgauge.settings import SECTIONS

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", reference.PAGES)
def test_page_is_up_to_date(name: str) -> None:
    """After a change of a column or setting, `make docs` writes the page anew."""
    assert (DOCS / name).read_text() == reference.PAGES[name](), f"docs/{name} is out of date; run `make docs`"


def test_pages_leave_nothing_out() -> None:
    """Each column and each setting is on its page."""
    record, settings = reference.record_page(), reference.settings_page()

    assert [name for name in schema.NAMES if f"`{name}`" not in record] == []
    assert [one.name for one in reference.settings() if f"`{one.name}`" not in settings] == []
    assert len(list(reference.settings())) == sum(len(model.model_fields) for model in SECTIONS.values())


def test_main_writes_the_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `make docs` calls it."""
    monkeypatch.setattr("sys.argv", ["reference", str(tmp_path)])
    reference.main()

    assert {path.name for path in tmp_path.iterdir()} == set(reference.PAGES)
