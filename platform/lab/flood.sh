#!/bin/bash
# 100,000 frames that nobody may redirect hit the virtual address. ping and ARP to the node go on, and so do redirects.
. "$(dirname "$0")/lib.sh"
lab_start flood
COUNT=${1:-100000}
make_network
gateway_start node
usher_start
swan_ready node
check "the virtual address is known before" on gw2 ping -qc 1 -W 3 $VIP4
mac=$(on gw2 ip neigh show $VIP4 dev eth0 | sed -n 's/.*lladdr \([^ ]*\).*/\1/p')
equal "the virtual address resolves to the virtual MAC" "$VMAC4" "$mac"
before=$(usher --json show dataplane counters)

# flood TEXT RATE LOSS: the probes begin before the flood and end after it; LOSS is the share of pings in percent that
# may be lost. At full speed sender, data plane, daemon and probes fight for the machine's cores.
flood() {
    local text=$1 rate=$2 allowed=$3 loss sent=0 got=0 knocks redirected since
    story "$text: $COUNT frames from gw2"
    rm -f "$RUN"/{ping,flood,watch}.log
    spawn ping client ping -i 0.01 -W 1 -q -w 120 $NODE4
    spawn watch client "$PY" "$LAB_DIR/knock.py" --watch 120 --interval 0.02 --timeout 0.5 $VIP4
    sleep 0.5
    since=$(now)
    spawn flood gw2 "$PY" "$LAB_DIR/flood.py" eth0 "$mac" $VIP4 --count "$COUNT" --rate "$rate"
    while running flood; do
        on gw1 ip neigh flush dev eth0 # so that each round asks for the address anew
        sent=$((sent + 1))
        on gw1 ping -qc 1 -W 1 $NODE4 >/dev/null && got=$((got + 1))
    done
    kill_wait ping INT
    kill_wait watch TERM
    say "$(cat "$RUN/flood.log")"
    say "$(grep 'packets transmitted' "$RUN/ping.log")"
    loss=$(sed -n 's/.* \([0-9.]*\)% packet loss.*/\1/p' "$RUN/ping.log")
    check "all frames were sent" grep -q "^$COUNT frames" "$RUN/flood.log"
    check "ping lost at most $allowed %: $loss %" "$PY" -c "import sys; sys.exit(not float('${loss:-100}') <= $allowed)"
    check "ARP, then ping: $got of $sent rounds" test "$sent" -ge 1 -a $((got * 100)) -ge $((sent * (100 - allowed)))
    knocks=$(awk -v since="$since" '$1 >= since' "$RUN/watch.log" | wc -l)
    redirected=$(awk -v since="$since" '$1 >= since && $2 == "redirect"' "$RUN/watch.log" | wc -l)
    check "redirects went on: $redirected of $knocks" test "$knocks" -ge 1 -a $((redirected * 100)) -ge $((knocks * (100 - allowed)))
}
flood "50,000 frames a second" 50000 5
flood "As many as one sender can" 0 20

story "After it"
on gw1 ip neigh flush dev eth0
check "ping" on gw1 ping -qc 2 -i 0.2 -W 2 $NODE4
check "ping over IPv6" on gw1 ping -qc 2 -i 0.2 -W 2 $NODE6
check "redirects" knock client --count 5 $VIP4
check "the local daemon" knock client --count 3 --unsignalled --expect served $VIP4

story "What was counted"
counted=$("$PY" - "$before" "$(usher --json show dataplane counters)" <<'PYTHON'
import json, sys
def rows(x):
    if isinstance(x, dict):
        if "name" in x and "total" in x: yield x["name"], int(x["total"])
        for v in x.values(): yield from rows(v)
    elif isinstance(x, list):
        for v in x: yield from rows(v)
was, now = (dict(rows(json.loads(a))) for a in sys.argv[1:])
for name, total in sorted(now.items()):
    if total != was.get(name, 0): print(f"{name:24} {total - was.get(name, 0):9}")
PYTHON
)
indent <<<"$counted"
has "policing dropped frames of the flood and says so" "^policed_" "$counted"
lab_end
