"""Runs in a pod in place of a program that no registry here offers: ``python -m tests.support.dry.stand_ins NAME``.

minio       SeaweedFS with the keys of the Secrets, behind the TLS and the certificate that the manifest mounts
grafana     a page that says it is healthy
dashboard   the same, below its prefix
"""

from __future__ import annotations

import asyncio
import http.server
import json
import signal
import ssl
import sys
from pathlib import Path
from typing import Final

from streamgauge.embedded import S3Server

_TLS: Final = Path("/run/secrets/minio/certs")
#: Written into the pod's /tmp by whoever starts it: the keys that MinIO's set-up would make.
IDENTITIES: Final = "identities.json"


class _Store(S3Server):
    """The embedded S3 server, with other identities."""

    def command(self) -> list[str]:
        """Return the command line."""
        command = super().command()
        (self.folder / "identities.json").write_text((Path("/tmp") / IDENTITIES).read_text())
        return command

    def answers(self) -> bool:
        """Return whether it answers as S3 does; its own keys are not known to it here."""
        users = json.loads((Path("/tmp") / IDENTITIES).read_text())["identities"]
        keys = users[0]["credentials"][0]
        self.access_key, self.secret_key = keys["accessKey"], keys["secretKey"]
        return super().answers()


async def _minio() -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(_TLS / "public.crt", _TLS / "private.key")
    with _Store(Path("/data")) as store:

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", store.port)
            await asyncio.gather(_pump(reader, behind_writer), _pump(behind_reader, writer))

        console = await asyncio.start_server(serve, "0.0.0.0", 9001, ssl=context)
        server = await asyncio.start_server(serve, "0.0.0.0", 9000, ssl=context)
        told = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
        async with server, console:
            await told.wait()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


class _Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Answer with what was asked for, so that a test sees which path and user arrived."""
        body = json.dumps({"path": self.path, "user": self.headers.get("X-WEBAUTH-USER")}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


def main() -> None:
    """Stand in for the program named."""
    name = sys.argv[1]
    if name == "minio":
        asyncio.run(_minio())
    else:
        port = {"grafana": 3000, "dashboard": 4466}[name]
        http.server.ThreadingHTTPServer(("0.0.0.0", port), _Page).serve_forever()


if __name__ == "__main__":
    main()
