"""The servers of the demo and the tests."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from minio import Minio

from streamgauge import embedded
from streamgauge.embedded import NatsServer, S3Server
from streamgauge.errors import ConfigurationError, StreamgaugeError
from tests.support import require

if TYPE_CHECKING:
    from streamgauge.settings import S3Settings


def _exists(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.live
class TestNatsServer:
    def test_stops_and_leaves_no_process(self, scratch: Path) -> None:
        """A stopped server's process is gone, and its port is free."""
        require.program("nats-server")
        with NatsServer(scratch) as server:
            assert server.process is not None
            process_id = server.process.pid
            assert _exists(process_id)

        assert not _exists(process_id)
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", server.port)) != 0

    def test_keeps_its_port_over_a_restart(self, nats_server: NatsServer) -> None:
        """Clients find a restarted server again."""
        before = nats_server.url
        nats_server.kill()
        nats_server.start()

        assert before == nats_server.url
        assert nats_server.answers()

    def test_bad_configuration_is_told_with_the_log(self, scratch: Path) -> None:
        """A server that does not start says why: the end of its log is in the message."""
        require.program("nats-server")

        with pytest.raises(StreamgaugeError, match=r"nats did not start: .*Parse error"):
            NatsServer(scratch, config="nonsense {").start()


@pytest.mark.live
class TestS3Server:
    def test_takes_only_its_own_key(self, s3_server: S3Server, s3_settings: S3Settings) -> None:
        """The identity that is generated at start is the only one."""
        good = Minio(s3_server.endpoint, s3_server.access_key, s3_server.secret_key, secure=False)

        assert not good.bucket_exists(bucket_name=s3_settings.bucket)

        bad = Minio(s3_server.endpoint, s3_server.access_key, "wrong-key", secure=False)
        with pytest.raises(Exception, match="SignatureDoesNotMatch"):
            bad.list_buckets()

    def test_stops_in_time_and_removes_its_sockets(self, scratch: Path) -> None:
        """The server ends by itself when asked to, and nothing of it stays in /tmp."""
        require.program("weed")
        with S3Server(scratch) as server:
            assert server.process is not None

        assert server.process.returncode == 0
        assert [path for port in server._ports.values() for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock")] == []


def test_missing_program_says_how_to_install_it() -> None:
    """The message of a missing server ends in the command that installs it."""
    with pytest.raises(ConfigurationError, match=r"no-such-server is not installed; `pip install some-wheel`"):
        embedded.program("no-such-server", "some-wheel")


def test_free_ports_are_distinct() -> None:
    """Ports asked for together never collide."""
    assert len(set(embedded.free_ports(20))) == 20
