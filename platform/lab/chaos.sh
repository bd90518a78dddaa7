#!/bin/bash
# Three nodes, two groups, and whatever can go wrong, at random: processes killed, stopped, ended, links down, frames
# lost, the LAN split. Every minute everything is mended and there must be one active. At the end no address, macvlan,
# multicast membership, socket or process may be left over.
#   chaos.sh [--seconds N] [--timers HELLO/HOLD] [--seed N]       (600 seconds, 50/150 msec by default)
. "$(dirname "$0")/lib.sh"
SECONDS_TO_RUN=600 TIMERS=50/150 SEED=$((RANDOM * 32768 + RANDOM))
while [ $# -gt 0 ]; do
    case $1 in
    --seconds) SECONDS_TO_RUN=$2; shift ;;
    --timers) TIMERS=$2; shift ;;
    --seed) SEED=$2; shift ;;
    *) echo "usage: $0 [--seconds N] [--timers HELLO/HOLD] [--seed N]" >&2; exit 2 ;;
    esac
    shift
done
[[ $TIMERS =~ ^[0-9]+/[0-9]+$ ]] || { echo "$0: --timers: \"$TIMERS\" is not HELLO/HOLD in msec, as 50/150" >&2; exit 2; }
lab_start chaos
RANDOM=$SEED
NODES=(n1 n2 n3)
SETTLE=${USHER_SETTLE:-60}
export CLUSTER_V6=1
story "Three nodes, IPv4 and IPv6, timers $TIMERS msec, $SECONDS_TO_RUN seconds; seed $SEED"
make_cluster "${NODES[@]}"
for node in "${NODES[@]}"; do
    cluster_node "$node"
    lines=()
    for group in 1 2; do
        lines+=(" standby $group priority $((130 - 10 * ${node#n}))" " standby $group timers msec ${TIMERS%/*} msec ${TIMERS#*/}")
        [ "$node" = n3 ] || lines+=(" standby $group preempt")
    done
    cluster_files "$node" "${lines[@]}"
done
cluster_start "${NODES[@]}"

all_settled() { STATES_GROUP=1 settled "${NODES[@]}" && STATES_GROUP=2 settled "${NODES[@]}"; }
# owners ADDRESS: the nodes on which it is
# Not `grep -q`: it would end at the first match, and `ip`, which writes line by line, by a broken pipe.
owners() { local n; for n in "${NODES[@]}"; do if on "$n" ip -o addr show | grep " $1/" >/dev/null; then echo "$n"; fi; done; }
# What a node holds, as text that must be the same at the end: macvlans, exception device, memberships, processes,
# listening and HSRP sockets, files of the run directory. The role decides on addresses: they are checked apart.
holdings() {
    on "$1" ip -o link show | sed 's/^[0-9]*: \([^:@]*\).*/link \1/' | sort
    on "$1" ip -o maddr show | awk '{ print "member", $2, $3, $4, $5 }' | grep -vE '33:33:ff:|ff02::1:ff' | sort
    for pid in $(ip netns pids "$(ns "$1")"); do
        echo "process $(cat "/proc/$pid/comm" 2>/dev/null)"
    done | sort
    on "$1" ss -Huan | awk '{ print "udp", $4 }' | sort
    on "$1" ss -Htln | awk '{ print "tcp", $4 }' | sort
    find "$RUN/$1/run" | sort | sed "s|$RUN||; s/^/file /"
}
# fds NODE PROCESS
fds() { find "/proc/$(pid_of "$2-$1")/fd" -type l 2>/dev/null | wc -l; }
need "$SETTLE" "one active, one standby, one listening in both groups" all_settled
need 30 "redirects" knock client --timeout 1 $VIP4
declare -A FDS UP
for node in "${NODES[@]}"; do
    holdings "$node" >"$RUN/$node.before"
    for what in usherd dataplane; do FDS[$what-$node]=$(fds "$node" $what); done
    UP[usherd-$node]=up UP[dataplane-$node]=up UP[link-$node]=up UP[loss-$node]=up
done
UP[split]=up
indent <"$RUN/n1.before"
witness_start usher $VIP4 n1,n2,n3 --rate 100

