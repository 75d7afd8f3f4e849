"""Scan the shipped door with sslyze, against Mozilla's "intermediate" profile; each deviation must be explained here.

    python -m tests.deploy.nginx.scan_tls        (`make scan-tls`)

sslyze holds cryptography below what the services use, so it has an environment of its own in ``.stamps/``. It is also
under the AGPL, and a program of its own.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any, Final

from streamgauge.secrets.__main__ import main as make_secrets
from tests.support.door import Door

VERSION: Final = "6.3.1"
_ENVIRONMENT: Final = Path(__file__).parents[3] / ".stamps" / f"sslyze-{VERSION}"

#: Criterion of the profile: why the door deviates.
EXPLAINED: Final = {
    "tls_curves": "the library's own list: it adds strong curves, and where it is new enough one that outlives quantum "
    "computers, which a list for older libraries too could not name",
    "maximum_certificate_lifespan": "a limit of public authorities; this one is the installation's own",
}
#: Results of the look for ROBOT that are no weakness.
_SOUND: Final = {"NOT_VULNERABLE_NO_ORACLE", "NOT_VULNERABLE_RSA_NOT_SUPPORTED"}


def main() -> int:
    """Start the door, scan it, print what is unexplained or no longer needed; 0 if nothing is."""
    with tempfile.TemporaryDirectory() as name:
        keys = Path(name) / "keys"
        with contextlib.redirect_stdout(io.StringIO()):
            make_secrets(["--folder", str(keys)])
        with Door(keys / "nginx", {}) as door:
            text, report = _scan(f"localhost:{door.https}", keys / "authority" / "ca.crt")
    deviations = set(re.findall(r"^ +\* (\w+): ", text.partition("COMPLIANCE AGAINST")[2], re.MULTILINE))
    scan = report["server_scan_results"][0]["scan_result"]
    weak = {look for look in ("heartbleed", "openssl_ccs_injection", "robot") if not _is_sound(scan[look]["result"])}
    for criterion in sorted(deviations - set(EXPLAINED)):
        sys.stdout.write(f"unexplained: {criterion}\n")
    for criterion in sorted(set(EXPLAINED) - deviations):
        sys.stdout.write(f"explained but not found: {criterion}\n")
    for look in sorted(weak):
        sys.stdout.write(f"vulnerable: {look}\n")
    sys.stdout.write(f"{len(scan)} looks, {len(deviations)} deviations, {len(EXPLAINED)} explained\n")
    return int(deviations != set(EXPLAINED) or bool(weak))


def _is_sound(result: dict[str, Any]) -> bool:
    return all(
        value is False or value in _SOUND for name, value in result.items() if "vulnerable" in name or "robot" in name
    )


def _scan(address: str, authority: Path) -> tuple[str, dict[str, Any]]:
    sslyze = _ENVIRONMENT / "bin" / "sslyze"
    if not sslyze.exists():
        venv.create(_ENVIRONMENT, with_pip=True)
        pip = [str(_ENVIRONMENT / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, f"sslyze=={VERSION}"], check=True)
    path = authority.with_name("scan.json")
    run = subprocess.run(
        [
            *(str(sslyze), "--mozilla_config=intermediate", f"--certinfo_ca_file={authority}"),
            *(f"--json_out={path}", address),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if "COMPLIANCE AGAINST" not in run.stdout:
        raise AssertionError(f"sslyze did not scan: {run.stdout}{run.stderr}")
    report: dict[str, Any] = json.loads(path.read_text())
    return run.stdout, report


if __name__ == "__main__":
    sys.exit(main())
