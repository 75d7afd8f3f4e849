#!/bin/sh
# The system programs that the tests use. As root on Debian: installs what is missing. Elsewhere: says what to install, and
# what is skipped without it. Done in a blink when everything is there.
set -eu

# program:package:what for
wanted="
nginx:nginx:tests/deploy/nginx
htpasswd:apache2-utils:tests/deploy/nginx
openssl:openssl:tests/deploy/nginx
tshark:tshark:decoding compared with Wireshark
softflowd:softflowd:benchmarks
nfcapd:nfdump:exported flows
argus:argus-server:benchmarks
racount:argus-client:benchmarks
tcpdump:tcpdump:captures compared, benchmarks
prometheus:prometheus:scraping and alert rules
promtool:prometheus:alert rules
chromium:chromium:pages in a browser
prometheus-alertmanager:prometheus-alertmanager:the cluster as processes
nft:nftables:network policies of the cluster as processes
unshare:util-linux:the cluster as processes
ip:iproute2:captures in network namespaces
gcc:gcc:benchmarks
"
missing="" packages=""
PATH="$PATH:/usr/sbin:/sbin"
for line in $(printf '%s' "$wanted" | tr ' ' '~'); do
    program=${line%%:*}
    rest=${line#*:}
    if ! command -v "$program" >/dev/null 2>&1; then
        packages="$packages ${rest%%:*}"
        missing="$missing  $program ($(printf '%s' "${rest#*:}" | tr '~' ' '))
"
    fi
done
# A library has no program to look for.
if ! ldconfig -p 2>/dev/null | grep -q 'libpcap\.so'; then
    packages="$packages libpcap0.8"
    missing="$missing  libpcap (capture filters)
"
fi
[ -n "$packages" ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    # A package must not start a server of its own on this machine.
    policy=/usr/sbin/policy-rc.d
    made=""
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' > "$policy"
        chmod 755 "$policy"
        made=yes
    fi
    trap '[ -z "$made" ] || rm -f "$policy"' EXIT
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2086 the list is words
    apt-get install -y -qq --no-install-recommends $packages >/dev/null
else
    printf 'tests that need these are skipped:\n%sinstall as root:  apt-get install%s\n' "$missing" "$packages" >&2
fi
