#!/bin/bash
# Three nodes whose IKE daemons are strongSwans, their loads read over VICI, and clients that are strongSwans too: sessions
# that are there, not figures in a file. They spread as the loads say; a client follows a second redirect away from a
# gateway that has just become overloaded; a session outlives its gateway's HSRP role; a drain moves sessions; and the primary dies while
# clients connect. `--short` has a fifth of the sessions.
. "$(dirname "$0")/lib.sh"
# SPREAD: load-normalization (5) and what chance does with so many clients: two deviations beside 300, which equal shares
# would end 30 points apart; four beside 36, where they would end 60 apart.
COUNT=300 EARLY=60 MAX=400 RATE=8 SPREAD=15 LATE=40
case ${1:-} in
--short) COUNT=60 EARLY=24 MAX=80 RATE=4 SPREAD=45 LATE=16 ;;
"") ;;
*) echo "usage: $0 [--short]" >&2; exit 2 ;;
esac
lab_start cluster-strongswan
need_usher
NODES=(n1 n2 n3)
A1=192.0.2.11 A2=192.0.2.12 A3=192.0.2.13
UPDATE=500 HOLD=5000 PACE=1200
make_cluster "${NODES[@]}"
make_space old
make_link old eth0 lan old
on lan ip link set old master br0
address old eth0 192.0.2.101/24
for node in "${NODES[@]}"; do
    cluster_node "$node"
    # All nodes share the processors of this machine: `system-load 0` leaves them out. The half-open sessions of a burst are
    # no sign of trouble here either.
    CLUSTER_LINES=$(printf ' key cluster-secret\n secondary max-session %d\n secondary hello %d\n secondary update %d\n holdtime %d\n primary weight system-load 0\n load-source vici %s\n drain pace %d\n fqdn %s.example\n' \
        "$MAX" "$UPDATE" "$UPDATE" "$HOLD" "$RUN/$node/vici" "$PACE" "$node") \
        cluster_files "$node" " standby 1 priority $((130 - 10 * ${node#n}))" " standby 1 timers msec 500 msec 2000" " standby delay minimum 0 reload 0"
    sed -i 's/^crypto ikev2 redirect gateway init$/&\ncrypto ikev2 limit max-in-negotation-sa 1000/' "$RUN/$node/usher.conf"
    # A role that comes or goes is an address that comes or goes: charon would tell every client over MOBIKE, all at once.
    gateway_start "$node" 'dos_protection = no
  plugins { kernel-netlink { roam_events = no } }'
done
cluster_start "${NODES[@]}"
charon_start client
charon_start old 'follow_redirects = no'
for name in "${NODES[@]}" client old; do swan_ready "$name"; done

# clients WHERE PREFIX ADDRESS COUNT: connections of the charon WHERE, each with an identity of its own
clients() {
    local k
    for ((k = 1; k <= $4; k++)); do
        printf 'connections { %s%d { version = 2\n remote_addrs = %s\n proposals = aes128-sha256-x25519\n vips = 0.0.0.0\n' "$2" "$k" "$3"
        printf ' local { auth = psk\n id = %s%d@example.net }\n remote { auth = psk\n id = vpn.example.net }\n' "$2" "$k"
        printf ' children { net { remote_ts = 10.0.0.0/8\n esp_proposals = aes128-sha256 } } } }\n'
    done >>"$RUN/$1/swanctl/swanctl.conf"
}
for name in client old; do printf 'secrets { ike { secret = %s } }\n' $PSK >"$RUN/$name/swanctl/swanctl.conf"; done
clients client vip $VIP4 $((COUNT + 40)) # through the virtual address
clients client early $A2 $EARLY          # straight to n2
clients client hop $VIP4 20
clients client late $VIP4 $COUNT
clients old fixed $A3 3
for name in client old; do swan $name --load-all --noprompt >"$RUN/load-$name.txt" 2>&1 || die "swanctl --load-all of $name"; done

