#!/bin/sh
# Builds the control plane into the file named; clients ask a server for its version, which the linker sets.
set -eu
cd "$(dirname "$0")"
version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
minor=${version#v1.}
set_version="-X k8s.io/component-base/version.gitVersion=$version -X k8s.io/component-base/version.gitMajor=1"
exec go build -trimpath -buildvcs=false \
	-ldflags="-s -w $set_version -X k8s.io/component-base/version.gitMinor=${minor%%.*}" -o "$1" .
