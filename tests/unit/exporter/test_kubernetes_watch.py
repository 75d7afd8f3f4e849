"""Lists and watches against a server that speaks the protocol, with everything that goes wrong on the way."""

from __future__ import annotations

import aiohttp
import pytest

from services.exporter.kubernetes import access, watch
from services.exporter.kubernetes.watch import Watch
from streamgauge.errors import ConfigurationError
from streamgauge.lifecycle import cancel, spawn
from tests.support import apiserver
from tests.support.apiserver import ApiServer
from tests.support.waiting import eventually


class Cluster:
    """What a follower knows."""

    def __init__(self):
        self.objects = {}
        self.lists = []
        self.changes = []

    def listed(self, resource, objects):
        self.lists.append((resource, len(objects)))
        self.objects = dict(objects)

    def changed(self, _resource, uid, bindings):
        self.changes.append((uid, bindings is None))
        if bindings is None:
            self.objects.pop(uid, None)
        else:
            self.objects[uid] = bindings

    @property
    def names(self):
        return {each.name for bindings in self.objects.values() for each in bindings}


@pytest.fixture(name="server")
async def _server(scratch):
    async with ApiServer(scratch) as server:
        yield server


@pytest.fixture(autouse=True)
def _do_not_wait(monkeypatch):
    """Try again at once, and list in small pages."""
    monkeypatch.setattr(watch, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(watch, "_LONGEST_PAUSE", 0.05)
    monkeypatch.setattr(watch, "PAGE", 2)


@pytest.fixture(name="follow")
async def _follow(server):
    """Return a function that starts to follow the pods; everything is stopped behind the test."""
    found = access.from_kubeconfig(server.kubeconfig())
    tasks = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=found.tls)) as session:

        async def follow():
            cluster = Cluster()
            following = Watch("pods", found, session, cluster)
            tasks.append(spawn(following.run(), name="watch"))
            return following, cluster

        yield follow
        for task in tasks:
            assert not task.done(), task.exception()
            await cancel(task)


async def following(server, follow, *names):
    """Start to follow a cluster with these pods; return when the watch is up."""
    for number, name in enumerate(names):
        server.put("pods", apiserver.pod(name, f"10.0.0.{number + 1}"))
    found, cluster = await follow()
    await eventually(lambda: found.connected and server.watching == 1)
    return found, cluster


async def test_a_list_comes_in_pages_and_a_watch_goes_on_from_there(server, follow):
    """Five pods on three pages, then one comes, one changes, one goes."""
    found, cluster = await following(server, follow, *"abcde")
    assert cluster.names == set("abcde")
    assert [query.get("limit") for query in server.queries("pods", watch=False)] == ["2", "2", "2"]
    assert server.queries("pods", watch=True)[0]["resourceVersion"] == str(server.version)

    new = server.put("pods", apiserver.pod("new", "10.0.0.9"))
    server.put("pods", apiserver.pod("new", "10.0.0.10"))
    server.delete("pods", apiserver.pod("a"))
    await eventually(lambda: cluster.names == {*"bcde", "new"})

    assert [each.ip for each in cluster.objects[new["metadata"]["uid"]]] == ["10.0.0.10"]
    assert (found.lists, found.events, found.trouble) == (1, 3, "")


async def test_a_watch_that_ends_goes_on_behind_what_was_seen(server, follow):
    """After its time is up, or cut in the middle of a line: nothing is listed again, nothing missed, nothing twice."""
    found, cluster = await following(server, follow, "a")
    for ending in (server.end_watches, server.cut, lambda: server.cut(in_line=True)):
        last = server.put("pods", apiserver.pod("b", "10.0.0.2"))["metadata"]["resourceVersion"]
        await eventually(lambda: "b" in cluster.names)
        before = len(server.queries("pods", watch=True))
        ending()
        await eventually(lambda seen=before: len(server.queries("pods", watch=True)) > seen)
        assert server.queries("pods", watch=True)[before]["resourceVersion"] == last
        server.delete("pods", apiserver.pod("b"))
        await eventually(lambda: "b" not in cluster.names)

    assert found.lists == 1
    assert len(cluster.changes) == 6


async def test_a_bookmark_keeps_the_version_young(server, follow):
    """Nothing happens to pods for long, everything older is compacted: the watch still goes on without a list."""
    found, cluster = await following(server, follow, "a")
    server.bookmark()
    await eventually(lambda: found._version == str(server.version))
    server.compact()
    server.cut()
    await eventually(lambda: len(server.queries("pods", watch=True)) == 2 and server.watching == 1)
    server.put("pods", apiserver.pod("b", "10.0.0.2"))
    await eventually(lambda: "b" in cluster.names)

    assert found.lists == 1


@pytest.mark.parametrize("by_status", [True, False])
async def test_a_version_that_is_gone_is_listed_anew(server, follow, by_status):
    """As a status or as an event: what went meanwhile is gone, what came is there."""
    server.gone_by_status = by_status
    found, cluster = await following(server, follow, "a", "b")
    server.refusing = [503] * 3
    server.cut()
    server.delete("pods", apiserver.pod("a"))
    server.put("pods", apiserver.pod("c", "10.0.0.3"))
    server.compact()
    await eventually(lambda: cluster.names == {"b", "c"} and found.connected)

    assert found.lists == 2
    server.put("pods", apiserver.pod("d", "10.0.0.4"))
    await eventually(lambda: "d" in cluster.names)


async def test_gone_in_the_middle_of_a_watch(server, follow):
    """The server ends a watch that is too slow with an error event."""
    found, cluster = await following(server, follow, "a")
    server.fail_watches()
    await eventually(lambda: found.lists == 2 and server.watching == 1)
    server.put("pods", apiserver.pod("b", "10.0.0.2"))

    await eventually(lambda: cluster.names == {"a", "b"})


