"""What each user of the object storage may do, as the policies say it."""

from __future__ import annotations

import fnmatch
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).parents[3] / "minio"
BUCKET = "arn:aws:s3:::streamgauge-bucket"
OBJECT = f"{BUCKET}/summaries/v1/x.parquet"
USERS = ("backup", "operator", "bootstrap")

#: Who may do what on our bucket or its objects; nobody else.
MAY: dict[tuple[str, str], set[str]] = {
    ("s3:PutObject", OBJECT): {"backup"},
    ("s3:GetObject", OBJECT): {"backup", "operator"},
    ("s3:AbortMultipartUpload", OBJECT): {"backup"},
    ("s3:DeleteObject", OBJECT): set(),
    ("s3:DeleteObjectVersion", OBJECT): set(),
    ("s3:PutObjectTagging", OBJECT): set(),
    ("s3:PutObjectRetention", OBJECT): set(),
    ("s3:BypassGovernanceRetention", OBJECT): set(),
    ("s3:ListBucket", BUCKET): {"backup", "operator", "bootstrap"},
    ("s3:CreateBucket", BUCKET): {"bootstrap"},
    ("s3:DeleteBucket", BUCKET): set(),
    ("s3:PutLifecycleConfiguration", BUCKET): {"bootstrap"},
    ("s3:PutBucketVersioning", BUCKET): {"bootstrap"},
    ("s3:PutBucketObjectLockConfiguration", BUCKET): {"bootstrap"},
    # What is stored is looked up afterwards, the probe too.
    ("s3:PutObject", f"{BUCKET}/streamgauge/encryption-works"): {"backup", "bootstrap"},
    ("s3:GetObject", f"{BUCKET}/streamgauge/encryption-works"): {"backup", "operator", "bootstrap"},
    ("s3:PutBucketPolicy", BUCKET): set(),
    ("s3:GetBucketPolicy", BUCKET): set(),
    ("s3:ListAllMyBuckets", "arn:aws:s3:::*"): set(),
    ("admin:CreateUser", "arn:aws:s3:::*"): set(),
    ("s3:GetObject", "arn:aws:s3:::another/x"): set(),
    ("s3:PutObject", "arn:aws:s3:::another/x"): set(),
    ("s3:CreateBucket", "arn:aws:s3:::another"): set(),
}


def policy(user: str) -> dict[str, Any]:
    return json.loads((SOURCE / "policies" / f"{user}.json").read_text())


def allows(document: dict[str, Any], action: str, resource: str) -> bool:
    """Evaluate as S3 does: a Deny wins, nothing is allowed by itself."""
    effects = {
        statement["Effect"]
        for statement in document["Statement"]
        if any(fnmatch.fnmatchcase(action, pattern) for pattern in statement["Action"])
        and any(fnmatch.fnmatchcase(resource, pattern) for pattern in statement["Resource"])
    }
    return effects == {"Allow"}


@pytest.mark.parametrize(("action", "resource"), MAY)
def test_who_may_do_what(action: str, resource: str) -> None:
    assert {user for user in USERS if allows(policy(user), action, resource)} == MAY[action, resource]


def test_no_policy_allows_by_a_wildcard() -> None:
    for user in USERS:
        for statement in policy(user)["Statement"]:
            if statement["Effect"] == "Allow":
                assert not [action for action in statement["Action"] if "*" in action]
                assert all(resource.startswith(BUCKET) for resource in statement["Resource"])


def test_set_up_hands_no_key_on_as_an_argument() -> None:
    """Arguments are readable by every process of a machine."""
    text = (SOURCE / "setup.sh").read_text()
    subprocess.run(["sh", "-n", str(SOURCE / "setup.sh")], check=True, timeout=10)

    assert not re.findall(r"client admin user add storage .*\$", text)
    assert "set -x" not in text
