"""The permission matrix: each user tries each subject, allowed and refused."""

from __future__ import annotations

import json
import re
import socket
import ssl
from typing import TYPE_CHECKING

import nats
import pytest

from tests.support.waiting import eventually

if TYPE_CHECKING:
    from nats.aio.client import Client

    from tests.deploy.nats.conftest import Stand

_API = "$JS.API"

#: Who may publish on a subject; nobody else.
PUBLISH: dict[str, set[str]] = {
    # data
    "traffic.v1.node.tcp": {"collector"},
    "traffic.v1.node.tcp.3": set(),
    "traffic.v1.node": set(),
    "traffic.v2.node.tcp": set(),
    "ledger.v1.node": {"collector"},
    "ledger.v1.node.x": set(),
    "identity.v1.cluster": {"exporter"},
    "identity.v1.cluster.x": set(),
    "replay.v1.node.tcp": {"operator"},
    "backup.v1.TRAFFIC.shard-00": {"backup"},
    "backup.v1.OTHER.shard-00": set(),
    "$KV.backup-TRAFFIC.shard-00": {"backup"},
    "$KV.backup-TRAFFIC.drill": {"backup", "operator"},
    "$KV.other.key": set(),
    "anything": set(),
    # others' inboxes: forged answers
    "_INBOX.x": set(),
    "_INBOX_collector.x": set(),
    "_INBOX_backup.x": set(),
    "_INBOX_exporter.x": set(),
    # streams
    f"{_API}.INFO": {"operator", "bootstrap"},
    f"{_API}.STREAM.INFO.TRAFFIC": {"collector", "backup", "exporter", "consumer", "operator", "bootstrap"},
    f"{_API}.STREAM.INFO.KV_backup-TRAFFIC": {"backup", "operator", "bootstrap"},
    f"{_API}.STREAM.INFO.OTHER": {"operator", "bootstrap"},
    f"{_API}.STREAM.NAMES": set(),
    f"{_API}.STREAM.LIST": set(),
    f"{_API}.STREAM.CREATE.TRAFFIC": {"bootstrap"},
    f"{_API}.STREAM.CREATE.OTHER": {"bootstrap"},
    f"{_API}.STREAM.CREATE.KV_backup-TRAFFIC": {"bootstrap", "backup"},
    f"{_API}.STREAM.UPDATE.TRAFFIC": {"bootstrap"},
    f"{_API}.STREAM.UPDATE.KV_backup-TRAFFIC": set(),
    f"{_API}.STREAM.DELETE.TRAFFIC": set(),
    f"{_API}.STREAM.DELETE.KV_backup-TRAFFIC": set(),
    f"{_API}.STREAM.PURGE.TRAFFIC": set(),
    f"{_API}.STREAM.PURGE.KV_backup-TRAFFIC": set(),
    f"{_API}.STREAM.MSG.DELETE.TRAFFIC": set(),
    f"{_API}.STREAM.SNAPSHOT.TRAFFIC": set(),
    f"{_API}.STREAM.RESTORE.TRAFFIC": set(),
    f"{_API}.STREAM.PEER.REMOVE.TRAFFIC": set(),
    f"{_API}.STREAM.LEADER.STEPDOWN.TRAFFIC": set(),
    f"{_API}.STREAM.MSG.GET.TRAFFIC": {"consumer", "operator"},
    f"{_API}.STREAM.MSG.GET.KV_backup-TRAFFIC": {"backup", "operator"},
    f"{_API}.DIRECT.GET.TRAFFIC": {"consumer", "operator"},
    f"{_API}.DIRECT.GET.TRAFFIC.ledger.v1.node": {"consumer", "operator"},
    f"{_API}.DIRECT.GET.KV_backup-TRAFFIC.$KV.backup-TRAFFIC.shard-00": {"backup", "operator"},
    # consumers
    f"{_API}.CONSUMER.CREATE.TRAFFIC": {"exporter", "operator"},
    f"{_API}.CONSUMER.CREATE.TRAFFIC.backup-ledger.ledger.v1.*": {"backup"},
    f"{_API}.CONSUMER.CREATE.OTHER": set(),
    f"{_API}.CONSUMER.CREATE.KV_backup-TRAFFIC": set(),
    f"{_API}.CONSUMER.DURABLE.CREATE.TRAFFIC.x": set(),
    f"{_API}.CONSUMER.DELETE.TRAFFIC.backup-ledger": {"backup"},
    f"{_API}.CONSUMER.DELETE.OTHER.x": set(),
    f"{_API}.CONSUMER.PAUSE.TRAFFIC.backup-ledger": set(),
    f"{_API}.CONSUMER.INFO.TRAFFIC.backup-ledger": {"backup", "exporter", "operator"},
    f"{_API}.CONSUMER.NAMES.TRAFFIC": {"operator"},
    f"{_API}.CONSUMER.LIST.TRAFFIC": {"operator"},
    f"{_API}.CONSUMER.MSG.NEXT.TRAFFIC.x": {"backup", "exporter", "operator"},
    f"{_API}.CONSUMER.MSG.NEXT.OTHER.x": set(),
    "$JS.ACK.TRAFFIC.x.1.1.1.1.0": {"backup"},
    "$JS.ACK.OTHER.x.1.1.1.1.0": set(),
    # the server itself
    f"{_API}.ACCOUNT.PURGE.$G": set(),
    f"{_API}.META.LEADER.STEPDOWN": set(),
    f"{_API}.SERVER.REMOVE": set(),
    "$SYS.REQ.SERVER.PING": set(),
    "$SYS.REQ.USER.INFO": set(),
}

