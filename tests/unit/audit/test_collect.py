"""What the bucket says about itself."""

from __future__ import annotations

import pytest
from minio.commonconfig import DISABLED, ENABLED, AndOperator, Filter, Tag, Tags
from minio.lifecycleconfig import Expiration, Rule

from streamgauge.audit.collect import expire_days

_TAGS = Tags.new_object_tags()
_TAGS["kind"] = "scratch"


def rule(chosen: Filter | None, days: int = 7, status: str = ENABLED) -> Rule:
    return Rule(status, rule_filter=chosen, expiration=Expiration(days=days))


@pytest.mark.parametrize(
    ("rules", "days"),
    [
        ([], 0),
        ([rule(Filter(prefix=""))], 7),
        ([rule(Filter(prefix="summaries/"), 30), rule(Filter(prefix="summaries/v1/"), 9)], 9),
        ([rule(Filter(prefix="ledger/"))], 0),
        ([rule(Filter(prefix="summaries/"), status=DISABLED)], 0),
        ([rule(Filter(tag=Tag("kind", "scratch")), 1)], 0),
        ([rule(Filter(and_operator=AndOperator(prefix="summaries/", tags=_TAGS)), 1)], 0),
    ],
)
def test_only_rules_that_remove_every_object_explain_why_one_is_gone(rules: list[Rule], days: int) -> None:
    """A rule that is switched off, or is for some objects, would hide that objects were deleted."""
    assert expire_days(rules) == days
