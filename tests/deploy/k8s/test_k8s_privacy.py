"""Component ``privacy``: a collector with the variables, key and rules of its rendered pod hides what it says."""

from __future__ import annotations

import ipaddress
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml

from streamgauge.demo import packets
from streamgauge.privacy.crypto_pan import CryptoPan
from tests.live.collector.collecting import CollectorProcess, stored
from tests.support import rendering, require
from tests.support.dry.volumes import Configuration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamgauge.embedded import NatsServer

pytestmark = pytest.mark.live

INSIDE, OUTSIDE = "10.244.7.9", "203.0.113.77"
SECRETS = "/run/secrets/streamgauge"
#: Of the pod's variables those that this test has others for: no TLS here, no interface, its own port and folder.
OTHERS = ("STREAMGAUGE_NATS_", "STREAMGAUGE_COLLECTOR_")
_OVERLAY = """
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../../base, ../../../secrets]
components: [../../components/privacy, ../../components/network-policies]
patches:
  - target: {kind: ConfigMap, namespace: streamgauge-capture, name: collector}
    patch: |-
      - {op: replace, path: /data/STREAMGAUGE_PRIVACY_ADDRESSES, value: all}
"""


def pod(folder: Path, variant: str = "base+privacy") -> dict[str, str]:
    """Lay out the collector's Secret below a folder; return its variables, with paths there."""
    return laid_out(folder, rendering.objects(variant))


def laid_out(folder: Path, objects: tuple[dict[str, Any], ...]) -> dict[str, str]:
    configuration = Configuration(objects)
    (daemon,) = (each for each in objects if each["kind"] == "DaemonSet")
    spec, namespace = daemon["spec"]["template"]["spec"], daemon["metadata"]["namespace"]
    (container,) = spec["containers"]
    (volume,) = (each for each in spec["volumes"] if each["name"] == "secrets")
    configuration.fill(volume, namespace, folder / "secrets", 0)
    fields = {"spec.nodeName": "node-1", "status.hostIP": "127.0.0.1"}
    variables = configuration.environment(container, namespace, fields)
    return {name: value.replace(SECRETS, str(folder / "secrets")) for name, value in variables.items()}


def collector(
    folder: Path, variables: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, nats: NatsServer, **settings: object
) -> CollectorProcess:
    for name, value in variables.items():
        if not name.startswith(OTHERS):
            monkeypatch.setenv(name, value)
    path = folder / "capture.pcap"
    request = b"GET /hushhush HTTP/1.1\r\nHost: hidden-host.example\r\n\r\n"
    frames = [
        packets.ethernet(packets.ipv4(packets.udp(packets.dns_query(7, "a.example"), 5, 53), INSIDE, OUTSIDE, 17)),
        packets.ethernet(packets.ipv4(packets.tcp(request, 40_000, 80), OUTSIDE, INSIDE, packets.TCP)),
    ]
    path.write_bytes(packets.pcap((1_764_079_200_000_000_000 + n, frame) for n, frame in enumerate(frames)))
    return CollectorProcess(folder, nats_url=nats.url, source="file", file=path, **settings)


def columns(batches: list[Any], *names: str) -> dict[str, set[Any]]:
    rows = [row for batch in batches for row in batch.to_pylist()]
    return {name: {row[name] for row in rows} - {None} for name in names}


async def test_the_collector_of_the_rendered_pod_hides(
    nats_server: NatsServer, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pods stay pods, the other end gets the pseudonym of the key in the Secret; names are hashed, paths dropped."""
    variables = pod(scratch)
    with collector(scratch, variables, monkeypatch, nats_server) as process:
        assert process.wait(within=120) == 0

    found = columns((await stored(nats_server.url)).batches, "src_ip", "dst_ip", "dns_name", "http_host", "http_path")

    key = bytes.fromhex((scratch / "secrets" / "privacy-key").read_text())
    number = CryptoPan(key).ipv4(np.array([int(ipaddress.ip_address(OUTSIDE))], np.uint32))[0]
    expected = {ipaddress.ip_address(f"::ffff:{ipaddress.ip_address(int(one))}").packed for one in (number,)}
    inside = ipaddress.ip_address(f"::ffff:{INSIDE}").packed
    assert found["src_ip"] | found["dst_ip"] == {inside, *expected}
    assert all(name.startswith("~") and len(name) == 17 for name in found["dns_name"] | found["http_host"])
    assert found["http_path"] == {"(dropped)"}


def test_an_overlay_chooses_otherwise(scratch: Path) -> None:
    """As the page says: by a patch, which comes after components."""
    folder = rendering.tree() / "k8s" / "tested" / "privacy-all"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kustomization.yaml").write_text(_OVERLAY)
    command = [require.program("kubectl"), "kustomize", str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    objects = tuple(manifest for manifest in yaml.safe_load_all(run.stdout) if manifest)

    variables = laid_out(scratch, objects)

    assert variables["STREAMGAUGE_PRIVACY_ADDRESSES"] == "all"
    assert variables["STREAMGAUGE_PRIVACY_NAMES"] == "hash"
    assert Path(variables["STREAMGAUGE_PRIVACY_POLICY"]).is_file()


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        ("missing", "STREAMGAUGE_PRIVACY_KEY_FILE={key}: cannot be read: No such file or directory"),
        ("short", "STREAMGAUGE_PRIVACY_KEY: is not 64 hexadecimal digits; make one: openssl rand -hex 32"),
        ("no rules", "STREAMGAUGE_PRIVACY_POLICY={rules}: cannot be read: No such file or directory"),
    ],
)
def test_a_secret_that_does_not_do_is_one_line(
    nats_server: NatsServer, scratch: Path, monkeypatch: pytest.MonkeyPatch, break_it: str, words: str
) -> None:
    """Started nonetheless it would tell everything: it does not start."""
    variables = pod(scratch)
    key, rules = scratch / "secrets" / "privacy-key", scratch / "secrets" / "privacy-rules.toml"
    secret = key.read_text()
    if break_it == "missing":
        key.unlink()
    elif break_it == "short":
        key.chmod(0o600)
        key.write_text(secret[:-2])
    else:
        rules.unlink()

    process = collector(scratch, variables, monkeypatch, nats_server)
    status, lines = process.run()

    assert status == 2
    assert lines == [f"streamgauge: {words.format(key=key, rules=rules)}"]
    assert secret[:16] not in process.log.read_text()


def test_without_the_component_nothing_is_hidden() -> None:
    """The key is there for whoever wants it; the pod does not ask for it."""
    assert "STREAMGAUGE_PRIVACY_" not in rendering.text("base")
