#!/bin/bash
# Default timers, 3 and 10 seconds: cold start, takeover and preemption take the time that the protocol implies.
# Group 1 is of n1 and n2: cold start, then n1's data plane is killed. Group 4 is of n1 alone until n3 comes with a
# higher priority and preempts. About one minute.
. "$(dirname "$0")/lib.sh"
lab_start standby-default
SLACK=${USHER_SLACK:-1.5}
make_cluster n1 n2 n3
for node in n1 n2 n3; do cluster_node $node; done
cluster_files n1 " standby 1 priority 110" " standby 4 ip 192.0.2.4"
cluster_files n2 " standby 1 priority 100"
cluster_files n3 " standby 1 priority 10" " standby 4 ip 192.0.2.4" " standby 4 priority 150" " standby 4 preempt"

# reached NODE GROUP STATE: the time of its first change to that state, seconds since the epoch
reached() {
    local stamp
    stamp=$(sed -n "s/^\([^ ]*\) .*%HSRP-5-STATECHANGE: .* Grp $2 state [A-Za-z]* -> $3\( .*\)\{0,1\}$/\1/p" "$RUN/usherd-$1.log" | head -n 1)
    [ -n "$stamp" ] && date -ud "$stamp" +%s.%N
}
# within TEXT LOW HIGH FROM TO: seconds, the machine's slack added above
within() {
    local took
    took=$("$PY" -c "print(f'{float(\"${5:-nan}\") - float(\"$4\"):.2f}')")
    if "$PY" -c "import sys; sys.exit(not $2 - 0.1 <= float('$took') <= $3 + $SLACK)"; then
        ok "$1: $took s (the protocol: $2 to $3)"
    else
        bad "$1: $took s, wanted $2 to $3"
    fi
}
is() { [ "$(state_of "$1" "$2")" = "$3" ]; }

story "Cold start"
began=$(date +%s.%N)
cluster_start n1 n2
need 40 "n1 to be active" is n1 1 Active
need 10 "redirects" knock client --timeout 1 $VIP4
# Listen for one hold time, Speak for one; the `standby delay` of 5 s at a start may come before.
within "n1 is active after" 20 25 "$began" "$(reached n1 1 Active)"
need 10 "n1 to be active in group 4" is n1 4 Active

story "Preemption: n3 comes into group 4 with priority 150"
usherd_start n3
dataplane_start n3
came=$(date +%s.%N)
need 30 "n3 to be active" is n3 4 Active
# A hold time is listened through once the data plane is there, then the next hello of the active router calls for a coup.
within "n3 is active after" 10 14 "$came" "$(reached n3 4 Active)"
check "n1 gave the role up" wait_for 15 "n1 to leave" bash -c "[ -n '$(reached n3 4 Active)' ]"
check "n1 is not active in group 4" wait_for 5 "it" bash -c "! grep -q 'Grp 4 state .* -> Active' <(tail -n 1 <(grep 'Grp 4 state' '$RUN/usherd-n1.log'))"
check "n1 is still active in group 1" is n1 1 Active

story "Takeover: n1's data plane is killed"
need 40 "n2 to be standby" is n2 1 Standby
killed=$(date +%s.%N)
kill_wait dataplane-n1 KILL
need 20 "n2 to be active" is n2 1 Active
# The hold time runs from the last hello, which was up to 3 s before.
within "n2 is active after" 7 10 "$killed" "$(reached n2 1 Active)"
check "redirects go on" wait_for 5 "redirects" knock client --timeout 1 $VIP4
lab_end
