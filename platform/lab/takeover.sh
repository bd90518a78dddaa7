#!/bin/bash
# Three nodes on one bridge, HSRP with timers of 50 and 150 ms, a client that asks for redirects 200 times a second:
# how long until another node answers, for each way in which the active one can go. keepalived in the same run.
#   takeover.sh [COUNT] [--short] [--timers HELLO/HOLD] [--seed N] [--only FAULT,...] [--out FILE]
# COUNT takeovers of each kind (default 30). --timers in msec: 50/150 (default) or 15/50, each with the budgets of its own. --short: 2 each with limits ten times the budget, for `make test`.
. "$(dirname "$0")/lib.sh"
COUNT=30 SHORT='' TIMERS=50/150 SEED=$((RANDOM * 32768 + RANDOM)) OUT=''
FAULTS=kill-usherd,kill-dataplane,link-down,stop-dataplane,planned-sigterm,keepalived-link-down
while [ $# -gt 0 ]; do
    case $1 in
    --short) SHORT=1 COUNT=2 ;;
    --timers) TIMERS=$2; shift ;;
    --seed) SEED=$2; shift ;;
    --only) FAULTS=$2; shift ;;
    --out) OUT=$2; shift ;;
    [0-9]*) COUNT=$1 ;;
    *) echo "usage: $0 [COUNT] [--short] [--timers HELLO/HOLD] [--seed N] [--only FAULT,...] [--out FILE]; faults: $FAULTS" >&2; exit 2 ;;
    esac
    shift
done
[[ $TIMERS =~ ^[0-9]+/[0-9]+$ ]] || { echo "$0: --timers: \"$TIMERS\" is not HELLO/HOLD in msec, as 50/150" >&2; exit 2; }
lab_start takeover
RANDOM=$SEED
NODES=(n1 n2 n3)
SETTLE=${USHER_SETTLE:-60}

# A fault comes at any phase of the hello time.
jitter() { sleep "0.$(printf '%03d' $((RANDOM % 200)))"; }
others() { local n; for n in "${NODES[@]}"; do [ "$n" = "$1" ] || echo "$n"; done; }
taken_over() { local n; for n in $(others "$1"); do [ "$(state_of "$n")" != Active ] || return 0; done; return 1; }

# takeover FAULT: of whoever is active, and back to three sound nodes
takeover() {
    local fault=$1 node
    wait_for "$SETTLE" "one active, one standby, one listening" settled "${NODES[@]}" ||
        die "before $fault: $(for n in "${NODES[@]}"; do echo "$n is $(state_of "$n"),"; done)"
    node=$(active_of "${NODES[@]}")
    tell "mark stable $node"
    jitter
    case $fault in
    kill-usherd) tell "kill KILL $(pid_of "usherd-$node") fault $fault $node" ;;
    kill-dataplane) tell "kill KILL $(pid_of "dataplane-$node") fault $fault $node" ;;
    stop-dataplane) tell "kill STOP $(pid_of "dataplane-$node") fault $fault $node" ;;
    planned-sigterm) tell "kill TERM $(pid_of "usherd-$node") fault $fault $node" ;;
    link-down) tell "link $node down fault $fault $node" ;;
    *) die "no such fault: $fault" ;;
    esac
    sleep 0.8
    wait_for 20 "another node to be active after $fault of $node" taken_over "$node"
    tell "mark fdb $(learned $VMAC4)"
    # What comes back must not answer: it is watched until the next fault.
    case $fault in
    kill-usherd | planned-sigterm) gone "usherd-$node"; usherd_start "$node" ;;
    kill-dataplane) gone "dataplane-$node"; dataplane_start "$node" ;;
    stop-dataplane) tell "kill CONT $(pid_of "dataplane-$node") healed $fault $node" ;;
    link-down) tell "link $node up healed $fault $node" ;;
    esac
    sleep 0.3
}

