#!/bin/bash
# The realtime clock of a member, then of the primary, jumps an hour on and back while usherd runs: roles, members, ages and
# redirects know nothing of it, only the times of the log do. A member that starts again with a clock set back is taken as it is.
# libfaketime changes what these processes read, the machine's clock stays as it is. About 45 seconds.
. "$(dirname "$0")/lib.sh"
lab_start clock-step
FAKE=$(ls /usr/lib/*/faketime/libfaketimeMT.so.1 2>/dev/null | head -n 1)
[ -n "$FAKE" ] || { echo "clock-step: libfaketime is missing: run platform/lab/deps.sh" >&2; exit 1; }
NODES=(n1 n2 n3)
make_cluster "${NODES[@]}"
for node in "${NODES[@]}"; do
    cluster_node "$node"
    load_script "$node" 200 # of 1000: 20 %
    CLUSTER_LINES=$(printf ' key cluster-secret\n secondary max-session 1000\n secondary hello 500\n secondary update 500\n holdtime 3000\n load-source script %s\n' "$PROGRAMS/$node/load.sh") \
        cluster_files "$node" " standby 1 priority $((130 - 10 * ${node#n}))" ' standby 1 timers 1 4' \
        ' standby 1 authentication md5 key-string hsrp-secret' ' standby delay minimum 0 reload 0'
done
# Its own usherd alone, and of its clocks only the realtime one.
usherd_start() {
    local node=$1 dir=$RUN/$1
    spawn "usherd-$node" "$node" env LD_PRELOAD="$FAKE" FAKETIME_TIMESTAMP_FILE="$dir/clock" FAKETIME_NO_CACHE=1 \
        FAKETIME_DONT_FAKE_MONOTONIC=1 "$USHER_BIN/usherd" --config "$dir/usher.conf" --run-dir "$dir/run" --profile "$dir/profile.toml"
}
step() { echo "$2" >"$RUN/$1/clock.new"; mv "$RUN/$1/clock.new" "$RUN/$1/clock"; }
for node in "${NODES[@]}"; do step "$node" +0; done
# log_hours NODE: by how many hours the newest time of its log differs from this machine's
log_hours() {
    local at
    at=$(date -ud "$(tail -n 1 "$RUN/usherd-$1.log" | cut -d ' ' -f 1)" +%s 2>/dev/null) || return 1
    echo $(((at - $(date -u +%s) + 5400) / 3600 - 1))
}
# A member's debug lines keep the log's newest time new.
reads() { [ "$(log_hours "$1")" = "$2" ]; }
uptime_of() { usher_at "$1" --json show version | "$PY" -c 'import json, sys; print(json.load(sys.stdin)["uptime_s"])'; }
# changes: HSRP and cluster events so far, of all nodes
changes() { cat "$RUN"/usherd-n?.log | grep -cE '%HSRP-5-STATECHANGE|%CLB-[0-9]-(ROLE|MEMBER|UNHEALTHY|HEALTHY|NOGATEWAY|FEED)'; }
# ages: all that n1 shows as the time since it heard a member, ms, the oldest
oldest() { cluster_json n1 | "$PY" -c 'import json, sys; print(max(g["last_seen_ms"] or 0 for g in json.load(sys.stdin)["gateways"]))'; }
whole() { settled "${NODES[@]}" && members n1 2 && usable n1 192.0.2.11 True && usable n1 192.0.2.12 True && usable n1 192.0.2.13 True; }
# sound WHAT BEFORE: for some hello and hold times nothing has happened
sound() {
    local end=$((SECONDS + 5)) old worst=0
    while [ "$SECONDS" -lt "$end" ]; do
        old=$(oldest)
        [ "${old:-999999}" -le "$worst" ] || worst=${old:-999999}
        sleep 0.2
    done
    equal "$1: events" "$2" "$(changes)"
    in_range "$1: the oldest word from a member, ms" 0 "$worst" 3000
    equal "$1: n1 is active" n1 "$(active_of "${NODES[@]}")"
    check "$1: all are members" whole
}
cluster_start "${NODES[@]}"
need 40 "a settled group and all members" whole
for node in n1 n3; do usher_at $node debug crypto ikev2 cluster >/dev/null; done
need 10 "debug lines of n3" reads n3 0
sleep 2
before=$(changes) began=$(now) up1=$(uptime_of n1) up3=$(uptime_of n3)
spawn watch client "$PY" "$LAB_DIR/knock.py" --watch 120 --interval 0.1 --timeout 1 $VIP4
usher_at n1 show crypto ikev2 cluster | indent

for node in n3 n1; do
    who=$([ $node = n1 ] && echo "the primary" || echo "a member")
    story "The clock of $node, $who, jumps an hour on"
    step $node +3600
    need 10 "$node to read its new clock" reads $node 1
    ok "the log of $node is an hour ahead"
    sound "$node an hour ahead" "$before"
    story "And two hours back"
    step $node -3600
    need 10 "$node to read its new clock" reads $node -1
    ok "the log of $node is an hour behind"
    sound "$node an hour behind" "$before"
done
for node in n1 n3; do
    then=$([ $node = n1 ] && echo "$up1" || echo "$up3")
    took=$("$PY" -c "import time; print(round(time.monotonic() - $began))")
    in_range "uptime of $node has grown by as many seconds as have passed ($took)" $((took - 3)) $(($(uptime_of $node) - then)) $((took + 3))
done
text=$(usher_at n1 show standby)
has "the last state change was minutes ago at most" 'last state change 00:0[0-4]:[0-9]{2}$' "$text"

story "A member starts again with its clock an hour behind the one that it had"
step n3 +3600
need 10 "n3 to read its new clock" reads n3 1
sleep 1
step n3 -3600
kill_wait usherd-n3 KILL
load n3 400
usherd_start n3
loaded_at() { usher_at "$1" show crypto ikev2 cluster details | grep -E '^ +192\.0\.2\.13 ' | grep -E ' 40\.0%$'; }
need 20 "n1 to have its new report" loaded_at n1
need 20 "n2 to have it with its acknowledgements" loaded_at n2
ok "its reports count at the primary and at the other secondary"
kill "$(pid_of watch)"
in_range "clients that were asked" 100 "$(wc -l <"$RUN/watch.log")" 100000
equal "of them not redirected" 0 "$(grep -vc ' redirect ' "$RUN/watch.log")"
hasnt "no panic anywhere" 'panicked' "$(cat "$RUN"/usherd-*.log "$RUN"/dataplane-*.log)"
lab_end