# loss NODE: four frames of ten, both ways
loss() {
    on lan nft -f - <<NFT || bad "nft cannot lose the frames of $1"
table netdev loss_$1 {
    chain from {
        type filter hook ingress device "$1" priority 0; policy accept;
        numgen random mod 100 < 40 drop
    }
    chain to {
        type filter hook egress device "$1" priority 0; policy accept;
        numgen random mod 100 < 40 drop
    }
}
NFT
}
# Both kinds of process: how they go; a link; loss; the nodes cut from one another, not from the client.
breaks() {
    local key=$1 node=${1#*-} signals=(KILL TERM STOP) signal
    signal=${signals[RANDOM % 3]}
    UP[$key]=down
    case $key in
    usherd-* | dataplane-*)
        UP[$key]=$signal
        tell "kill $signal $(pid_of "$key") break $key $signal"
        [ $signal = STOP ] || gone "$key"
        ;;
    link-*) tell "link $node down break $key" ;;
    loss-*) tell "mark break $key"; loss "$node" ;;
    split) tell "mark break split"; for node in "${NODES[@]}"; do on lan bridge link set dev "$node" isolated on; done ;;
    esac
}
mends() {
    local key=$1 node=${1#*-}
    case $key in
    usherd-* | dataplane-*)
        if [ "${UP[$key]}" = STOP ]; then tell "kill CONT $(pid_of "$key") mend $key"; else tell "mark mend $key"; "${key%-*}_start" "$node"; fi ;;
    link-*) tell "link $node up mend $key" ;;
    loss-*) on lan nft delete table netdev "loss_$node"; tell "mark mend $key" ;;
    split) for node in "${NODES[@]}"; do on lan bridge link set dev "$node" isolated off; done; tell "mark mend split" ;;
    esac
    UP[$key]=up
}
# Nothing may end unasked.
all_alive() {
    local key
    for key in "${!UP[@]}"; do
        case $key in
        usherd-* | dataplane-*) [ "${UP[$key]}" != up ] || running "$key" || { bad "$key ended by itself"; tail -n 5 "$RUN/$key.log" | indent; mends "$key"; } ;;
        esac
    done
}
# Nothing is broken any more: one active soon.
mend_all() {
    local key
    for key in "${!UP[@]}"; do [ "${UP[$key]}" = up ] || mends "$key"; done
    local began=$SECONDS
    if wait_for "$SETTLE" "the nodes to settle" all_settled; then
        ok "one active and one standby in both groups, $((SECONDS - began)) s after $1"
    else
        bad "after $1: group 1 $(states "${NODES[@]}" | tr '\n' ' '), group 2 $(STATES_GROUP=2 states "${NODES[@]}" | tr '\n' ' ')"
    fi
}

