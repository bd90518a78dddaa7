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

story "The flood: $COUNT frames from gw2, while gw1 pings the node and asks for its address anew each time"
# Several rounds, because one flood lasts only a moment: the probes must run inside it.
probe() { # rounds of (forget the neighbour, ping once): prints sent and received
    local sent=0 got=0
    while running flood; do
        on gw1 ip neigh flush dev eth0
        sent=$((sent + 1))
        on gw1 ping -qc 1 -W 1 $NODE4 >/dev/null && got=$((got + 1))
    done
    echo "$sent $got"
}
spawn ping gw1 ping -i 0.02 -W 1 -q -w 120 $NODE4
spawn flood gw2 "$PY" "$LAB_DIR/flood.py" eth0 "$mac" $VIP4 --count "$COUNT"
spawn watch client "$PY" "$LAB_DIR/knock.py" --watch 120 --interval 0.02 --timeout 0.5 $VIP4
read -r sent got <<<"$(probe)"
kill_wait ping INT
kill_wait watch TERM
say "$(cat "$RUN/flood.log")"
say "$(grep 'packets transmitted' "$RUN/ping.log")"
say "$sent rounds of ARP and ping, $got answered"
loss=$(sed -n 's/.* \([0-9.]*\)% packet loss.*/\1/p' "$RUN/ping.log")
check "the flood was sent" grep -q "^$COUNT frames" "$RUN/flood.log"
check "ping loses at most 5 %: $loss %" "$PY" -c "import sys; sys.exit(not float('${loss:-100}') <= 5)"
check "ARP and ping: at least 9 of 10 rounds" test "$sent" -ge 1 -a $((got * 10)) -ge $((sent * 9))
redirected=$(grep -c ' redirect ' "$RUN/watch.log")
knocks=$(wc -l <"$RUN/watch.log")
check "redirects went on: $redirected of $knocks" test "$knocks" -ge 1 -a $((redirected * 10)) -ge $((knocks * 9))
on gw1 ip neigh flush dev eth0
check "after it: ping" on gw1 ping -qc 2 -i 0.2 -W 2 $NODE4
check "after it: ping over IPv6" on gw1 ping -qc 2 -i 0.2 -W 2 $NODE6
check "after it: redirects" knock client --count 5 $VIP4
check "after it: the local daemon" knock client --count 3 --unsignalled --expect served $VIP4

story "What was counted meanwhile"
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
