#!/bin/bash
# One node alone. usherd killed: redirects go on until the lease ends, then requests pass to the local daemon; started
# again: redirects resume within a second. usher-dataplane killed and started again: they resume within two.
. "$(dirname "$0")/lib.sh"
lab_start restart
LEASE=10
# A busy machine is late; what is measured is printed beside the goal.
SLACK=${USHER_SLACK:-1.5}
make_network
gateway_start node
usher_start
swan_ready node

watch_start() { spawn watch client "$PY" "$LAB_DIR/knock.py" --watch "$1" --interval 0.05 --timeout 0.25 $VIP4; }
# seen FROM WHAT first|last: the time, after FROM, of the first or last knock with that verdict; empty when none
seen() {
    "$PY" - "$RUN/watch.log" "$1" "$2" "$3" <<'PYTHON'
import sys
path, since, what, which = sys.argv[1:]
times = [float(l.split()[0]) for l in open(path) if len(l.split()) > 1 and l.split()[1] == what and float(l.split()[0]) >= float(since)]
if times:
    print(f"{(times[0] if which == 'first' else times[-1]) - float(since):.2f}")
PYTHON
}
# between TEXT LOW VALUE HIGH
between() {
    if "$PY" -c "import sys; v = '$3'; sys.exit(not (v and $2 <= float(v) <= $4))"; then ok "$1: ${3} s"; else bad "$1: wanted $2 to $4 s, found '${3:-never}'"; fi
}

story "kill -9 usherd, and nobody starts it again"
watch_start 40
sleep 1
killed=$(now)
kill_wait usherd KILL
sleep $((LEASE + 4))
between "redirects went on until the lease ended, after" $((LEASE - 2)) "$(seen "$killed" redirect last)" "$LEASE.0 + $SLACK"
between "the local daemon served the first request after" $((LEASE - 2)) "$(seen "$killed" served first)" "$LEASE.0 + 1 + $SLACK"
check "an own address of the node still answers pings" on client ping -qc 1 -W 2 $NODE4
story "usherd starts again"
started=$(now)
usherd_start
wait_for 30 "redirects" knock client --timeout 0.3 $VIP4
sleep 1
between "redirects resumed (goal 1 s) after" 0 "$(seen "$started" redirect first)" "1 + $SLACK"
check "six knocks in a row are redirected" knock client --count 6 $VIP4
check "six more over IPv6" knock client --count 6 $VIP6

story "kill -9 usher-dataplane, started again at once as systemd would"
kill_wait watch TERM
: >"$RUN/watch.log"
watch_start 30
sleep 1
killed=$(now)
kill_wait dataplane KILL
started=$(now)
dataplane_start
wait_for 30 "redirects" knock client --timeout 0.3 $VIP4
sleep 1
between "redirects resumed (goal 2 s) after" 0 "$(seen "$started" redirect first)" "2 + $SLACK"
check "six knocks in a row are redirected" knock client --count 6 $VIP4
check "six more over IPv6" knock client --count 6 $VIP6
check "who does not signal is served by the local daemon" knock client --unsignalled --expect served --count 3 $VIP4
check "the node answers pings" on client ping -qc 1 -W 2 $NODE4

story "usherd killed and started at once: nobody notices"
kill_wait watch TERM
: >"$RUN/watch.log"
watch_start 15
sleep 1
killed=$(now)
kill_wait usherd KILL
usherd_start
sleep 5
kill_wait watch TERM
total=$(wc -l <"$RUN/watch.log")
redirected=$(grep -c ' redirect ' "$RUN/watch.log")
say "$redirected of $total knocks redirected"
check "at least nine of ten knocks were redirected" test $((redirected * 10)) -ge $((total * 9))

story "Both killed; the data plane comes first, usherd second"
kill_wait usherd KILL
kill_wait dataplane KILL
dataplane_start
sleep 2
check "the data plane waits for usherd" running dataplane
usherd_start
check "redirects are back" wait_for 20 "redirects" knock client --timeout 0.3 $VIP4
check "six knocks in a row" knock client --count 6 $VIP4

story "SIGTERM ends each within a second"
for name in dataplane usherd; do
    asked=$(now)
    kill_wait $name TERM
    between "$name ended (goal 1 s) after" 0 "$("$PY" -c "import time; print(round(time.monotonic() - $asked, 2))")" "1 + $SLACK"
done
lab_end
