"""No secret is in the repository: neither a key nor a password that somebody forgot."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

PATTERNS = {
    "a private key": re.compile(r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----\s+[A-Za-z0-9+/]{40}"),
    "a bcrypt hash": re.compile(r"\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}"),
    "a cloud key": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a token": re.compile(r"\b(?:ghp|gho|ghs|glpat|xox[abp])[-_][A-Za-z0-9-]{20,}"),
    "a web token": re.compile(r"\beyJ[A-Za-z0-9_-]{20,}\.eyJ[A-Za-z0-9_-]{20,}\."),
    "a password in an address": re.compile(r"\b(?:https?|nats|tls)://[^\s/:@{}$\"']+:[^\s/@{}$\"']{8,}@"),
}


def tracked() -> list[Path]:
    run = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=30)
    if run.returncode != 0:
        pytest.skip("this is no checkout")
    return [ROOT / name for name in run.stdout.split("\0") if name]


def test_no_secret_is_committed() -> None:
    found = []
    for path in tracked():
        if path.is_file() and path.stat().st_size < 2_000_000:
            text = path.read_text(errors="ignore")
            found += [f"{path.relative_to(ROOT)}: {what}" for what, pattern in PATTERNS.items() if pattern.search(text)]

    assert found == []


def test_the_folder_of_secrets_is_ignored() -> None:
    run = subprocess.run(
        ["git", "check-ignore", "secrets/login.txt"], cwd=ROOT, capture_output=True, check=False, timeout=30
    )
    if run.returncode == 128:
        pytest.skip("this is no checkout")

    assert run.returncode == 0
    assert not [path for path in tracked() if path.relative_to(ROOT).parts[0] == "secrets"]
