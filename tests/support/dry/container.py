"""Turns this process into a container's: ``python container.py SPEC.json``, started in fresh mount and UTS namespaces.

Only the standard library: it runs before anything of the project is in reach.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[3]


def main() -> None:
    """Lay out the root, give up every right the manifest does not grant, and become the program."""
    spec = json.loads(Path(sys.argv[1]).read_text())
    root = Path(spec["root"])
    _mount("--make-rprivate", "/")
    for name in ("upper", "work", "merged"):
        (root / name).mkdir(parents=True)
    merged = root / "merged"
    _mount(
        "-t", "overlay", "-o", f"lowerdir=/,upperdir={root / 'upper'},workdir={root / 'work'}", "overlay", str(merged)
    )
    # The interpreter may lie in root's home, which an image's would not.
    (merged / "root").chmod(0o711)
    for kernel in ("dev", "proc", "sys"):
        _mount("--rbind", f"/{kernel}", str(merged / kernel))
    for source, target, writable in spec["mounts"]:
        _bind(Path(source), merged / target.lstrip("/"), writable=writable)
    checkout = merged / str(_CHECKOUT).lstrip("/")
    if not (checkout / "pyproject.toml").exists():
        # The checkout lies below a volume, such as /tmp (which keeps the empty place of a former start); an image
        # would bring the program elsewhere.
        _bind(_CHECKOUT, checkout, writable=False)
    if spec["read_only"]:
        _mount("-o", "remount,ro", str(merged))
    socket.sethostname(spec["hostname"])
    os.chroot(merged)
    os.chdir(spec["directory"])
    capabilities = ",".join(["-all", *(f"+{name.lower()}" for name in spec["capabilities"])])
    os.execvpe(
        "/usr/bin/setpriv",
        [
            *("setpriv", f"--reuid={spec['uid']}", f"--regid={spec['gid']}"),
            *((f"--groups={spec['group']}",) if spec["group"] else ("--clear-groups",)),
            *(f"--bounding-set={capabilities}", "--inh-caps=-all", "--no-new-privs", "--", *spec["command"]),
        ],
        spec["environment"],
    )


def _bind(source: Path, target: Path, *, writable: bool) -> None:
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    elif not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    _mount("--bind", str(source), str(target))
    if not writable:
        _mount("-o", "remount,bind,ro", str(target))


def _mount(*arguments: str) -> None:
    subprocess.run(["/usr/bin/mount", *arguments], check=True)


if __name__ == "__main__":
    main()