# connect WHERE PREFIX FROM TO [RATE]: brings these connections up, eight at a time, at most RATE a second
connect() {
    local where=$1 prefix=$2 k
    export SWANCTL_DIR=$RUN/$where/swanctl STRONGSWAN_CONF=$RUN/$where/strongswan.conf
    for ((k = $3; k <= $4; k++)); do echo "$k"; [ -z "${5:-}" ] || sleep "$("$PY" -c "print(1 / $5)")"; done | xargs -P 8 -I{} sh -c \
        "timeout 30 swanctl --initiate --ike $prefix{} --child net --timeout 12 --uri unix://$RUN/$where/vici >>$RUN/$where-$prefix-{}.txt 2>&1"
}
# sas NAME: established IKE SAs (a knock that was served leaves a half-open one)
sas() { swan "$1" --stats 2>/dev/null | sed -n 's/^IKE_SAs: \([0-9]*\) total, \([0-9]*\) half-open.*/\1 \2/p' | awk '{print $1 - $2}'; }
ended() { [ "$(sas "$1")" = "${2:-0}" ]; }
end_sas() { swan client --terminate --ike "$1" --timeout 10 >/dev/null 2>&1; }
# The table of `show crypto ikev2 cluster` on a primary, by a regular expression that reads the published sample.
cat >"$RUN/table.py" <<'PY'
import re, sys
ROW = re.compile(r"^[ *!-]*([0-9A-F:.]+) +(Primary|Second) +(--|\d\d:\d\d\.\d{3}) +(\d+) +(\d+\.\d)% +(\d+)(?: +(\S+))?$")
HEAD = re.compile(r"^ +Gateway +Role +Last-seen +Prio +Load +IKE +FQDN$")
SAMPLE = """\
  Gateway           Role   Last-seen  Prio   Load     IKE  FQDN
2001:DB8::1        Primary     --      100   26.6%   3996
2001:DB8::2        Second  00:01.452   100   26.6%   3999
2001:DB8::3        Second  00:00.271   100   26.6%   4006"""
def rows(text):
    lines = text.splitlines()
    assert any(HEAD.match(line) for line in lines), "no heading of the published form"
    return [m.groups() for m in map(ROW.match, lines) if m]
assert [r[5] for r in rows(SAMPLE)] == ["3996", "3999", "4006"]
for address, role, seen, prio, load, ike, fqdn in rows(sys.stdin.read()):
    print(address, role, seen, prio, load, ike, fqdn or "-")
PY
# table NODE: one line a gateway: address role seen prio load ike fqdn
table() { usher_at "$1" show crypto ikev2 cluster | "$PY" "$RUN/table.py"; }
shown_ike() { [ "$(table "$1" | awk '{n += $6} END {print n}')" = "$2" ]; }

