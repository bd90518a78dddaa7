#!/bin/bash
# Two nodes run HSRP and a cluster on a subinterface, over a segment that carries its frames with the tag of VLAN 100: a
# client there is redirected, one in another VLAN is not, ping and the load feed go through the VLAN's exception device,
# and the role moves. The client writes its tags itself, for a kernel without VLAN devices. About 20 seconds.
. "$(dirname "$0")/lib.sh"
lab_start vlan
NODES=(n1 n2)
VIP_100=203.0.113.1 VIP6_100=2001:db8:100::1 CLIENT_100=203.0.113.100 CLIENT6_100=2001:db8:100::64
IF100=GigabitEthernet0/0/0.100 IF7=GigabitEthernet0/0/0.7
make_cluster "${NODES[@]}"
# A veth keeps a tag beside the frame unless it is told to write it; on the wire of a real port it is in the frame.
for port in client "${NODES[@]}"; do on lan ethtool -K "$port" txvlan off >/dev/null; done
declare -A PRIORITY=([n1]=120 [n2]=110)
for node in "${NODES[@]}"; do
    number=$((10 + ${node#n}))
    cluster_node "$node"
    load_script "$node" 200
    node_files "$node" <<EOC
hostname $node
interface GigabitEthernet0/0/0
 ip address 192.0.2.$number 255.255.255.0
 standby version 2
 standby delay minimum 0 reload 0
 standby 1 ip $VIP4
 standby 1 priority ${PRIORITY[$node]}
 standby 1 timers msec 200 msec 800
 standby 1 name lan
interface $IF100
 encapsulation dot1Q 100
 ip address 203.0.113.$number 255.255.255.0
 ipv6 address 2001:db8:100::$number/64
 standby version 2
 standby delay minimum 0 reload 0
 standby 2 ip $VIP_100
 standby 2 priority ${PRIORITY[$node]}
 standby 2 timers msec 50 msec 150
 standby 2 name customers
 standby 3 ipv6 $VIP6_100/64
 standby 3 priority ${PRIORITY[$node]}
 standby 3 timers msec 50 msec 150
 standby 3 name customers
interface $IF7
 encapsulation dot1Q 200
 ip address 198.51.100.$number 255.255.255.0
crypto ikev2 redirect gateway init
crypto ikev2 cluster
 standby-group lan
 standby-group customers
 key cluster-secret
 secondary max-session 1000
 secondary hello 300
 secondary update 300
 load-source script $PROGRAMS/$node/load.sh
 static-gateway 2001:db8:100::99
 no shutdown
end
EOC
    sed -i 's/^exception = .*/&\nvlans = [100, 200]/' "$RUN/$node/profile.toml"
done
inside() { local vlan=$1; shift; on client "$PY" "$LAB_DIR/vlan-client.py" --vlan "$vlan" --timeout 0.6 "$@"; }
in_vlan() { inside 100 --from $CLIENT_100 "$@"; }
settled_in() { local all; all=$(for n in "${NODES[@]}"; do state_of "$n" "$1"; done | sort | tr '\n' ' '); [ "$all" = 'Active Standby ' ]; }
counter() { usher_at "$1" --json show dataplane counters | "$PY" -c "
import json, sys
view = json.load(sys.stdin)
print(sum(c['total'] for a in view['attached'] for c in a['counters'] if c['name'] == '$2'))"; }

story "Configuration and profile are checked against each other"
text=$(on n1 "$USHER_BIN/usher" check --profile "$RUN/n1/profile.toml" "$RUN/n1/usher.conf")
has "usher check: it loads" 'usher.conf: loads: 0 errors' "$text"
sed 's/dot1Q 200/dot1Q 300/' "$RUN/n1/usher.conf" >"$RUN/wrong.conf"
text=$(on n1 "$USHER_BIN/usher" check --profile "$RUN/n1/profile.toml" "$RUN/wrong.conf")
has "a VLAN that the profile does not list is named with the remedy" 'lists no VLAN 300 for GigabitEthernet0/0/0: set vlans = \[100, 200, 300\]' "$text"
grep -v 'dot1Q 200' "$RUN/n1/usher.conf" >"$RUN/idle.conf"
text=$(on n1 "$USHER_BIN/usher" check --profile "$RUN/n1/profile.toml" "$RUN/idle.conf")
has "so is one that no subinterface has" 'lists VLAN 200 for GigabitEthernet0/0/0, and no subinterface has it' "$text"
has "and a subinterface without a VLAN" "$IF7 has no VLAN" "$text"
has "usher platform check says where a VLAN goes" 'VLAN 100 of GigabitEthernet0/0/0: exc0.100 without the tag' \
    "$(on n1 "$USHER_BIN/usher" platform check "$RUN/n1/profile.toml")"

spawn wire lan tshark -q -i n1 -w "$RUN/n1.pcap"
# The first one is the active router of every group.
cluster_start n1
n1_active() { [ "$(state_of n1 1) $(state_of n1 2) $(state_of n1 3)" = 'Active Active Active' ]; }
need 30 "n1 to be active" n1_active
cluster_start n2
for group in 1 2 3; do need 30 "roles in group $group" settled_in $group; done

story "The kernel's side of each VLAN"
for of in exc0.100:203.0.113.11/24 exc0.200:198.51.100.11/24; do
    check "${of%%:*} has its address" on n1 sh -c "ip addr show dev ${of%%:*} | grep -q ${of#*:}"
done
has "it has the port's MAC and MTU" 'mtu 1500.*link/ether 02:00:00:00:00:01' "$(on n1 ip -o link show exc0.100)"
text=$(usher_at n1 show dataplane ports)
indent <<<"$text"
has "show dataplane ports names the subinterface" "^Port 1: $IF100, VLAN 100$" "$text"
has "whatever its number" "^Port 2: $IF7, VLAN 200$" "$text"
has "show standby names it" "^$IF100 - Group 2" "$(usher_at n1 show standby)"
has "the running configuration has its VLAN" '^ encapsulation dot1Q 100$' "$(usher_at n1 show running-config)"

story "A client in VLAN 100"
check "the virtual address redirects" in_vlan $VIP_100
check "over IPv6, too" inside 100 --from $CLIENT6_100 $VIP6_100
has "its virtual MAC is that of HSRP version 2, group 2" 'from 00:00:0c:9f:f0:02' "$(in_vlan $VIP_100)"
check "ping to the node's own address" in_vlan --ping 203.0.113.11
check "ping to the virtual address" in_vlan --ping $VIP_100
check "ping of 1,500 bytes, a frame of 1,518" in_vlan --ping --size 1472 203.0.113.11
check "ping over IPv6" inside 100 --from $CLIENT6_100 --ping 2001:db8:100::11
check "ping in VLAN 200" inside 200 --from 198.51.100.100 --ping 198.51.100.11
check "without a tag, the port's own address redirects" knock client --timeout 1 $VIP4
check "and a client of the kernel's pings the port" on client ping -qc 1 -W 1 192.0.2.11

story "Nobody is answered in another VLAN than the address's"
other_vlan=$(counter n1 other_vlan)
check "VLAN 200, to the address of VLAN 100" inside 200 --from $CLIENT_100 --mac 02:00:00:00:00:01 --expect silent $VIP_100
check "untagged, to the address of VLAN 100" inside 0 --from $CLIENT_100 --mac 02:00:00:00:00:01 --expect silent $VIP_100
check "VLAN 100, to the port's own address" inside 100 --from $CLIENT_100 --mac 02:00:00:00:00:01 --expect silent $VIP4
equal "they are counted as other_vlan" $((other_vlan + 3)) "$(counter n1 other_vlan)"
check "nor resolved by ARP in VLAN 200" inside 200 --from $CLIENT_100 --expect unresolved $VIP_100
check "a VLAN without a subinterface is answered in its own, as ever" inside 300 --from 192.0.2.100 --mac $VMAC4 $VIP4

story "The load feed goes through the VLAN, and n1 shares clients with n2"
for address in 203.0.113.11 203.0.113.12; do need 15 "$address in n1's table" usable n1 $address True; done
text=$(for _ in $(seq 30); do in_vlan $VIP_100; done)
for address in 203.0.113.11 203.0.113.12; do has "clients are sent to $address" "^redirect $address" "$text"; done

story "On the wire, as tshark reads it"
kill_wait wire INT
seen() { tshark -r "$RUN/n1.pcap" -Y "$1" -T fields -e vlan.id -e vlan.priority -e ip.src 2>/dev/null | sort -u; }
has "hellos of group 2 leave with the tag, priority 0" '^100.0.' "$(seen 'hsrp2.group == 2 && eth.src == 00:00:0c:9f:f0:02')"
equal "and none without it" '' "$(seen 'hsrp2.group == 2 && !vlan')"
equal "those of group 1 have none" '' "$(seen 'hsrp2.group == 1 && vlan')"
has "redirects of the virtual address have it" '^100.' "$(seen "isakmp.notify.msgtype == 16407 && ip.src == $VIP_100")"
equal "and no packet of VLAN 100's addresses is without it" '' "$(seen 'ip.src == 203.0.113.0/24 && !vlan && eth.src == 02:00:00:00:00:01')"
equal "nothing that tshark finds malformed" '' "$(seen '_ws.malformed && eth.src[0:5] == 02:00:00:00:00')"

story "n1's data plane dies: n2 answers in the VLAN"
need 10 "roles in group 2" settled_in 2
inside 100 --from $CLIENT_100 --watch 4 --timeout 0.1 $VIP_100 >"$RUN/watch.txt" &
watch=$!
sleep 1
killed=$(now)
kill_wait dataplane-n1 KILL
wait $watch
gap=$("$PY" - "$RUN/watch.txt" "$killed" <<'PYTHON'
import sys
lines = [line.split() for line in open(sys.argv[1])]
at = float(sys.argv[2])
good = [float(line[0]) for line in lines if line[1] == "redirect"]
before, after = [t for t in good if t <= at], [t for t in good if t > at + 0.05]
print(f"{(after[0] - at) * 1000:.0f}" if before and after else "never")
PYTHON
)
in_range "milliseconds until a redirect from n2" 0 "${gap/never/}" 2500
equal "n2 in group 2" Active "$(state_of n2 2)"
dataplane_start n1
need 20 "n1 to be standby" settled_in 2
check "the address is still n2's, and redirects" in_vlan $VIP_100

story "A subinterface comes and goes in the running configuration"
text=$(enter n2 "interface $IF100" "no encapsulation dot1Q 100" 2>&1)
has "without its VLAN nothing of it is in force" "$IF100 has no VLAN" "$text"
takes_over() { [ "$(state_of n1 2)" = Active ]; }
need 10 "n1 to take group 2 over" takes_over
check "n1 redirects" in_vlan $VIP_100
check "n2's exc0.100 has lost its address" on n2 sh -c "! ip addr show dev exc0.100 | grep -q 203.0.113.12/24"
enter n2 "interface $IF100" "encapsulation dot1Q 100" >/dev/null 2>&1
need 20 "n2 to be standby again" settled_in 2
text=$(enter n2 "interface GigabitEthernet0/0/0.8" "encapsulation dot1Q 100" 2>&1)
has "the same VLAN twice is refused" "$IF100 has VLAN 100 already" "$text"
text=$(enter n2 "interface GigabitEthernet0/0/0.8" "encapsulation dot1Q 300" 2>&1)
has "and one that the profile does not list" "lists no VLAN 300" "$text"

story "A data plane that numbers its VLANs otherwise carries none of them"
kill_wait dataplane-n2 TERM
sed -i 's/^vlans = .*/vlans = [200, 100]/' "$RUN/n2/profile.toml"
dataplane_start n2
told() { grep -q '%DATAPLANE-4-PROFILE: .*port exc0.200, exc0.100 differs between the profiles' "$RUN/usherd-n2.log"; }
need 20 "usherd to say so" told
carried() { [ "$(state_of n2 1)" != Init ]; }
need 10 "n2 in group 1, which is on the port itself" carried
equal "n2 in group 2" Init "$(state_of n2 2)"
check "n1 redirects" in_vlan $VIP_100
lab_end
