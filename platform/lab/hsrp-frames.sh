#!/bin/bash
# One node, and beside it on the LAN a peer that is a Python script: coup, resign, higher, equal and lower priority, bad
# authentication, frames that lie, and a flood. What the node does is seen on the wire and in `usher show standby`.
. "$(dirname "$0")/lib.sh"
lab_start hsrp-frames
make_cluster n1
make_space peer
make_link peer eth0 lan peer
on lan ip link set peer master br0
cluster_node n1
cluster_files n1 " standby 1 priority 100" " standby 1 preempt" " standby 1 timers msec 200 msec 800" \
    " standby 1 authentication text lab" " standby 3 ip 192.0.2.3" " standby 3 preempt" " standby 3 timers msec 200 msec 800" \
    " standby 3 authentication md5 key-string Lab-Key-3"
cluster_start n1
need 30 "the node to be active" settled n1
need 30 "redirects" knock client --timeout 1 $VIP4
"$PY" "$LAB_DIR/hsrp-frames.py" --peer "$(ns peer)" --lan "$(ns lan)" --client "$(ns client)" --node "$(ns n1)" --usher "$USHER_BIN/usher" \
    --run-dir "$RUN/n1/run" --pid "$(pid_of usherd-n1)" --log "$RUN/usherd-n1.log" | tee "$RUN/frames.txt"
PASS=$(grep -c '^  ok ' "$RUN/frames.txt") FAIL=$(grep -c '^  FAIL ' "$RUN/frames.txt")
grep -q '^  end$' "$RUN/frames.txt" || bad "the script ended early"
check "the daemon lives" running usherd-n1
lab_end
