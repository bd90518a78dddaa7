#!/bin/bash
# Three nodes without any IPv4, HSRP version 2: one group has the link-local virtual address, another the one global one, both
# are the cluster's under one name. Who is primary, how clients are shared over IPv6, how the primary's death is survived,
# and that a second global address is refused. About 40 seconds.
. "$(dirname "$0")/lib.sh"
lab_start cluster-ipv6
NODES=(n1 n2 n3)
A1=2001:db8::11 A2=2001:db8::12 A3=2001:db8::13
LINK_LOCAL=fe80::5:73ff:fea0:1
make_cluster "${NODES[@]}"
for node in "${NODES[@]}"; do
    cluster_node "$node"
    load_script "$node" 200 # of 1000: 20 %
    number=${node#n} priority=$((130 - 10 * ${node#n}))
    node_files "$node" <<EOC
hostname $node
interface GigabitEthernet0/0/0
 ipv6 address 2001:db8::1$number/64
 standby version 2
 standby delay minimum 0 reload 0
 standby 1 ipv6 autoconfig
 standby 1 priority $priority
 standby 1 timers 1 4
 standby 1 name vpn
 standby 2 ipv6 $VIP6/64
 standby 2 priority $priority
 standby 2 timers 1 4
 standby 2 authentication md5 key-string hsrp-secret
 standby 2 name vpn
crypto ikev2 redirect gateway init
crypto ikev2 cluster
 standby-group vpn
 key cluster-secret
 secondary max-session 1000
 secondary hello 500
 secondary update 500
 secondary load-normalization 100
 holdtime 3000
 load-source script $PROGRAMS/$node/load.sh
 fqdn $node.example
 no shutdown
end
EOC
done
load n3 800
cluster_start "${NODES[@]}"
settled_in() { local STATES_GROUP=$1; shift; settled "$@"; }
shows() { grep -qE -- "$3" <<<"$(usher_at "$1" show crypto ikev2 cluster $2 2>&1)"; }

story "One primary, two secondaries, no IPv4 anywhere"
need 30 "a settled group 1" settled_in 1 "${NODES[@]}"
need 30 "a settled group 2" settled_in 2 "${NODES[@]}"
equal "active in the group with the link-local address" n1 "$(STATES_GROUP=1 active_of "${NODES[@]}")"
equal "active in the group with the global address" n1 "$(STATES_GROUP=2 active_of "${NODES[@]}")"
need 20 "two members at the primary" members n1 2
for node in "${NODES[@]}"; do need 20 "n1's view of $node" usable n1 2001:db8::1${node#n} True; done
equal "the feed is authenticated at n1" True "$(view n1 authenticated)"
equal "the feed is authenticated at n3" True "$(view n3 authenticated)"
primary=$(usher_at n1 show crypto ikev2 cluster) secondary=$(usher_at n2 show crypto ikev2 cluster)
details=$(usher_at n1 show crypto ikev2 cluster details) brief=$(usher_at n1 show standby brief)
indent <<<"$primary"
indent <<<"$secondary"
indent <<<"$details"
indent <<<"$brief"
has "n1 shows its role" '^Role +: CLB Primary$' "$primary"
has "n1 shows two members" '^CLB Secondary +: 2$' "$primary"
has "n1 shows the global virtual address" '^Cluster IP +: 2001:DB8::1$' "$primary"
has "n1 shows itself" '^(\* )?2001:DB8::11 +Primary +-- +100 +20\.0% +200  n1\.example$' "$primary"
has "n1 shows n2 and when it was heard" '^(\* )?2001:DB8::12 +Second +00:0[0-3]\.[0-9]{3} +100 +20\.0% +200  n2\.example$' "$primary"
has "n1 shows n3's load" '^2001:DB8::13 +Second +00:0[0-3]\.[0-9]{3} +100 +80\.0% +800  n3\.example$' "$primary"
has "n2 shows its role" '^Role +: CLB Secondary$' "$secondary"
has "n2 shows its last acknowledgement" '^ +2001:DB8::12 +00:0[0-3]\.[0-9]{3} +100 +20\.0% +200  n2\.example$' "$secondary"
has "the parts of n3's load" '^ +2001:DB8::13 +100 +0\.0% +80\.0% +1% +1% +80\.0% +80\.0%$' "$details"

story "Clients are shared as the loads say: headroom of 80, 80 and 20 %"
for address in $A1 $A2; do need 20 "$address to hold its slots" holds n1 $address 430 480; done
need 20 "$A3 to hold its slots" holds n1 $A3 90 140
share spread 240 $VIP6
equal "all were redirected" 240 "$(grep -c '^redirect' "$RUN/spread")"
for address in $A1 $A2; do in_range "clients sent to $address" 69 "$(to spread $address)" 145; done
in_range "clients sent to $A3" 6 "$(to spread $A3)" 52
check "the link-local virtual address belongs to n1" on client ping -6 -qc 1 -W 2 "$LINK_LOCAL%eth0"
load n2 995
need 5 "n1 to see that n2 is overloaded" usable n1 $A2 False
share overloaded 60 $VIP6
equal "clients sent to n2" 0 "$(to overloaded $A2)"
equal "all were redirected" 60 "$(grep -c '^redirect' "$RUN/overloaded")"
load n2 200
need 5 "n2 to be back" usable n1 $A2 True

story "A second global virtual address"
WRONG=2001:db8::2
sed "s|^ standby 2 ipv6 .*|&\n standby 2 ipv6 $WRONG/64|" "$RUN/n3/usher.conf" >"$RUN/two.conf"
TEXT="over IPv6 the cluster has one global virtual address, here are 2: take $WRONG of GigabitEthernet0/0/0 Grp 2 \\(IPv6\\) out"
said=$(usher_at n3 check "$RUN/two.conf" 2>&1)
equal "exit code of usher check" 1 $?
indent <<<"$said"
has "usher check names the address and its group" "$TEXT" "$said"
enter n3 'interface GigabitEthernet0/0/0' "standby 2 ipv6 $WRONG/64" 2>&1 | indent
need 5 "n3 to show it" shows n3 '' "^Reason +: $TEXT$"
check "n3's cluster is down" shows n3 '' '^Status +: Down$'
need 10 "n1 to have lost n3" usable n1 $A3 False
enter n3 'interface GigabitEthernet0/0/0' "no standby 2 ipv6 $WRONG/64" 2>&1 | indent
need 20 "n3 to be a member again" usable n1 $A3 True
need 20 "a settled group 2" settled_in 2 "${NODES[@]}"
need 20 "$A3 to hold slots again" holds n1 $A3 90
need 10 "n2 to know of it" shows n2 details '^ +2001:DB8::13 +100 .*80\.0%$'
sleep 1 # and the others with their next acknowledgement

story "The primary dies: the next one starts warm"
spawn watch client "$PY" "$LAB_DIR/knock.py" --watch 30 --interval 0.05 --timeout 0.5 $VIP6
killed=$(now)
kill -9 "$(pid_of usherd-n1)" "$(pid_of dataplane-n1)"
answers_after() { awk -v from="$killed" '$1 > from + 1 && $2 == "redirect"' "$RUN/watch.log" | grep -q .; }
need 15 "redirects from another node" answers_after
awk -v from="$killed" '$1 > from + 0.2 && $2 == "redirect" { printf "    the first redirect %.1f s after the death\n", $1 - from; exit }' "$RUN/watch.log"
share warm 100 $VIP6
kill "$(pid_of watch)"
need 10 "group 1 to follow" sh -c "ip netns exec $(ns n2) $USHER_BIN/usher --run-dir $RUN/n2/run show standby brief | awk '\$2 == 1' | grep -q Active"
equal "active now" n2 "$(STATES_GROUP=2 active_of n2 n3)"
equal "all are redirected from the table that n2 had" 100 "$(grep -c '^redirect' "$RUN/warm")"
equal "none to the dead primary" 0 "$(to warm $A1)"
in_range "clients sent to n2, with 80 % of headroom" 60 "$(to warm $A2)" 96
in_range "clients sent to n3, with 20 %" 4 "$(to warm $A3)" 40
usher_at n2 show crypto ikev2 cluster | indent
check "n2 shows its role" shows n2 '' '^Role +: CLB Primary$'
hasnt "no panic anywhere" 'panicked' "$(cat "$RUN"/usherd-*.log "$RUN"/dataplane-*.log)"
lab_end
