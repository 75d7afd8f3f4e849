"""The example for the External Secrets Operator asks for exactly the Secrets that `make secrets` would make."""

from __future__ import annotations

import subprocess

import yaml

from tests.support import rendering, require

_OVERLAY = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../../base, ../../examples/external-secrets]
components: [../../components/oidc]
"""


def objects() -> list[rendering.Manifest]:
    """Return the objects of an overlay with the example in place of secrets/."""
    folder = rendering.tree() / "k8s" / "tested" / "external-secrets"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kustomization.yaml").write_text(_OVERLAY)
    command = [require.program("kubectl"), "kustomize", str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return [manifest for manifest in yaml.safe_load_all(run.stdout) if manifest]


def test_it_asks_for_what_make_secrets_makes_and_pods_find_it() -> None:
    made = objects()
    asked = {
        (
            manifest["metadata"]["namespace"],
            manifest["metadata"]["name"],
            manifest["spec"]["dataFrom"][0]["extract"]["key"],
        )
        for manifest in made
        if manifest["kind"] == "ExternalSecret"
    }
    generated = yaml.safe_load((rendering.tree() / "secrets" / "kustomization.yaml").read_text())["secretGenerator"]

    assert asked == {(each["namespace"], each["name"], f"streamgauge/{each['name']}") for each in generated}
    assert not [manifest for manifest in made if manifest["kind"] == "Secret"]

    mounted = set()
    for manifest in made:
        template = manifest.get("spec", {}).get("jobTemplate", manifest).get("spec", {}).get("template", {})
        for volume in template.get("spec", {}).get("volumes", []):
            if "secret" in volume:
                mounted.add((manifest["metadata"]["namespace"], volume["secret"]["secretName"]))

    assert len(mounted) >= 10
    assert mounted <= {(namespace, name) for namespace, name, _key in asked}
