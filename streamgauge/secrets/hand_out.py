"""Give each reader its own keys: copies from the folder of secrets into one volume a reader, owned by its user.

    python -m streamgauge.secrets.hand_out /secrets /volumes

For compose, where a file given as a secret keeps its owner and mode: 0600 and yours, so no service could
read it. Runs as root, once, before everything else. Kubernetes does the same itself. Needs the standard library only.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Final

#: Users of the containers, as docker-compose.yml and k8s/ name them.
READERS: Final = {
    "nginx": 101,
    "nats": 1000,
    "minio": 1000,
    "minio-setup": 1000,
    "bootstrap": 10001,
    "collector": 0,
    "backup": 10001,
    "exporter": 10001,
    "operator": 10001,
    "grafana": 472,
    "oauth2-proxy": 65532,
}
#: Who owns the volumes with data; a new volume belongs to root.
DATA: Final = {"nats": 1000, "minio": 1000, "prometheus": 65534, "alertmanager": 65534, "grafana": 472, "collector": 0}

#: Where a file goes if not under its own name: the object storage looks for its certificate in a folder.
_RENAMED: Final = {
    ("minio", "public.crt"): "certs/public.crt",
    ("minio", "private.key"): "certs/private.key",
}


def main(arguments: list[str]) -> int:
    """Copy; return the exit status."""
    if len(arguments) != 2:
        sys.stderr.write("usage: python -m streamgauge.secrets.hand_out SECRETS VOLUMES\n")
        return 2
    secrets, volumes = Path(arguments[0]), Path(arguments[1])
    missing = [reader for reader in READERS if not (secrets / reader).is_dir()]
    if missing:
        sys.stderr.write(f"error: no secrets for {', '.join(missing)}: run `make secrets`\n")
        return 1
    for reader, owner in READERS.items():
        _hand_out(secrets / reader, volumes / "keys" / reader, owner)
    for name, owner in DATA.items():
        folder = volumes / "data" / name
        if folder.stat().st_uid != owner:
            os.chown(folder, owner, owner)
            folder.chmod(0o700)
    sys.stdout.write(f"keys for {len(READERS)} readers\n")
    return 0


def _hand_out(source: Path, target: Path, owner: int) -> None:
    """Make the target hold exactly what the source holds, readable by its owner alone."""
    wanted = {
        target / _RENAMED.get((source.name, path.name), path.name): path
        for path in sorted(source.iterdir())
        if path.is_file() and not path.name.startswith(".")
    }
    for stale in target.rglob("*"):
        if stale.is_file() and stale not in wanted:
            stale.unlink()
    for path, original in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        # Beside the old one first: a service that starts meanwhile finds one or the other.
        draft = path.with_name(f".{path.name}")
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
        with os.fdopen(descriptor, "wb") as handle, original.open("rb") as content:
            shutil.copyfileobj(content, handle)
        draft.replace(path)
        os.chown(path, owner, owner)
    for folder in [target, *(path for path in target.rglob("*") if path.is_dir())]:
        os.chown(folder, owner, owner)
        folder.chmod(0o500)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
