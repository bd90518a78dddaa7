#!/bin/bash
# 63 members report to one primary every 100 ms, encrypted: what that costs usherd. The members are one process with 63
# addresses (controlplane/examples/members.rs). The share of a core is reported; it is a failure only when a member is lost,
# when somebody is not heard, or from 50 % on, ten times the budget.
#   members.sh [--seconds N] [--timers 'HELLO HOLD']   HSRP's timers, by default those of HSRP; as `msec 50 msec 150`
. "$(dirname "$0")/lib.sh"
SECONDS_TO_RUN=20 TIMERS='3 10'
while [ $# -gt 0 ]; do
    case $1 in
    --seconds) SECONDS_TO_RUN=${2:?} ;;
    --timers) TIMERS=${2:?} ;;
    *) die "$1: not an option; members.sh [--seconds N] [--timers 'HELLO HOLD']" ;;
    esac
    shift 2
done
lab_start members
MEMBERS=${USHER_MEMBERS:-$USHER_BIN/examples/members}
[ -x "$MEMBERS" ] || die "$MEMBERS is missing: cargo build --release -p controlplane --example members"
make_cluster n1
cluster_node n1
CLUSTER_LINES=$(printf ' key cluster-secret\n max-nodes 64\n secondary max-session 1000\n secondary hello 100\n secondary update 100\n holdtime 1000\n load-source fixed half-open 0 ike 100 child 100\n') \
    cluster_files n1 ' standby delay minimum 0 reload 0' " standby 1 timers $TIMERS"
cluster_start n1
need 60 "n1 to be active" settled n1
from=()
for host in $(seq 130 192); do on client ip addr add "192.0.2.$host/24" dev eth0; from+=("192.0.2.$host"); done
spawn members client "$MEMBERS" --to "$VIP4:2012" --key cluster-secret --update 100 --seconds $((SECONDS_TO_RUN + 12)) "${from[@]}"
heard() { [ "$(usher_at n1 --json show crypto ikev2 cluster | "$PY" -c "import json, sys; print(sum(g['usable'] or g['mark'] != '!' for g in json.load(sys.stdin)['gateways']))")" = 64 ]; }
need 10 "all 64 at the primary" heard
ticks() { awk '{ print $14 + $15 }' "/proc/$(pid_of usherd-n1)/stat"; }
# What a hypervisor takes while usherd runs counts as usherd's: ticks of steal and of all on all processors.
machine() { awk '/^cpu / { for (i = 2; i <= 9; i++) all += $i; print $9, all; exit }' /proc/stat; }
read -r stolen all < <(machine)
before=$(ticks) from_count=$(usher_at n1 show crypto ikev2 cluster stats | sed -n 's/.*updates_heard *\([0-9]*\).*/\1/p')
sleep "$SECONDS_TO_RUN"
after=$(ticks) to_count=$(usher_at n1 show crypto ikev2 cluster stats | sed -n 's/.*updates_heard *\([0-9]*\).*/\1/p')
read -r stolen_after all_after < <(machine)
steal=$(((stolen_after - stolen) * 100 / (all_after - all)))
share=$("$PY" -c "print(f'{($after - $before) / $(getconf CLK_TCK) / $SECONDS_TO_RUN * 100:.1f}')")
say "$(((to_count - from_count) / SECONDS_TO_RUN)) updates a second; usherd took $share % of a core (budget 5 %; HSRP's timers $TIMERS), the hypervisor $steal % of all processors"
check "every member is heard to the end" heard
check "usherd took less than half of a core" "$PY" -c "import sys; sys.exit($share >= 50)"
check "at least half of the updates were heard" [ $((to_count - from_count)) -ge $((63 * 5 * SECONDS_TO_RUN)) ]
rss=$(awk '/^VmRSS/ { print $2 }' "/proc/$(pid_of usherd-n1)/status")
check "usherd holds $rss KiB, at most 64 MiB" test "$rss" -le 65536
hasnt "no member was lost" 'no longer connected' "$(cat "$RUN/usherd-n1.log")"
lab_end