story "Three nodes, three strongSwans, loads over VICI"
need 30 "a settled group" settled "${NODES[@]}"
for node in "${NODES[@]}"; do need 30 "n1's view of $node" usable n1 192.0.2.1${node#n} True; done
for address in $A1 $A2 $A3; do need 20 "$address to hold its slots" holds n1 $address 300; done
usher_at n1 show crypto ikev2 cluster | indent

story "Virtual address -> n2, which has just become overloaded -> another gateway"
# n2's reports are held up, as if the first of them were still on its way.
connect client early 1 1
need 20 "the session on n2" ended n2 1
need 10 "n1 to know of it" shown_ike n1 1
spawn dumpcap client dumpcap -q -P -i eth0 -f 'udp port 500 or udp port 4500' -w "$RUN/hops.pcap"
need 20 "the capture" grep -q 'File:' "$RUN/dumpcap.log"
on lan nft -f - <<'NFT' || die "nft"
table netdev held {
    chain n2 {
        type filter hook ingress device "n2" priority 0;
        tcp dport 2012 drop
        tcp sport 2012 drop
    }
}
NFT
enter n2 'crypto ikev2 cluster' 'secondary max-session 1' >/dev/null
need 5 "n2 to shed" knock client --timeout 0.3 $A2
HOP=
for k in $(seq 20); do
    connect client hop "$k" "$k"
    if grep -q "redirected to $A2" "$RUN/client-hop-$k.txt"; then HOP=$k; break; fi
done
on lan nft delete table netdev held
[ -n "$HOP" ] || die "no client was sent to n2"
sleep 0.3
kill_wait dumpcap INT
grep -E 'initiating|redirected|established between|failed|completed' "$RUN/client-hop-$HOP.txt" | indent
say "as tshark decodes it, a line for each IKE_SA_INIT (the notify types are REDIRECT 16407, REDIRECTED_FROM 16408):"
tshark -n -r "$RUN/hops.pcap" -Y 'isakmp.exchangetype == 34' -T fields -e ip.src -e ip.dst -e isakmp.ispi -e isakmp.notify.msgtype 2>/dev/null | tail -n 6 | indent
mapfile -t WENT < <(sed -n 's/.*redirected to //p' "$RUN/client-hop-$HOP.txt")
equal "the client was redirected so often" 2 "${#WENT[@]}"
equal "first to the gateway that is overloaded" $A2 "${WENT[0]:-nowhere}"
case ${WENT[1]:-} in
"$A1") B=n1 ;;
"$A3") B=n3 ;;
*) B= ;;
esac
if [ -n "$B" ]; then ok "then to $B"; else bad "then to '${WENT[1]:-nowhere}'"; B=n1; fi
has "the SA is up on $B" "hop$HOP@example.net" "$(swan "$B" --list-sas)"
hasnt "and not on n2" "hop$HOP@example.net" "$(swan n2 --list-sas)"
enter n2 'crypto ikev2 cluster' "secondary max-session $MAX" >/dev/null
for k in $(seq "$HOP"); do end_sas "hop$k"; done
need 20 "the sessions to be gone" ended client 1
need 20 "n2 to be back" usable n1 $A2 True
need 20 "n1 to see them gone" shown_ike n1 1

story "$EARLY sessions on n2 already; $((COUNT - EARLY)) clients come through the virtual address"
connect client early 2 "$EARLY"
equal "sessions of the client" "$EARLY" "$(sas client)"
need 10 "n1 to know of them" shown_ike n1 "$EARLY"
# n2 sheds a few where its charon was too busy for VICI.
ON_N2=$(sas n2)
check "nearly all of them are on n2" [ "$ON_N2" -ge $((EARLY * 8 / 10)) ]
table n1 | indent
need 30 "slots to move away from n2" holds n1 $A2 0 250
began=$(now)
# Slots move at 5 % a second: a burst of this size in one second would be over before they follow.
connect client vip 1 $((COUNT - EARLY)) $RATE
say "$((COUNT - EARLY)) sessions in $("$PY" -c "print(round($(now) - $began, 1))") s"
equal "sessions of the client" "$COUNT" "$(sas client)"
need 10 "n1 to know of all" shown_ike n1 "$COUNT"
usher_at n1 show crypto ikev2 cluster | tee "$RUN/show.txt" | indent
table n1 >"$RUN/table.txt"
equal "gateways that the published columns show" 3 "$(wc -l <"$RUN/table.txt")"
equal "the first of them is the primary" "$A1 Primary --" "$(awk 'NR == 1 {print $1, $2, $3}' "$RUN/table.txt")"
for node in "${NODES[@]}"; do
    equal "IKE SAs of $node, as its strongSwan counts" "$(sas "$node")" "$(awk -v a=192.0.2.1${node#n} '$1 == a {print $6}' "$RUN/table.txt")"
