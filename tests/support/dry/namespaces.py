"""Network namespaces: made, entered by a thread, governed by nftables, removed."""

from __future__ import annotations

import ctypes
import http.client
import socket
import ssl
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

_CLONE_NEWNET: Final = 0x40000000
_libc: Final = ctypes.CDLL(None, use_errno=True)

T = TypeVar("T")


def run(*command: str, stdin: str | None = None) -> str:
    """Run a program of the system and return what it writes."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def inside(namespace: str, *command: str, stdin: str | None = None) -> str:
    """Run a program in a network namespace."""
    return run("ip", "netns", "exec", namespace, *command, stdin=stdin)


def socket_in(namespace: str, kind: socket.SocketKind) -> socket.socket:
    """Return a socket that lives in a network namespace, whoever uses it."""

    def make() -> socket.socket:
        with (Path("/run/netns") / namespace).open() as handle:
            if _libc.setns(handle.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"cannot enter network namespace {namespace}")
        return socket.socket(socket.AF_INET, kind)

    # Its own thread: a thread that has entered does not come back.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(make).result()


def get(
    namespace: str, address: str, port: int, path: str, *, tls: bool = False, headers: dict[str, str] | None = None
) -> tuple[int, str] | None:
    """Ask for a page from within a namespace; None if nothing answers."""
    connection = http.client.HTTPConnection(address, port, timeout=5)
    plain = socket_in(namespace, socket.SOCK_STREAM)
    plain.settimeout(5)
    try:
        plain.connect((address, port))
        # A kubelet does not check certificates either.
        context = ssl._create_unverified_context()
        connection.sock = context.wrap_socket(plain) if tls else plain
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
        plain.close()
