#!/bin/bash
# Static gateways whose health is probed, each a strongSwan in a namespace of its own: up, they have their shares; one whose
# daemon has ended, or hangs, is down after the set number of probes and gets nobody; back, it has its share again. A real
# client lands on the one that is left. About 10 seconds.
. "$(dirname "$0")/lib.sh"
lab_start static-probe
INTERVAL=500 UP=2 DOWN=3
USHER_GATEWAYS=$(printf " static-gateway %s priority 100 probe interval $INTERVAL up $UP down $DOWN\n" $GW1_4 $GW1_6 $GW2_4 $GW2_6)
make_network
for name in gw1 gw2; do gateway_start $name; done
charon_start client
for name in gw1 gw2 client; do swan_ready $name; done
usher_start
slack=${USHER_SLACK:-4}
# is NODE_ADDRESS True|False: whether clients are sent there
is() { [ "$(gateway node "$1" usable)" = "$2" ]; }
# nobody NAME VIP GATEWAY OTHER: 60 clients of VIP, all to the other one
nobody() {
    share "$1" 60 "$2"
    equal "clients sent to $3" 0 "$(to "$1" "$3")"
    equal "clients sent to $4" 60 "$(to "$1" "$4")"
}
# both NAME VIP GATEWAY GATEWAY: 60 clients, to each a quarter at least
both() {
    share "$1" 60 "$2"
    in_range "clients sent to $3" 15 "$(to "$1" "$3")" 45
    in_range "clients sent to $4" 15 "$(to "$1" "$4")" 45
}
# within TEXT LOW START HIGH: seconds since START
within() {
    "$PY" - "$1" "$2" "$3" "$4" <<'PYTHON' && ok "$1" || bad "$1"
import sys, time
text, low, start = sys.argv[1:4]
high = eval(sys.argv[4])
took = time.monotonic() - float(start)
print(f"        after {took:.1f} s (allowed: {low} to {high})")
sys.exit(not float(low) <= took <= high)
PYTHON
}
half_open() { swan "$1" --stats 2>/dev/null | sed -n 's/^IKE_SAs: [0-9]* total, \([0-9]*\) half-open.*/\1/p'; }

story "Both are up: each has its share, in both families"
for address in $GW1_4 $GW2_4 $GW1_6 $GW2_6; do need 15 "$address to be up" is $address True; done
usher show crypto ikev2 cluster | indent
both up4 $VIP4 $GW1_4 $GW2_4
both up6 $VIP6 $GW1_6 $GW2_6
equal "half-open sessions that the probes left on gw1" 0 "$(half_open gw1)"
equal "half-open sessions that the probes left on gw2" 0 "$(half_open gw2)"

story "gw2's daemon ends: its port is closed"
ended=$(now)
kill_wait charon-gw2 TERM
need 20 "$GW2_4 to be down" is $GW2_4 False
within "it was down after $DOWN probes" 0.5 "$ended" "$DOWN * $INTERVAL / 1000 + 1 + $slack"
need 20 "$GW2_6 to be down" is $GW2_6 False
text=$(usher show crypto ikev2 cluster)
indent <<<"$text"
has "show marks it" '^! 192\.0\.2\.22 +Static' "$text"
has "show says why" '192\.0\.2\.22 gets no client: its probe: 192\.0\.2\.22 port 500: its port is closed: is the IKE daemon running\?' "$text"
nobody down4 $VIP4 $GW2_4 $GW1_4
nobody down6 $VIP6 $GW2_6 $GW1_6
client_config v $VIP4
check "a strongSwan client is let in" swan client --initiate --ike v --child net --timeout 25
has "on the gateway that is left" ESTABLISHED "$(sa_on gw1)"
forget_sas

story "It starts again"
started=$(now)
charon_start gw2
swan_ready gw2
need 20 "$GW2_4 to be up" is $GW2_4 True
within "it was up after $UP answers" 0.4 "$started" "$UP * $INTERVAL / 1000 + 2 + $slack"
need 20 "$GW2_6 to be up" is $GW2_6 True
both again4 $VIP4 $GW1_4 $GW2_4
both again6 $VIP6 $GW1_6 $GW2_6

story "It hangs: it is there and says nothing"
hung=$(now)
kill -STOP "$(pid_of charon-gw2)"
need 20 "$GW2_4 to be down" is $GW2_4 False
within "it was down after $DOWN silences" 1 "$hung" "($DOWN + 1) * $INTERVAL / 1000 + 1 + $slack"
has "show says why" '192\.0\.2\.22 gets no client: its probe: 192\.0\.2\.22 port 500: no answer within 500 ms' "$(usher show crypto ikev2 cluster)"
nobody hung4 $VIP4 $GW2_4 $GW1_4

story "Both hang: nobody is sent to a dead gateway"
kill -STOP "$(pid_of charon-gw1)"
need 20 "$GW1_4 to be down" is $GW1_4 False
knock client --count 5 --timeout 0.3 $VIP4 >"$RUN/none" 2>&1
equal "redirects" 0 "$(grep -c '^redirect' "$RUN/none")"
has "the log says so" '%CLB-[0-9]-[A-Z]+: .*Grp 1.*every member' "$(cat "$RUN/usherd.log")"
kill -CONT "$(pid_of charon-gw1)" "$(pid_of charon-gw2)"
need 20 "$GW1_4 to be up" is $GW1_4 True
need 20 "$GW2_4 to be up" is $GW2_4 True
both last4 $VIP4 $GW1_4 $GW2_4
grep -hoE '%CLB-[0-9]-[A-Z]+: .*' "$RUN/usherd.log" | cut -c 1-140 | awk '!seen[$0]++' | head -n 20 | indent
hasnt "no panic anywhere" 'panicked' "$(cat "$RUN"/usherd.log "$RUN"/dataplane.log)"
lab_end
