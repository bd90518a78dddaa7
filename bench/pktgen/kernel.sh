#!/bin/bash
# The kernel's pktgen towards UDP 500 of a virtual address. It cannot carry an IKE message: its frames end as
# `other_version` or `bad_ike`. So it measures how fast the data plane receives and refuses, not redirects. Root; the
# module pktgen.
# usage: kernel.sh INTERFACE DESTINATION-MAC [VIP [FRAME-BYTES [SECONDS [CLIENTS]]]]
set -euo pipefail
[ $# -ge 2 ] || { sed -n 's/^# usage: /usage: /p' "$0" >&2; exit 2; }
IFACE=$1 MAC=$2 VIP=${3:-192.0.2.1} SIZE=${4:-186} TIME=${5:-10} CLIENTS=${6:-64}
modprobe pktgen 2>/dev/null || true
P=/proc/net/pktgen
[ -d $P ] || { echo "this kernel has no pktgen: load the module, or use ikegun" >&2; exit 1; }
set_() { echo "$2" >"$P/$1"; }
trap 'set_ kpktgend_0 rem_device_all' EXIT
set_ kpktgend_0 rem_device_all
set_ kpktgend_0 "add_device $IFACE"
for line in "count 0" "clone_skb 0" "delay 0" "pkt_size $SIZE" "dst_mac $MAC" "dst_min $VIP" "dst_max $VIP" \
    "src_min 192.0.2.128" "src_max 192.0.2.$((127 + CLIENTS))" "flag IPSRC_RND" "flag UDPCSUM" \
    "udp_src_min 500" "udp_src_max 500" "udp_dst_min 500" "udp_dst_max 500"; do
    set_ "$IFACE" "$line"
done
(sleep "$TIME"; set_ pgctrl stop) &
set_ pgctrl start
grep -E 'pps|errors' "$P/$IFACE"
