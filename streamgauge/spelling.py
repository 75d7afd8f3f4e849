"""What a person may have meant who wrote a name that there is not; nothing rather than a guess."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Share of letters in common from which two names are taken for one, misspelt.
_ALIKE: Final = 0.8


def closest(name: str, known: Iterable[str], *, prefix: str = "") -> str | None:
    """Return the known name that ``name`` is a misspelling of, or None.

    ``prefix`` begins all of them, so it makes none of them more alike.
    """
    candidates = {each.removeprefix(prefix): each for each in known}
    wanted = name.removeprefix(prefix)
    found = difflib.get_close_matches(wanted, candidates, 1, _ALIKE)
    # Two letters swapped are a third of a short word.
    found += [each for each in candidates if sorted(each) == sorted(wanted)]
    return candidates[found[0]] if found else None
