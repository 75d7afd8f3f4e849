#!/bin/sh
# Users of the object storage and what each may do; what exists is brought into line, so it may run at any time.
#
# Runs in the storage's own image, which has its client. Keys are read from files and handed on in the environment and on
# standard input: never as arguments, which every process of a machine can read.
set -eu
umask 077

keys=${KEYS:-/run/secrets/minio-setup}
policies=${POLICIES:-/etc/minio/policies}
bucket=${STREAMGAUGE_S3_BUCKET:-streamgauge}
url=${MINIO_URL:-https://minio:9000}
work=${HOME:-/tmp}/setup
mkdir -p "$work/config/certs/CAs"
cp "$keys/ca.crt" "$work/config/certs/CAs/ca.crt"

MC_HOST_storage="${url%%://*}://$(cat "$keys/root-user"):$(cat "$keys/root-password")@${url#*://}"
export MC_HOST_storage
client() { "${MC:-mcli}" --config-dir "$work/config" --quiet "$@"; }

for user in bootstrap backup operator; do
    # The policies name the bucket of the default settings.
    sed "s/streamgauge-bucket/$bucket/g" "$policies/$user.json" > "$work/$user.json"
    client admin policy create storage "streamgauge-$user" "$work/$user.json"
    name=$(cat "$keys/$user-access-key")
    printf '%s\n%s\n' "$name" "$(cat "$keys/$user-secret-key")" | client admin user add storage
    # Attaching a policy twice is an error to the client.
    client admin policy entities storage --user "$name" | grep -q "streamgauge-$user" \
        || client admin policy attach storage "streamgauge-$user" --user "$name"
done
echo "object storage: users bootstrap, backup, operator"
