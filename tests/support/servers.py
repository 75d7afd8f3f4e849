"""Real servers with what only tests need."""

from __future__ import annotations

import json
from typing import Final

from streamgauge.embedded import S3Server

#: Volumes the server may have; one takes what is stored in it.
_VOLUMES: Final = 4000


class S3ServerWithReader(S3Server):
    """An S3 server that also knows a key that may read and nothing else."""

    reader_key = "reader"
    reader_secret = "readers-may-only-read"

    def command(self) -> list[str]:
        """Return the command line, with one more identity in the file it names."""
        command = super().command()
        path = self.folder / "identities.json"
        identities = json.loads(path.read_text())
        identities["identities"].append(
            {
                "name": "reader",
                "credentials": [{"accessKey": self.reader_key, "secretKey": self.reader_secret}],
                "actions": ["Read", "List"],
            }
        )
        path.write_text(json.dumps(identities))
        # Each bucket takes a volume, and a session of tests makes hundreds of buckets.
        return [f"-volume.max={_VOLUMES}" if option.startswith("-volume.max=") else option for option in command]
