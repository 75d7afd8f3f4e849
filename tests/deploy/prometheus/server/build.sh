#!/bin/sh
# Builds prometheus and promtool into the folder named, with discovery in Kubernetes and none of the others.
set -eu
cd "$(dirname "$0")"
mkdir -p "$1"
exec go build -trimpath -buildvcs=false -ldflags="-s -w" -tags=remove_all_sd,enable_kubernetes_sd -o "$1/" \
	github.com/prometheus/prometheus/cmd/prometheus github.com/prometheus/prometheus/cmd/promtool
