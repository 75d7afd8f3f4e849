"""docker-compose.yml under rules: what every service must have, and what none may."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from streamgauge.secrets.hand_out import DATA, READERS
from streamgauge.settings import SECTIONS, environment_name
from tests.support import require

ROOT = Path(__file__).parents[3]
#: Run to their end; nothing to keep healthy.
ONE_SHOTS = {"prepare", "minio-setup", "bootstrap", "operator"}
#: Root, and why: docs/82-security.md.
ROOTS = {"prepare", "collector"}
#: What each may have of root's powers.
CAPABILITIES = {"prepare": ["CHOWN", "DAC_OVERRIDE", "FOWNER"], "collector": ["NET_RAW"]}
#: Networks with a way out, and who needs it.
OUTSIDE = {"nginx", "alertmanager", "oauth2-proxy", "dashboard"}


def panel() -> dict[str, str]:
    """Return the values of .env."""
    lines = [line for line in (ROOT / ".env").read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def compose() -> dict[str, Any]:
    """Return docker-compose.yml with the values of .env in it, as compose reads it."""
    values = panel()

    def value(match: re.Match[str]) -> str:
        name, _, default = match[1].partition(":-")
        return (
            values.get(name, default) if name in values or ":-" in match[1] else pytest.fail(f"{name} is not in .env")
        )

    return yaml.safe_load(re.sub(r"\$\{([^}]+)\}", value, (ROOT / "docker-compose.yml").read_text()))


SERVICES: dict[str, dict[str, Any]] = compose()["services"]
EACH = pytest.mark.parametrize("name", SERVICES)


@EACH
def test_its_image_has_a_digest(name: str) -> None:
    image = SERVICES[name]["image"]

    assert re.fullmatch(r"[\w./-]+:[\w.-]+(@sha256:[0-9a-f]{64})?", image)
    # Ours are built here, and have a digest once a release has pushed them.
    assert "@sha256:" in image or image.startswith("streamgauge/")
    assert ":latest" not in image


@EACH
def test_it_is_hardened(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service.get("cap_add", []) == CAPABILITIES.get(name, [])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "pid", "ipc", "devices", "userns_mode"} & set(service)
    assert not [mount for mount in service.get("volumes", []) if "docker.sock" in str(mount)]


@EACH
def test_it_has_limits(name: str) -> None:
    limits = SERVICES[name]["deploy"]["resources"]["limits"]

    assert float(limits["cpus"]) > 0
    assert re.fullmatch(r"\d+[MG]", limits["memory"])
    assert SERVICES[name]["logging"]["options"]["max-size"]
    # Everything that is written without a volume is in memory, and bounded.
    assert all("size=" in mount for mount in SERVICES[name]["tmpfs"])


@EACH
def test_its_health_is_checked(name: str) -> None:
    service = SERVICES[name]
    if name in ONE_SHOTS:
        assert service["restart"] == "no"
        assert service["healthcheck"] == {"disable": True}
    else:
        assert service["restart"] == "unless-stopped"
        # No shell between: what is asked is what is run.
        assert service["healthcheck"]["test"][0] == "CMD"
        assert {"interval", "timeout", "retries"} <= set(service["healthcheck"])


@EACH
def test_what_it_waits_for_is_ready_not_just_started(name: str) -> None:
    for other, condition in SERVICES[name].get("depends_on", {}).items():
        wanted = "service_completed_successfully" if other in ONE_SHOTS else "service_healthy"
        assert condition == {"condition": wanted}


@EACH
def test_it_is_no_root_but_where_it_must_be(name: str) -> None:
    user = SERVICES[name].get("user")
    if user is None:
        # Ours say it in the Dockerfile.
        image = SERVICES[name]["image"]
        assert image.startswith("streamgauge/")
        target = image.partition("/")[2].partition(":")[0]
        stage = (ROOT / "Dockerfile").read_text().partition(f" AS {target}\n")[2].partition("\nFROM ")[0]
        user = re.findall(r"^USER (\S+)$", stage, re.MULTILINE)[-1]

    assert (user.split(":")[0] == "0") == (name in ROOTS)


def test_only_nginx_publishes_a_port() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}

    assert list(published) == ["nginx"]
    assert [port["target"] for port in published["nginx"]] == [8443]
    assert published["nginx"][0]["host_ip"] == "127.0.0.1"


def test_networks_are_closed_but_one() -> None:
    networks = compose()["networks"]

    assert {name for name, network in networks.items() if not (network or {}).get("internal")} == {"outside"}
    assert {name for name, service in SERVICES.items() if "outside" in service.get("networks", [])} == OUTSIDE
    assert [name for name, service in SERVICES.items() if service.get("network_mode") == "host"] == ["collector"]


def test_no_secret_is_in_the_environment() -> None:
    secret = re.compile(r"PASSWORD|SECRET|TOKEN|_KEY", re.IGNORECASE)
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if secret.search(variable) and variable != "OAUTH2_PROXY_COOKIE_SECURE":
                assert variable.endswith("_FILE"), (name, variable)
                assert str(value).startswith("/run/secrets/")
    assert not [name for name in panel() if secret.search(name)]


def test_every_setting_exists() -> None:
    """A misspelled STREAMGAUGE_ name would stop the service; better here."""
    known = {environment_name(section, field) for section, model in SECTIONS.items() for field in model.model_fields}
    for service in SERVICES.values():
        for variable in service.get("environment", {}):
            if variable.startswith("STREAMGAUGE_"):
                assert variable.removesuffix("_FILE") in known


def test_everybody_is_handed_keys_and_data_of_its_own_only() -> None:
    volumes = set(compose()["volumes"])
    handed = {mount.split(":")[0] for mount in SERVICES["prepare"]["volumes"][1:]}
    assert handed == volumes == {f"keys-{name}" for name in READERS} | {f"data-{name}" for name in DATA}
    for name, service in SERVICES.items():
        mounted = {mount.split(":")[0] for mount in service.get("volumes", []) if str(mount).startswith("keys-")}
        if name != "prepare":
            assert mounted <= {f"keys-{name}"}
            assert all(mount.endswith(":ro") for mount in service.get("volumes", []) if str(mount).startswith("keys-"))


def test_bind_mounts_are_read_only_and_there() -> None:
    for service in SERVICES.values():
        for mount in service.get("volumes", []):
            source, *_rest, mode = mount.split(":")
            if source.startswith("."):
                assert mode == "ro"
                # What the user brings, or another part of this repository makes.
                if source not in {"./secrets", "./kubeconfig"}:
                    assert (ROOT / source).exists(), source


def test_images_are_those_of_kubernetes() -> None:
    images = yaml.safe_load((ROOT / "k8s" / "base" / "kustomization.yaml").read_text())["images"]
    cluster = {
        image["name"]: image["newTag"] + (f"@{image['digest']}" if "digest" in image else "") for image in images
    }
    references = [value for name, value in panel().items() if name.startswith("IMAGE_")]
    ours = dict(reference.split(":", 1) for reference in references)

    assert {name: tag for name, tag in ours.items() if name in cluster} == {
        name: tag for name, tag in cluster.items() if name in ours
    }
    assert set(ours) - set(cluster) <= {"quay.io/oauth2-proxy/oauth2-proxy"}


def test_the_form_is_the_specification_s() -> None:
    text = (ROOT / "docker-compose.yml").read_text()

    assert compose()["name"] == "streamgauge"
    assert "version" not in compose()
    assert "container_name" not in text


def test_it_follows_the_schema_of_the_compose_specification(tmp_path: Path) -> None:
    (tmp_path / "compose.yml").write_text(yaml.safe_dump(compose()))
    command = [require.program("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", tmp_path / "compose.yml"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert run.returncode == 0, run.stdout


def test_the_schema_knows_a_misspelt_key(tmp_path: Path) -> None:
    """Else the test above would prove nothing."""
    wrong = compose()
    wrong["services"]["nats"]["read_olny"] = True
    (tmp_path / "compose.yml").write_text(yaml.safe_dump(wrong))
    command = [require.program("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", tmp_path / "compose.yml"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert "read_olny" in run.stdout


@pytest.mark.docker
def test_the_compose_command_accepts_every_profile() -> None:
    """It validates against the schema of the compose specification, which it contains."""
    run = subprocess.run(
        ["docker", "compose", "--profile", "*", "config", "--quiet"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