done
check "loads within $SPREAD points of each other" awk -v limit=$SPREAD 'NR == 1 {low = high = $5} {if ($5 < low) low = $5; if ($5 > high) high = $5} END {print low, high; exit high - low > limit}' "$RUN/table.txt"
check "n2, which began with $ON_N2, got fewer of the new ones than either of the others" awk -v early="$ON_N2" -v a=$A2 '$1 == a {got = $6 - early; next} {if (least == "" || $6 < least) least = $6} END {print got, least; exit got >= least}' "$RUN/table.txt"
has "none of these clients failed" '^0$' "$(cat "$RUN"/client-vip-*.txt | grep -c 'initiate failed')"
usher_at n1 show crypto ikev2 cluster stats | indent

story "A session of the primary's own outlives its role"
read -r INNER <<<"$(swan n1 --list-sas | sed -n 's/.*remote .* @ 192.0.2.100\[4500\] \[\(.*\)\]/\1/p' | head -n 1)"
[ -n "$INNER" ] || die "no session on n1"
say "the client's address in the tunnel is $INNER; it asks 10.1.0.1 behind n1 ten times a second"
WAS=$(sas n1)
spawn ping client ping -i 0.1 -c 50 -W 2 -I "$INNER" 10.1.0.1
sleep 2
usher_at n1 standby 1 failover | indent
need 10 "n2 to be active" sh -c "[ \"\$(ip netns exec $(ns n2) $USHER_BIN/usher --run-dir $RUN/n2/run show standby brief | grep -c Active)\" -ge 1 ]"
gone ping
tail -n 2 "$RUN/ping.log" | indent
equal "n1 has lost the role" n2 "$(active_of "${NODES[@]}")"
equal "messages of n1 to its clients about the change" 0 "$(grep -c 'generating INFORMATIONAL request.*ADDR' "$RUN/charon-n1.txt")"
equal "n1 has kept its sessions" "$WAS" "$(sas n1)"
check "its traffic went on" awk '/packets transmitted/ {exit $4 < $1 - 1}' "$RUN/ping.log"

story "Drained: the sessions of n3 move to the others, $PACE a minute"
connect old fixed 1 3
need 20 "the sessions of clients without redirect support" ended old 3
need 20 "n2 to have the table" shown_ike n2 $((COUNT + 3))
WAS=$(sas n3)
say "n3 holds $WAS sessions"
began=$(now)
usher_at n2 cluster drain $A3 | indent
sleep 2
usher_at n3 show crypto ikev2 cluster | grep Draining | indent
usher_at n2 show crypto ikev2 cluster | grep -E 'Draining|13' | indent
has "n3 tells how far it is" 'Draining.*sessions moved' "$(usher_at n3 show crypto ikev2 cluster)"
need $((WAS * 60 / PACE * 3 + 60)) "the sessions to leave n3" ended n3 3
took=$("$PY" -c "print(round($(now) - $began, 1))")
say "$((WAS - 3)) sessions left in $took s"
check "not faster than the pace" awk -v t="$took" -v n=$((WAS - 3)) -v pace=$PACE 'BEGIN {exit n / t * 60 > pace * 1.1}'
need 10 "n2 to know of them" shown_ike n2 $((COUNT + 3))
equal "sessions of the client" "$COUNT" "$(sas client)"
equal "on n1 and n2 now" "$COUNT" "$(($(sas n1) + $(sas n2)))"
if [ "$COUNT" = 300 ]; then
    need 90 "n3 to give up on those that stay" sh -c "ip netns exec $(ns n3) $USHER_BIN/usher --run-dir $RUN/n3/run show crypto ikev2 cluster | grep -q ' 3 stay'"
    usher_at n3 show crypto ikev2 cluster stats | sed -n '/Sessions that stay/,$p' | indent
    has "those that stay are listed" '192.0.2.101 fixed1@example.net' "$(usher_at n3 show crypto ikev2 cluster stats)"
    usher_at n3 show crypto ikev2 cluster | grep Draining | indent
fi
usher_at n2 no cluster drain $A3 | indent
for k in 1 2 3; do swan old --terminate --ike fixed$k --timeout 10 >/dev/null 2>&1; done
need 20 "n3 to hold slots again" holds n2 $A3 100