# Two keepalived on the same bridge, beside nothing else: the nodes of ours are gone by then.
keepalived_round() {
    local n owner vip=192.0.2.50 mac=00:00:5e:00:01:32
    command -v keepalived >/dev/null || die "keepalived is missing: run platform/lab/deps.sh"
    make_space k1 k2
    for n in 1 2; do
        make_link k$n eth0 lan k$n
        on lan ip link set k$n master br0
        address k$n eth0 192.0.2.$((60 + n))/24
        on k$n sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2 net.ipv4.conf.all.rp_filter=0 \
            net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0
        mkdir -p "$RUN/k$n"
        cat >"$RUN/k$n/keepalived.conf" <<EOC
global_defs {
    vrrp_version 3
}
vrrp_instance vpn {
    state BACKUP
    interface eth0
    use_vmac
    virtual_router_id 50
    priority $((100 + 10 * n))
    advert_int 0.05
    nopreempt
    virtual_ipaddress {
        $vip/24
    }
}
EOC
        spawn keepalived-k$n k$n keepalived --dont-fork --log-console --vrrp -f "$RUN/k$n/keepalived.conf" \
            -p "$RUN/k$n/pid" -r "$RUN/k$n/vrrp.pid"
    done
    witness_start keepalived $vip k1,k2 --ping
    owner_of() { for n in k1 k2; do on $n ip -o addr show | grep " $vip/" >/dev/null && { echo $n; return; }; done; return 1; }
    one_owner() { [ "$(for n in k1 k2; do on $n ip -o addr show | grep " $vip/"; done | wc -l)" = 1 ]; }
    for _ in $(seq "$COUNT"); do
        wait_for 20 "one owner under keepalived" one_owner || die "keepalived has no single owner"
        owner=$(owner_of)
        sleep 0.5
        jitter
        tell "link $owner down fault keepalived-link-down $owner"
        sleep 0.8
        tell "mark fdb $(learned $mac)"
        tell "link $owner up healed keepalived-link-down $owner"
        sleep 0.5
    done
    witness_end
}

story "Three nodes, timers msec ${TIMERS%/*} msec ${TIMERS#*/}, priorities 120, 110 and 100; seed $SEED"
make_cluster "${NODES[@]}"
for node in "${NODES[@]}"; do
    cluster_node "$node"
    cluster_files "$node" " standby 1 priority $((130 - 10 * ${node#n}))" " standby 1 timers msec ${TIMERS%/*} msec ${TIMERS#*/}" " standby delay minimum 0 reload 0"
done
ours=$(tr ',' '\n' <<<"$FAULTS" | grep -v '^keepalived')
if [ -n "$ours" ]; then
    cluster_start "${NODES[@]}"
    need "$SETTLE" "one active, one standby, one listening" settled "${NODES[@]}"
    need 30 "redirects" knock client --timeout 1 $VIP4
    say "$(for n in "${NODES[@]}"; do printf '%s %s  ' "$n" "$(state_of "$n")"; done)"
    witness_start usher $VIP4 n1,n2,n3
    # Round by round, so that a slow minute of the machine meets every kind.
    for round in $(seq "$COUNT"); do
        for fault in $ours; do takeover "$fault"; done
        [ -n "$SHORT" ] || say "round $round of $COUNT done"
    done
    wait_for "$SETTLE" "the nodes to settle" settled "${NODES[@]}" || bad "the nodes do not settle after the last fault"
    witness_end
    for node in "${NODES[@]}"; do kill_wait "usherd-$node" TERM; kill_wait "dataplane-$node" TERM; done
fi
if [[ $FAULTS == *keepalived* ]]; then keepalived_round; fi

story "Takeovers"
case $TIMERS in
50/150) limits=(--worst 165 --median 135 --planned 10) ;;
15/50) limits=(--worst 65 --median 50 --planned 10) ;;
*) limits=() ;;
esac
if [ -n "$SHORT" ]; then limits=(--worst 2500 --median 1600 --planned 200); fi
if [ -z "$OUT" ] && [ -z "$SHORT" ]; then
    mkdir -p "$ROOT/bench/results"
    OUT=$ROOT/bench/results/takeover-$(date -u +%Y%m%dT%H%M%SZ)
fi
logs=()
for name in usher keepalived; do [ ! -s "$RUN/$name.events" ] || logs+=("$RUN/$name.events"); done
commit=$(git -C "$ROOT" rev-parse --short HEAD 2>/dev/null || echo unknown)
[ -z "$(git -C "$ROOT" status --porcelain 2>/dev/null)" ] || commit="$commit and changes"
"$PY" "$LAB_DIR/takeover-judge.py" "${logs[@]}" "${limits[@]}" ${OUT:+--out "$OUT"} \
    --note "commit=$commit" --note "date=$(date -u +%FT%TZ)" --note "seed=$SEED" --note "timers=$TIMERS msec" --note "takeovers of each kind=$COUNT" \
    --note "machine=$(nproc) cores, $(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -n 1), Linux $(uname -r)" \
    --note "keepalived=$(keepalived --version 2>&1 | sed -n 's/^Keepalived \(v[0-9.]*\).*/\1/p')" >"$RUN/table.txt"
verdict=$?
[ -z "${TAKEOVER_EVENTS:-}" ] || cp "$RUN"/*.events "$RUN"/*.log "$TAKEOVER_EVENTS/"
if [ $verdict = 0 ]; then ok "within the limits"; else bad "over the limits"; fi
[ -z "$OUT" ] || say "kept as ${OUT#"$ROOT"/}.txt and .json"
# The table is the last that is said, and its last line the sum.
printf '\n%s: %d checks passed, %d failed\n\n' "$LAB_NAME" "$PASS" "$FAIL"
cat "$RUN/table.txt"
exit $((FAIL > 0))
