#!/bin/bash
# Two nodes, two HSRP groups, two `standby-group` lines: each virtual address is a cluster of its own and its role is on a
# node of its own, by priority. The limits of a node and its load hold for both; a node that dies leaves both to the
# other one. About 40 seconds.
. "$(dirname "$0")/lib.sh"
lab_start cluster-groups
NODES=(n1 n2)
A1=192.0.2.11 A2=192.0.2.12 VIP_A=192.0.2.1 VIP_B=192.0.2.2
make_cluster "${NODES[@]}"
declare -A PRIORITY_A=([n1]=120 [n2]=110) PRIORITY_B=([n1]=110 [n2]=120)
for node in "${NODES[@]}"; do
    cluster_node "$node"
    load_script "$node" 200 # of 1000: 20 %
    node_files "$node" <<EOC
hostname $node
interface GigabitEthernet0/0/0
 ip address 192.0.2.1${node#n} 255.255.255.0
 standby version 2
 standby delay minimum 0 reload 0
 standby 1 ip $VIP_A
 standby 1 priority ${PRIORITY_A[$node]}
 standby 1 preempt
 standby 1 timers 1 4
 standby 1 name vpn-a
 standby 2 ip $VIP_B
 standby 2 priority ${PRIORITY_B[$node]}
 standby 2 preempt
 standby 2 timers 1 4
 standby 2 name vpn-b
crypto ikev2 redirect gateway init
crypto ikev2 cluster
 standby-group vpn-a
 standby-group vpn-b
 key cluster-secret
 secondary max-session 1000
 secondary hello 500
 secondary update 500
 holdtime 3000
 load-source script $PROGRAMS/$node/load.sh
 no shutdown
end
EOC
done
# roles NODE: of the groups as it has them, `Active Standby`
roles() { echo "$(state_of "$1" 1) $(state_of "$1" 2)"; }
roles_are() { [ "$(roles "$1")" = "$2" ]; }
shows() { grep -qE -- "$2" <<<"$(usher_at "$1" show crypto ikev2 cluster 2>&1)"; }
# all_to VIP ADDRESS: ten clients of VIP are all sent there
all_to() { [ "$(knock client --count 10 --timeout 1 "$1" | grep -c "^redirect $2 ")" = 10 ]; }
# both_ways NAME VIP: 80 clients, to each node some
both_ways() {
    share "$1" 80 "$2"
    equal "clients of $2 that were redirected" 80 "$(grep -c '^redirect' "$RUN/$1")"
    for address in $A1 $A2; do in_range "of them to $address" 10 "$(to "$1" $address)" 70; done
}
cluster_start "${NODES[@]}"

story "vpn-a is on n1, vpn-b on n2"
need 30 "n1 to be active in group 1 alone" roles_are n1 'Active Standby'
need 30 "n2 to be active in group 2 alone" roles_are n2 'Standby Active'
for node in n1 n2; do
    for address in $A1 $A2; do need 15 "$node's view of $address" usable $node $address True; done
    for address in $A1 $A2; do need 15 "$address to hold its half at $node" holds $node $address 460 564; done
done
for node in n1 n2; do usher_at $node show crypto ikev2 cluster | indent; done
text=$(usher_at n1 show crypto ikev2 cluster)
has "n1 names both virtual addresses" '^Cluster IP +: 192\.0\.2\.1, 192\.0\.2\.2$' "$text"
has "n1 names its role in vpn-a" '^Group +: vpn-a 192\.0\.2\.1: CLB Primary$' "$text"
has "n1 names its role in vpn-b" '^Group +: vpn-b 192\.0\.2\.2: CLB Secondary$' "$text"
has "n1's table is that of the group it is primary of" '^(\* )?192\.0\.2\.11 +Primary +--' "$text"
text=$(usher_at n2 show crypto ikev2 cluster)
has "n2 names its role in vpn-a" '^Group +: vpn-a 192\.0\.2\.1: CLB Secondary$' "$text"
has "n2 names its role in vpn-b" '^Group +: vpn-b 192\.0\.2\.2: CLB Primary$' "$text"
has "n2's table is that of the group it is primary of" '^(\* )?192\.0\.2\.12 +Primary +--' "$text"
both_ways first-a $VIP_A
both_ways first-b $VIP_B

story "The limits of a node hold in both"
load n2 995
need 5 "vpn-a without n2" all_to $VIP_A $A1
need 5 "vpn-b without n2, which holds its role" all_to $VIP_B $A1
check "both nodes call n2 overloaded" shows n1 '^- 192\.0\.2\.12 '
check "also n2 itself" shows n2 '^- 192\.0\.2\.12 '
load n2 200
need 20 "n2 to be back in vpn-a" holds n1 $A2 300 # slots move at 5 % a second
need 20 "n2 to be back in vpn-b" holds n2 $A2 300

story "A member out of service"
said=$(usher_at n1 cluster drain $A2 2>&1)
indent <<<"$said"
has "n1 takes n2 out of service" "^Draining $A2: no new clients" "$said"
need 5 "vpn-a without n2" all_to $VIP_A $A1
need 5 "vpn-b without n2 too, though n2 is its primary" all_to $VIP_B $A1
equal "lines about the drain" 1 "$(grep -c '^Draining' <<<"$(usher_at n1 show crypto ikev2 cluster)")"
usher_at n1 no cluster drain $A2 2>&1 | indent
need 20 "n2 to hold slots again" holds n1 $A2 300

story "n1 dies: n2 holds both"
kill -9 "$(pid_of usherd-n1)" "$(pid_of dataplane-n1)"
need 15 "n2 to be active in both groups" roles_are n2 'Active Active'
need 10 "vpn-a, all to n2" all_to $VIP_A $A2
need 10 "vpn-b, all to n2" all_to $VIP_B $A2
text=$(usher_at n2 show crypto ikev2 cluster)
indent <<<"$text"
has "n2 names both virtual addresses" '^Cluster IP +: 192\.0\.2\.1, 192\.0\.2\.2$' "$text"
has "n2 is primary" '^Role +: CLB Primary$' "$text"
hasnt "and has one role" '^Group' "$text"

story "n1 comes back and takes its group"
usherd_start n1
dataplane_start n1
need 40 "n1 to be active in group 1 alone" roles_are n1 'Active Standby'
need 20 "n2 to be active in group 2 alone" roles_are n2 'Standby Active'
need 30 "n1 to hold its half of vpn-b" holds n2 $A1 300
need 30 "n2 to hold its half of vpn-a" holds n1 $A2 300
both_ways last-a $VIP_A
both_ways last-b $VIP_B
hasnt "no panic anywhere" 'panicked' "$(cat "$RUN"/usherd-*.log "$RUN"/dataplane-*.log)"
lab_end