#: Who may subscribe to a subject; nobody else.
SUBSCRIBE: dict[str, set[str]] = {
    "traffic.v1.*.*": {"consumer", "operator"},
    "traffic.v1.node.dns": {"consumer", "operator"},
    "traffic.>": set(),
    "ledger.v1.*": {"consumer", "operator"},
    "identity.v1.*": {"consumer", "operator"},
    "replay.v1.>": {"consumer", "operator"},
    "backup.v1.TRAFFIC.shard-00": {"backup"},
    "$KV.backup-TRAFFIC.>": set(),
    "_INBOX.x.>": {"consumer"},
    "_INBOX_collector.x.*": {"collector"},
    "_INBOX_collector-check.x.*": {"collector"},
    "_INBOX_backup.x.*": {"backup"},
    "_INBOX_exporter.x.*": {"exporter"},
    "_INBOX_bootstrap.x.*": {"bootstrap"},
    "_INBOX_tail.x.*": {"operator"},
    "_INBOX_audit.x.*": {"operator"},
    "_INBOX_doctor.x.*": {"operator"},
    "_INBOX_restore.x.*": {"operator"},
    ">": set(),
    "*": set(),
    "*.*": set(),
    "$JS.API.>": set(),
    "$JS.ACK.>": set(),
    "$JS.EVENT.ADVISORY.>": set(),
    "$SYS.>": set(),
}

USERS = ("collector", "backup", "exporter", "consumer", "operator", "bootstrap")


class Attempt:
    """A connection of one user that notes what the server refuses."""

    def __init__(self, stand: Stand, user: str) -> None:
        self._settings = stand.settings(user)
        self.refused: set[str] = set()

    async def connect(self) -> Client:
        settings = self._settings
        assert settings.password is not None
        return await nats.connect(
            settings.url,
            user=settings.user,
            password=settings.password.get_secret_value(),
            tls=ssl.create_default_context(cafile=settings.tls_ca),
            error_cb=self._note,
            allow_reconnect=False,
        )

    async def _note(self, error: Exception) -> None:
        found = re.search(r'permissions violation for (?:publish|subscription) to "([^"]+)"', str(error), re.IGNORECASE)
        assert found, error
        self.refused.add(found[1])


@pytest.mark.parametrize("user", USERS)
async def test_each_user_publishes_where_it_may_and_nowhere_else(stand: Stand, user: str) -> None:
    attempt = Attempt(stand, user)
    client = await attempt.connect()
    refused = {subject for subject, users in PUBLISH.items() if user not in users}
    for subject in PUBLISH:
        await client.publish(subject, b"{}")
        await client.flush()
    # Refusals arrive in order, beside the answers; the last one tells that all are there.
    await client.publish("last", b"")
    await eventually(lambda: "last" in attempt.refused)
    await client.close()

    # nats-py hands errors on in lower case.
    assert attempt.refused == {subject.lower() for subject in refused} | {"last"}


@pytest.mark.parametrize("user", USERS)
async def test_each_user_hears_what_it_may_and_nothing_else(stand: Stand, user: str) -> None:
    attempt = Attempt(stand, user)
    client = await attempt.connect()
    refused = {subject for subject, users in SUBSCRIBE.items() if user not in users}
    for subject in SUBSCRIBE:
        await client.subscribe(subject)
        await client.flush()
    # Refusals arrive in order, beside the answers; the last one tells that all are there.
    await client.subscribe("last")
    await eventually(lambda: "last" in attempt.refused)
    await client.close()

    # nats-py hands errors on in lower case.
    assert attempt.refused == {subject.lower() for subject in refused} | {"last"}


def log_in(stand: Stand, user: str | None, password: str | None, *, tls: bool = True) -> bytes:
    """Log in by hand, and return what the server says to it: nats-py leaves a refused connection open."""
    context = ssl.create_default_context(cafile=stand.keys / "consumer" / "ca.crt")
    options: dict[str, object] = {
        "verbose": False,
        "pedantic": False,
        "tls_required": tls,
        "lang": "test",
        "version": "1",
    }
    options |= {name: value for name, value in (("user", user), ("pass", password)) if value is not None}
    with socket.create_connection(("localhost", stand.server.port), 5) as plain:
        assert plain.recv(4096).startswith(b"INFO ")
        connection = context.wrap_socket(plain, server_hostname="localhost") if tls else plain
        with connection:
            connection.sendall(f"CONNECT {json.dumps(options)}\r\nPING\r\n".encode())
            return connection.recv(4096)


@pytest.mark.parametrize(
    ("user", "password"),
    [
        (None, None),
        ("", ""),
        ("collector", ""),
        ("collector", "password"),
        ("admin", "admin"),
        ("$G", "x"),
        ("sys", "sys"),
    ],
)
def test_nobody_else_comes_in(stand: Stand, user: str | None, password: str | None) -> None:
    assert b"Authorization Violation" in log_in(stand, user, password)


@pytest.mark.parametrize("user", USERS)
def test_a_users_password_opens_no_other_user(stand: Stand, user: str) -> None:
    for other in USERS:
        password = (stand.keys / other / "nats-password").read_text()
        answer = log_in(stand, user, password)

        assert (b"PONG" in answer) == (user == other)
        assert (b"Authorization Violation" in answer) == (user != other)


def test_a_hash_is_no_password(stand: Stand) -> None:
    text = (stand.keys / "nats" / "passwords.conf").read_text()
    for user, value in re.findall(r'^(\w+)_PASSWORD: "(.*)"$', text, re.MULTILINE):
        assert b"Authorization Violation" in log_in(stand, user.lower(), value)


def test_there_is_no_way_in_without_tls(stand: Stand) -> None:
    password = (stand.keys / "consumer" / "nats-password").read_text()

    assert b"PONG" not in log_in(stand, "consumer", password, tls=False)
