#!/bin/sh
# Who asks DNS for what: ./dns.sh nats://127.0.0.1:4222 [COUNT]   (collectors with STREAMGAUGE_COLLECTOR_ENCODING=ndjson)
set -eu
url=${1:?usage: ./dns.sh nats://HOST:4222 [COUNT]}

# --raw prints the payloads and nothing else: lines of JSON, several a message.
nats --server "$url" sub --raw 'traffic.v1.*.dns' |
    jq --unbuffered --raw-output '"\(.node) \(.src_ip) \(.dns_name)" + (if .dns_rcode then " rcode \(.dns_rcode)" else "" end)' |
    if [ $# -gt 1 ]; then head -n "$2"; else cat; fi
