"""The page of the commands against what the commands themselves say."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from streamgauge import reference
from streamgauge.cli.main import COMMANDS, main

if TYPE_CHECKING:
    from streamgauge.cli.main import Command


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_page_has_each_option_of_the_help(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """Its own help and the page are made from the same declarations, by different means."""
    assert main([command.name, "--help"]) == 0
    shown = capsys.readouterr().out.partition("Options")[2]
    section = reference.commands_page().partition(f"\n## {command.name}\n")[2].partition("\n## ")[0]
    options = {option for line in shown.splitlines() for option in re.findall(r"^\s+[^a-z]*?(--[a-z-]+)", line)}

    assert options, shown
    assert [
        option for option in options - {"--help"} if f"`{option}" not in section and f"/{option}" not in section
    ] == []
    assert f"streamgauge {command.name}" in section.partition("```console")[2]