story "The primary, n2, dies while clients connect; n1 takes over, which is full of sessions, n3 is not"
# n2 is to be as attractive as n3 when it dies.
swan n2 --list-sas | sed -n "s/.*remote '\(.*\)@example.net'.*/\1/p" >"$RUN/on-n2"
while read -r name; do echo "$name"; done <"$RUN/on-n2" | xargs -P 8 -I{} swanctl --terminate --ike {} --timeout 10 --uri "unix://$RUN/client/vici" >/dev/null 2>&1
need 30 "n2 to be empty" ended n2 0
need 20 "n2 to hold slots" holds n2 $A2 300
need 20 "n3 to hold slots" holds n2 $A3 300
table n2 | indent
HELD=$(sas n1)
knock client --watch 9 --interval 0.05 --timeout 0.2 $VIP4 >"$RUN/watch" 2>&1 &
WATCH=$!
connect client late 1 $LATE $RATE &
ARRIVING=$!
sleep 1
kill -9 "$(pid_of usherd-n2)" "$(pid_of dataplane-n2)"
DEATH=$(now)
say "up by then: $(cat "$RUN"/client-late-*.txt | grep -c 'completed successfully') of $LATE clients"
wait $ARRIVING $WATCH
cat >"$RUN/watch.py" <<'PY'
import sys
death, hold, update = map(float, sys.argv[1:4])
lines = [l.split() for l in open(sys.argv[4])]
lines = [(float(l[0]), l[1], l[2] if len(l) > 2 else "") for l in lines]
after = [l for l in lines if l[0] > death and l[1] == "redirect"]
first = after[0][0]
print("gap", round(first - max((l[0] for l in lines if l[0] < death and l[1] == "redirect"), default=death), 2))
count = lambda some: " ".join(f"{a}={sum(l[2] == a for l in some)}" for a in ("192.0.2.11", "192.0.2.12", "192.0.2.13"))
print("before", count([l for l in lines if l[0] < death and l[1] == "redirect"]))
print("update", count([l for l in after if l[0] <= first + update]))
print("hold", count([l for l in after if l[0] <= death + hold]))
print("after", count([l for l in after if l[0] > death + hold]))
PY
"$PY" "$RUN/watch.py" "$DEATH" "$((HOLD / 1000))" 0.5 "$RUN/watch" >"$RUN/watched" || die "no redirect after the primary's death"
indent <"$RUN/watched"
equal "the new primary" n1 "$(active_of n1 n3)"
has "within the first update every client goes where the table of the old primary says" '^update 192.0.2.11=0 192.0.2.12=0 192.0.2.13=[1-9]' "$(cat "$RUN/watched")"
has "none to the dead gateway after holdtime" '^after 192.0.2.11=[0-9]+ 192.0.2.12=0 ' "$(cat "$RUN/watched")"
check "n1, now the primary, has kept the $HELD sessions of its own" [ "$(sas n1)" -ge "$HELD" ]
table n1 | indent
# charon's own word: `swanctl --initiate` does not see every attempt to its end.
late_up() { swan client --list-sas | grep -c '^late[0-9]*: .*ESTABLISHED'; }
say "$(late_up) of $LATE clients that came meanwhile are up"
for ((k = 1; k <= LATE; k++)); do swan client --list-sas --ike "late$k" | grep -q ESTABLISHED || connect client late "$k" "$k"; done
equal "up after one more attempt" "$LATE" "$(late_up)"

story "What the logs say"
for node in n1 n2 n3; do grep -hoE '%CLB-[0-9]-[A-Z]+: .*' "$RUN/usherd-$node.log" | cut -c 1-150 | awk '!seen[$0]++' | head -n 20 | sed "s/^/    | $node /"; done
hasnt "no panic anywhere" 'panicked' "$(cat "$RUN"/usherd-*.log "$RUN"/dataplane-*.log)"
lab_end
