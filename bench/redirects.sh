#!/bin/bash
# Redirects a second of one core: ikegun on core 0, net_vhost <-> net_virtio_user, usher-dataplane static on core 1.
# Needs root and two cores; nothing else should run. usage: redirects.sh [SECONDS]; prints ikegun's result as JSON.
# It fails when an answer is wrong or missing altogether; the figure itself is reported, never judged.
set -euo pipefail
ROOT=$(cd "$(dirname "$0")/.." && pwd)
BIN=${USHER_BIN:-target/release}
[ "${BIN#/}" != "$BIN" ] || BIN=$ROOT/$BIN
SECONDS_=${1:-5}
PAGES=/sys/kernel/mm/hugepages/hugepages-2048kB
for program in ikegun usher-dataplane; do
    [ -x "$BIN/$program" ] || { echo "$BIN/$program is missing: run \`make build\` and \`cargo build --release -p bench\`" >&2; exit 1; }
done
[ "$(id -u)" = 0 ] || { echo "redirects.sh needs root for hugepages: run it with sudo" >&2; exit 1; }
had=$(cat $PAGES/nr_hugepages)
DIR=$(mktemp -d)
NODE= GUN=
cleanup() {
    [ -z "$NODE" ] || kill "$NODE" 2>/dev/null || true
    [ -z "$GUN" ] || kill "$GUN" 2>/dev/null || true
    wait 2>/dev/null || true
    echo "$had" >$PAGES/nr_hugepages
    rm -rf "$DIR"
}
trap cleanup EXIT
need=$((256 - $(cat $PAGES/free_hugepages)))
[ $need -le 0 ] || echo $((had + need)) >$PAGES/nr_hugepages
[ "$(cat $PAGES/free_hugepages)" -ge 230 ] || { echo "512 MiB of hugepages cannot be had: free memory, or reserve them at boot" >&2; exit 1; }

"$BIN/ikegun" --json --seconds "$SECONDS_" --vdev "net_vhost0,iface=$DIR/link.sock" >"$DIR/gun.json" 2>"$DIR/gun.log" &
GUN=$!
for _ in $(seq 100); do [ -S "$DIR/link.sock" ] && break; sleep 0.1; done
unshare -n "$BIN/usher-dataplane" run --profile "$ROOT/platform/profiles/bench.toml" \
    --vdev "net_virtio_user0,path=$DIR/link.sock,packed_vq=1,in_order=1,mrg_rxbuf=0,queue_size=1024,mac=02:00:00:00:00:01" \
    --vip 192.0.2.1 --redirect-to 192.0.2.10 --redirect-to 192.0.2.11 >"$DIR/node.log" 2>&1 &
NODE=$!
status=0
wait "$GUN" || status=$?
GUN=
[ $status = 0 ] || { cat "$DIR/gun.log" "$DIR/node.log" >&2; exit $status; }
cat "$DIR/gun.json"