# In a fixed order, so that the seed decides.
mapfile -t KEYS < <(printf '%s\n' "${!UP[@]}" | sort)
began=$SECONDS minute=0 count=0
while [ $((SECONDS - began)) -lt "$SECONDS_TO_RUN" ]; do
    key=${KEYS[RANDOM % ${#KEYS[@]}]}
    if [ "${UP[$key]}" = up ]; then breaks "$key"; count=$((count + 1)); else mends "$key"; fi
    sleep "$((RANDOM % 2)).$((RANDOM % 10))"
    all_alive
    if [ $(((SECONDS - began) / 60)) -gt $minute ]; then
        minute=$(((SECONDS - began) / 60))
        mend_all "$count faults in $minute min"
    fi
done

story "The end, after $count faults"
mend_all "everything is mended"
tell "mark end"
sleep 2
witness_end
for at in "1 $VIP4" "2 $VIP6"; do
    group=${at% *} address=${at#* }
    equal "only the active node of group $group has $address" "$(STATES_GROUP=$group active_of "${NODES[@]}")" "$(owners "$address" | tr '\n' ' ' | sed 's/ $//')"
done
for node in "${NODES[@]}"; do
    holdings "$node" >"$RUN/$node.after"
    check "$node: links, memberships, sockets, processes and files as at the start" diff "$RUN/$node.before" "$RUN/$node.after"
    for what in usherd dataplane; do
        check "$node: $what has $(fds "$node" $what) files open, ${FDS[$what-$node]} at the start" test "$(fds "$node" $what)" -le $((FDS[$what-$node] + 3))
    done
    rss=$(awk '/^VmRSS/ { print $2 }' "/proc/$(pid_of "usherd-$node")/status")
    check "$node: usherd holds $rss KiB, at most 64 MiB" test "$rss" -le 65536
done
check "twenty knocks are redirected" knock client --count 20 $VIP4
check "twenty more over IPv6" knock client --count 20 $VIP6
# A split or lossy LAN may have two actives; else no request has two answers. Two seconds are for settling.
said=$("$PY" - "$RUN/usher.events" <<'PYTHON'
import sys
split, until, by, asked, answered = set(), 0.0, {}, 0, 0
bad = both = 0
rows = sorted((line.split() for line in open(sys.argv[1])), key=lambda r: float(r[0]))
for row in rows:
    at, kind, words = float(row[0]), row[1], row[2:]
    if kind == "mark" and words[:1] == ["break"] and words[1].startswith(("split", "loss", "link")): split.add(words[1])
    if kind == "mark" and words[:1] == ["mend"] and words[1] in split: split.discard(words[1]); until = at + 2
    if kind == "ask": asked += 1
    if kind == "got": answered += 1
    if kind == "answer":
        first = by.setdefault(words[0], words[1])
        if first != words[1]:
            both += 1
            bad += not split and at > until
print(f"{asked} requests, {answered} answered, {both} by two nodes, {bad} of these on a whole LAN")
sys.exit(bad > 0)
PYTHON
)
check "no request has two answers on a whole LAN: $said" test $? = 0
# A takeover is false when the active node and its way to the LAN were sound, and the one that took over had no claim: a lower
# priority. On a busy machine a node may be late; the count is reported, not judged.
false=$("$PY" - "$RUN" <<'PYTHON'
import datetime, glob, re, sys
run = sys.argv[1]
faults = []  # (from, until, node or None for the whole LAN)
open_faults = {}
rows = sorted((line.split() for line in open(f"{run}/usher.events")), key=lambda r: float(r[0]))
for row in rows:
    at, words = float(row[0]), row[2:]
    if "break" in words: open_faults.setdefault(words[words.index("break") + 1], at)
    if "mend" in words:
        key = words[words.index("mend") + 1]
        if key in open_faults: faults.append((open_faults.pop(key), at + 2, key.split("-")[1] if "-" in key else None))
faults += [(at, float("inf"), key.split("-")[1] if "-" in key else None) for key, at in open_faults.items()]
changes = []
for name in glob.glob(f"{run}/usherd-n?.log"):
    node = name[-6:-4]
    for line in open(name, errors="replace"):
        found = re.match(r"(\S+Z) .*%HSRP-5-STATECHANGE: (.*) state \S+ -> Active", line)
        if found:
            at = datetime.datetime.fromisoformat(found[1].replace("Z", "+00:00")).timestamp()
            changes.append((at, found[2], node))
active, false = {}, 0
for at, group, node in sorted(changes):
    before = active.get(group)
    active[group] = node
    if before is None or before == node: continue
    sound = not any(start <= at <= end and of in (None, before) for start, end, of in faults)
    false += sound and node > before  # n1 has the highest priority
print(f"{false} false takeovers of {len(changes)} changes to Active")
PYTHON
)
say "$false"
[ -z "${CHAOS_EVENTS:-}" ] || cp "$RUN"/*.events "$RUN"/*.log "$RUN"/*.before "$RUN"/*.after "$CHAOS_EVENTS/"
say "seed $SEED"
if [ "$SECONDS_TO_RUN" -ge 300 ]; then
    mkdir -p "$ROOT/bench/results"
    out=$ROOT/bench/results/chaos-$(date -u +%Y%m%dT%H%M%SZ).txt
    {
        printf 'chaos: %s seconds, timers %s msec, %s faults, seed %s\n' "$SECONDS_TO_RUN" "$TIMERS" "$count" "$SEED"
        printf '%s\n' "$false"
        printf 'commit %s, %s cores, %s, Linux %s\n' "$(git -C "$ROOT" rev-parse --short HEAD 2>/dev/null || echo unknown)" "$(nproc)" \
            "$(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -n 1)" "$(uname -r)"
        printf '%s\n%d checks passed, %d failed\n' "$said" "$PASS" "$FAIL"
        printf 'missed: %s\n' "${MISSED[@]:-nothing}"
    } >"$out"
    say "kept as ${out#"$ROOT"/}"
fi
lab_end
