#!/bin/bash
# Writes bench/pktgen/requests.pcap: IKE_SA_INIT requests from ikegun's own templates, always the same ones.
# usage: make.sh [COUNT [ikegun options]]   such as: make.sh 64 --size 400 --vip 2001:db8::1
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
BIN=${USHER_BIN:-$HERE/../../target/release}
COUNT=${1:-64}
[ $# = 0 ] || shift
"$BIN/ikegun" --no-huge --memory 128 --quiet --vdev "net_pcap0,tx_pcap=$HERE/requests.pcap" --expect nothing \
    --seed 0 --count "$COUNT" --sources 64 --from-mac 02:00:00:00:00:09 "$@" >/dev/null
echo "$HERE/requests.pcap: $COUNT requests"