async def test_another_error_event_is_listed_anew_as_well(server, follow):
    """What failed on the server's side may have cost events."""
    found, cluster = await following(server, follow, "a")
    server.fail_watches({"kind": "Status", "code": 500, "message": "etcd is gone", "reason": "InternalError"})
    await eventually(lambda: found.lists == 2 and found.connected)

    assert cluster.names == {"a"}


async def test_a_list_that_expires_between_its_pages_begins_anew(server, follow):
    """In pages as long as that helps, else in one piece."""
    server.expire_pages = 3
    for number in range(5):
        server.put("pods", apiserver.pod(f"p{number}", f"10.0.0.{number + 1}"))
    found, cluster = await follow()
    await eventually(lambda: found.connected)

    assert len(cluster.names) == 5
    assert cluster.lists == [("pods", 5)]
    assert "limit" not in server.queries("pods", watch=False)[-1]


async def test_a_server_that_is_away_is_asked_again(server, follow):
    """Refused, overloaded, or nobody there: it says why, and comes back by itself."""
    server.refusing = [500, 429, 403]
    found, cluster = await follow()
    await eventually(lambda: "told to answer" in found.trouble)
    assert not found.connected
    await eventually(lambda: found.connected)

    assert found.trouble == ""
    assert cluster.lists == [("pods", 0)]


async def test_a_token_is_read_anew(server, follow):
    """A bound token changes every hour; the file has the new one."""
    server.token = "another"
    found, _ = await follow()
    await eventually(lambda: "401" in found.trouble)
    (server.folder / "token").write_text("another")

    await eventually(lambda: found.connected)


async def test_an_object_that_makes_no_sense_is_left_out(server, follow):
    """It is counted, and the others are read."""
    server.put(
        "pods",
        {
            "metadata": {"name": "odd", "namespace": "shop"},
            "status": {"podIPs": [{"ip": "10.0.0.3"}], "startTime": "later"},
        },
    )
    found, cluster = await following(server, follow, "a")

    assert (found.refused, cluster.names) == (1, {"a"})


async def test_lines_may_be_long(server, follow):
    """A pod with annotations of a megabyte comes in many pieces."""
    _, cluster = await following(server, follow, "a")
    thing = apiserver.pod("large", "10.0.0.2")
    thing["metadata"]["annotations"] = {"notes": "x" * (1 << 20)}
    server.put("pods", thing)

    await eventually(lambda: "large" in cluster.names)


async def test_a_server_that_calls_everything_gone_is_not_flooded(server, follow, monkeypatch):
    """Each attempt that ends at once makes the next pause longer."""
    monkeypatch.setattr(watch, "_LONGEST_PAUSE", 10.0)
    server.refusing = [410] * 1000
    found, _ = await follow()
    await eventually(lambda: found._pause > 0.5)

    assert len(server.requests) < 20


def test_a_pod_s_access_is_its_service_account(scratch, monkeypatch):
    """Its token is read anew each time, and IPv6 addresses have brackets."""
    from streamgauge.secrets.authority import make_authority

    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert not access.is_in_cluster(scratch)
    with pytest.raises(ConfigurationError, match="STREAMGAUGE_EXPORTER_KUBECONFIG"):
        access.in_cluster(scratch)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    (scratch / "token").write_text("one\n")
    (scratch / "ca.crt").write_bytes(make_authority().certificate)
    found = access.in_cluster(scratch)

    assert (found.server, found.token()) == ("https://[fd00::1]:6443", "one")
    (scratch / "token").write_text("two\n")
    assert found.token() == "two"


KUBECONFIG = """
current-context: c
contexts: [{name: c, context: {cluster: k, user: u}}]
clusters: [{name: k, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: u, user: USER}]
"""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"current-context: c": ""}, "current-context is missing"),
        ({"name: c, context": "name: d, context"}, "contexts has no c"),
        ({"server": "serve"}, "server is missing"),
        ({"USER": "{}"}, "user u has neither token"),
        ({"current": "{{"}, "expected"),
        ({'"http://127.0.0.1:1"': '"https://x", certificate-authority: nowhere'}, "No such file"),
    ],
)
def test_a_kubeconfig_that_does_not_do_is_told_in_one_line(scratch, change, said):
    """What is missing, and where."""
    text = KUBECONFIG
    for old, new in change.items():
        text = text.replace(old, new)
    (scratch / "config").write_text(text.replace("USER", "{token: x}"))
    with pytest.raises(ConfigurationError, match=said) as caught:
        access.from_kubeconfig(scratch / "config")

    assert str(scratch / "config") in str(caught.value)


def test_a_kubeconfig_s_program_gives_tokens(scratch):
    """As cloud providers do; the token is used until it expires."""
    program = scratch / "login"
    program.write_text(
        '#!/bin/sh\necho x >> "$1"\n'
        'echo \'{"status": {"token": "from-\'$WHO\'", "expirationTimestamp": "2126-11-25T10:00:00Z"}}\'\n'
    )
    program.chmod(0o755)
    user = f'{{exec: {{command: {program}, args: ["{scratch}/calls"], env: [{{name: WHO, value: me}}]}}}}'
    (scratch / "config").write_text(KUBECONFIG.replace("USER", user))
    found = access.from_kubeconfig(scratch / "config")

    assert [found.token(), found.token()] == ["from-me", "from-me"]
    assert (scratch / "calls").read_text() == "x\n"
    program.write_text("#!/bin/sh\nexit 3\n")
    broken = access.from_kubeconfig(scratch / "config")
    with pytest.raises(PermissionError, match="gave no token"):
        broken.token()
