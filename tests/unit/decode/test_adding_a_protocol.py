"""docs/84-adding-a-protocol.md shows the code as it is."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "84-adding-a-protocol.md").read_text()


def test_the_example_is_the_code():
    """The file, the word and the branch stand in the code letter by letter."""
    file, word, branch = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)

    assert file == (ROOT / "streamgauge" / "decode" / "geneve_kernels.py").read_text()
    assert word in (ROOT / "streamgauge" / "schema.py").read_text()
    assert branch in (ROOT / "streamgauge" / "decode" / "tunnel_kernels.py").read_text()


def test_what_is_named_exists():
    """Each file the page names is there."""
    for name in re.findall(r"`((?:streamgauge|tests)/[\w/]+\.py)`", PAGE):
        assert (ROOT / name).exists(), name
