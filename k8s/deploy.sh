#!/bin/sh
# Puts an overlay into the cluster of the current context. `make deploy OVERLAY=dev`
set -eu
overlay=${1:?which overlay? one of: $(ls "$(dirname "$0")/overlays" | tr '\n' ' ')}
cd "$(dirname "$0")/.."

fail() {
    echo "deploy: $*" >&2
    exit 1
}

[ -d "k8s/overlays/$overlay" ] || fail "no overlay $overlay; there are: $(ls k8s/overlays | tr '\n' ' ')"
# Unless they come from elsewhere (k8s/examples/external-secrets).
if grep -qE '/secrets([], ]|$)' "k8s/overlays/$overlay/kustomization.yaml" && [ ! -f secrets/kustomization.yaml ]; then
    fail "no secrets yet: run \`make secrets\`"
fi
kubectl version >/dev/null 2>&1 || fail "no cluster answers; is the context right? \`kubectl config current-context\`"

manifests=$(mktemp)
trap 'rm -f "$manifests"' EXIT
kubectl kustomize "k8s/overlays/$overlay" > "$manifests"

# A collector that is to hide what its frames would tell refuses to start, and so would one after the other.
if grep -q '^  STREAMGAUGE_PRIVACY_' "$manifests" && grep -qE '^  STREAMGAUGE_COLLECTOR_FRAME_BYTES: "?[1-9]' "$manifests"; then
    fail "components privacy and frames exclude each other: frames hold everything clear; take one out of k8s/overlays/$overlay"
fi

# The collectors come from the nodes' addresses: with others in the policies none of them would get in.
if grep -q '^kind: NetworkPolicy' "$manifests"; then
    addresses=$(kubectl get nodes -o jsonpath='{.items[*].status.addresses[?(@.type=="InternalIP")].address}')
    # shellcheck disable=SC2086 # a list of words
    ${PYTHON:-python3} k8s/check_nodes.py "$manifests" $addresses || fail "correct k8s/overlays/$overlay/nodes.yaml"

    # Where the network wraps packets between nodes (Calico's IPIP and VXLAN, flannel's VXLAN), a collector's come from its
    # node's end of the tunnel. Not refused: not every way between two nodes is wrapped.
    tunnels=$(kubectl get nodes -o jsonpath='{range .items[*]}{.metadata.annotations.projectcalico\.org/IPv4IPIPTunnelAddr}{"\n"}{.metadata.annotations.projectcalico\.org/IPv4VXLANTunnelAddr}{"\n"}{.metadata.annotations.flannel\.alpha\.coreos\.com/backend-type}={.spec.podCIDR}{"\n"}{end}' |
        sed -n -e 's|^vxlan=\([^/]*\)/.*|\1|p' -e '/^[0-9.][0-9.]*$/p')
    # shellcheck disable=SC2086 # lists of words
    if [ "$(echo $addresses | wc -w)" -gt 1 ] && ! ${PYTHON:-python3} k8s/check_nodes.py "$manifests" $tunnels; then
        echo "deploy: warning: these are ends of the network's tunnels; see \"Who reaches whom\" in docs/13-kubernetes.md" >&2
    fi
fi

# A NATS server that was alone deletes its streams half a minute after it has become one of three, and three know nothing of
# each other's once they are alone: what is not stored yet would be lost.
servers=$(kubectl get statefulset -n streamgauge nats --ignore-not-found -o 'jsonpath=servers={.spec.replicas}' 2>/dev/null || true)
grep -q '^  name: nats-cluster-' "$manifests" && wanted=cluster || wanted=alone
case "$servers-$wanted" in
    servers=1-cluster | servers=[2-9]*-alone)
        fail "NATS runs with servers: ${servers#servers=}; this overlay changes one to several or back, which loses the stream; the way is in docs/14-upgrade.md" ;;
esac

# A Job cannot be changed; these two may run again at any time.
kubectl delete job --ignore-not-found -n streamgauge bootstrap minio-setup >/dev/null 2>&1 || true
# By the server: a ConfigMap may be longer than the annotation that the client would keep it in.
kubectl apply --server-side --force-conflicts -f "$manifests"

echo
echo "deployed to context $(kubectl config current-context); watch: kubectl get pods -A -l app.kubernetes.io/part-of=streamgauge -w"
echo "the door: see docs/13-kubernetes.md; login: secrets/login.txt"
