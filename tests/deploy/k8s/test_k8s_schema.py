"""Every variant builds, and the API's schemas of two Kubernetes versions know every field."""

from __future__ import annotations

import json

import kubernetes_validate
import pytest

from tests.support import rendering

#: The newest, and the oldest that is still maintained.
VERSIONS = ("1.37", "1.35")
#: Kinds that an installation brings itself (Gateway API, cert-manager): no schema of Kubernetes has them.
FOREIGN = {"Gateway", "TLSRoute", "Certificate"}


@pytest.mark.parametrize("variant", rendering.VARIANTS)
def test_every_variant_builds(variant: str) -> None:
    assert rendering.objects(variant)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid(version: str) -> None:
    faults = []
    for manifest in _distinct_objects():
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            faults.append(f"{manifest['kind']} {manifest['metadata']['name']}: {'.'.join(error.path)}: {error.message}")

    assert faults == []


def _distinct_objects() -> list[rendering.Manifest]:
    """Return each object once, however many variants have it: a look at a schema takes 30 ms."""
    found = {
        json.dumps(manifest, sort_keys=True): manifest
        for variant in rendering.VARIANTS
        for manifest in rendering.objects(variant)
        if manifest["kind"] not in FOREIGN
    }
    return list(found.values())


def test_the_schemas_know_a_misspelt_field() -> None:
    """Else the test above would prove nothing."""
    service = next(manifest for manifest in rendering.objects("base") if manifest["kind"] == "Service")
    wrong = {**service, "spec": {**service["spec"], "selektor": {}}}

    with pytest.raises(kubernetes_validate.ValidationError, match="selektor"):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


def test_an_object_is_named_once_and_has_a_namespace_of_ours() -> None:
    for variant in rendering.VARIANTS:
        names = [(m["kind"], m["metadata"].get("namespace"), m["metadata"]["name"]) for m in rendering.objects(variant)]

        assert sorted(set(names), key=str) == sorted(names, key=str)
        assert {"streamgauge", "streamgauge-capture", None} >= {namespace for _, namespace, _ in names}


def test_an_overlay_is_six_lines() -> None:
    for overlay in rendering.OVERLAYS:
        text = (rendering.ROOT / "k8s" / "overlays" / overlay / "kustomization.yaml").read_text()

        assert len(text.splitlines()) <= 6, overlay
