#!/bin/bash
# A port that is a bond of two cables, by DPDK's bonding driver: active-backup behind an ordinary switch (a bridge), whose
# cables are pulled; then LACP with a partner that is not ours (dpdk-testpmd): both sides agree, and clients come over both
# cables. About 25 seconds.
#
#   client === lan (br0, then testpmd) === s0 - c0 - m0 === n1 (members net_tap16 on m0, net_tap17 on m1)
#                                      === s1 - c1 - m1 ===
#
# Members are TAPs, because DPDK's drivers for veths say for ever that the link is up.
. "$(dirname "$0")/lib.sh"
lab_start bond
need_usher
command -v dpdk-testpmd >/dev/null || die "dpdk-testpmd is missing: run platform/lab/deps.sh"
make_space lan client n1
make_link client eth0 lan client
address client eth0 192.0.2.100/24 2001:db8::100/64
on n1 sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2 net.ipv6.conf.default.disable_ipv6=1
for n in 0 1; do
    on n1 ip tuntap add "m$n" mode tap multi_queue
    make_link n1 c$n lan s$n
    on n1 nft -f - <<NFT || die "nft: the cable m$n - c$n"
table netdev cable$n {
    chain out {
        type filter hook ingress device "m$n" priority 0
        fwd to "c$n"
    }
    chain in {
        type filter hook ingress device "c$n" priority 0
        fwd to "m$n"
    }
}
NFT
done
on n1 sysctl -qw net.ipv6.conf.default.disable_ipv6=0
# Both ends of a cable lose their link.
pull() { on n1 ip link set "m$1" down; on lan ip link set "s$1" down; }
plug() { on n1 ip link set "m$1" up; on lan ip link set "s$1" up; }
# node_start MODE: n1 with a bond of both cables
node_start() {
    cluster_files n1 ' standby delay minimum 0 reload 0' ' standby 1 timers msec 50 msec 150'
    sed -i "s/^device = .*/bond = { mode = \"$1\", members = [\"net_tap16,iface=m0\", \"net_tap17,iface=m1\"] }/" "$RUN/n1/profile.toml"
    usherd_start n1
    dataplane_start n1
    need 30 "the port" on n1 ip link show exc0
}
ports() { usher_at n1 show dataplane ports; }
says() { ports | grep -qE -- "$1"; }
is_state() { [ "$(state_of n1)" = "$1" ]; }
redirects() { knock client --count "${1:-1}" --timeout 1 $VIP4; }
# frames N in|out: of member N
frames() { usher_at n1 --json show dataplane | "$PY" -c "import json, sys
print(json.load(sys.stdin)['attached'][0]['ports'][0]['status']['members'][$1]['${2}packets'])"; }

story "Active-backup"
on lan ip link add name br0 address 02:00:00:00:00:fe type bridge mcast_snooping 0
on lan ip link set br0 up
for port in s0 s1 client; do on lan ip link set $port master br0; done
node_start active-backup
need 20 "n1 active" is_state Active
need 20 "redirects" redirects
ports | indent
check "the first member is active" says 'net_tap16: link is up, .* active'
check "the second waits" says 'net_tap17: link is up, .* standby'
equal "platform check names the members" "port GigabitEthernet0/0/0: bond active-backup of net_tap16 (link not known to the kernel), net_tap17 (link not known to the kernel)" \
    "$(on n1 "$USHER_BIN/usher" platform check "$RUN/n1/profile.toml" | sed -n 's/^plan  *\(port .*\)/\1/p')"
check "20 clients are redirected" redirects 20
equal "the switch has the virtual MAC at the first cable" s0 "$(learned 00:00:0c:9f:f0:01)"

story "The active member's cable is pulled"
knock client --watch 2 --timeout 0.2 $VIP4 >"$RUN/pulled.txt" &
sleep 0.5
pull 0
wait $!
say "$(awk '{n[$2]++} END {for (k in n) printf "%s: %d  ", k, n[k]}' "$RUN/pulled.txt") in 2 seconds"
need 5 "redirects over the second cable" redirects
check "20 clients are redirected" redirects 20
ports | grep -A2 Bond | indent
check "the second member is active" says 'net_tap17: link is up, .* active'
check "the first has no link" says 'net_tap16: link is down'
check "the port has link" says 'Link is up'
equal "the switch has the virtual MAC at the second cable" s1 "$(learned 00:00:0c:9f:f0:01)"
has "the log says so" '%EC-5-UNBUNDLE: net_tap16 .*GigabitEthernet0/0/0' "$(cat "$RUN/dataplane-n1.log")"
equal "the role stayed" 1 "$(grep -c 'HSRP-5-STATECHANGE.*Active' "$RUN/usherd-n1.log")"

story "It is plugged in again, and then the other one is pulled"
plug 0
need 5 "the first member to wait" says 'net_tap16: link is up, .* standby'
pull 1
need 5 "the first member to be active" says 'net_tap16: link is up, .* active'
need 5 "redirects" redirects
check "20 clients are redirected" redirects 20

story "Both are pulled: the port has no link, and the node no role"
pull 0
need 5 "the port without link" says 'Link is down'
need 5 "n1 in Init" is_state Init
plug 0
plug 1
need 20 "n1 active" is_state Active
need 10 "redirects" redirects
kill_wait dataplane-n1 TERM
kill_wait usherd-n1 TERM

story "LACP, and a switch that does not speak it: no link, no role"
on lan ip link del br0
for log in usherd-n1 dataplane-n1; do mv "$RUN/$log.log" "$RUN/$log.first.log"; done
node_start lacp
need 20 "n1's data plane" says 'Bond lacp'
need 10 "both members with link" says '0 of 2 members active'
need 10 "the first without an agreement" says 'net_tap16: link is up, .* no agreement by LACP'
check "the port has no link" says 'Link is down'
check "n1 is in Init" is_state Init

story "dpdk-testpmd with a bond of its own takes the switch's place"
on lan tshark -q -i s0 -f 'ether proto 0x8809' -w "$RUN/lacp.pcap" >"$RUN/tshark.log" 2>&1 &
PIDS+=($!)
mkfifo "$RUN/switch.in"
exec 7<>"$RUN/switch.in"
spawn switch lan sh -c "exec dpdk-testpmd --no-huge -m 256 --no-pci --no-shconf --no-telemetry --file-prefix=$PFX --lcores 0@0,1@1 \
    --vdev net_af_packet0,iface=s0 --vdev net_af_packet1,iface=s1 --vdev net_af_packet2,iface=client \
    --vdev net_bonding0,mode=4,slave=net_af_packet0,slave=net_af_packet1,xmit_policy=l34 \
    -- -i --total-num-mbufs=4096 --portlist=2,3 <$RUN/switch.in"
need 20 "testpmd" grep -q 'testpmd>' "$RUN/switch.log"
echo start >&7
# testpmd speaks LACP only when it has something to forward.
on client ping -q -i 0.05 ff02::1%eth0 >/dev/null 2>&1 &
PIDS+=($!)
need 30 "n1's agreement on both members" says 'Bond lacp, 2 of 2 members active'
ports | indent
check "the port has link" says 'Link is up'
partner() { echo "show bonding lacp info 3" >&7; sleep 0.3; grep 'port state' "$RUN/switch.log" | tail -n 4; }
agreed() { [ "$(partner | grep -c 'SYNCHRONIZATION.*COLLECTING.*DISTRIBUTING')" = 4 ]; }
check "testpmd: itself and its partner collect and distribute on both" agreed
partner | indent
need 20 "n1 active" is_state Active
need 10 "redirects" redirects
before=("$(frames 0 i)" "$(frames 1 i)" "$(frames 0 o)" "$(frames 1 o)")
check "100 clients are redirected" redirects 100
for n in 0 1; do
    in_range "frames that member $n received of them" 20 $(($(frames $n i) - before[n])) 2000
    in_range "frames that member $n sent of them" 20 $(($(frames $n o) - before[n + 2])) 2000
done
mac=$(on n1 cat /sys/class/net/exc0/address)
has "tshark: n1's LACPDU says collecting and distributing to a partner that does" '^1,1,1,1$|^True,True,True,True$' "$(
    tshark -r "$RUN/lacp.pcap" -Y "lacp.actor.sysid == $mac" -T fields -E separator=, -e lacp.flags.a.collecting \
        -e lacp.flags.a.distrib -e lacp.flags.p.collecting -e lacp.flags.p.distrib 2>/dev/null)"

story "A cable is pulled, and the switch takes it out of its bond"
pull 0
echo "remove bonding slave 0 3" >&7
need 10 "one member" says 'Bond lacp, 1 of 2 members active'
check "the first has no link" says 'net_tap16: link is down'
need 10 "redirects" redirects
check "20 clients are redirected" redirects 20
check "the port has link" says 'Link is up'
check "n1 is active" is_state Active
ports | grep -A2 Bond | indent
grep -hoE '%EC-.*' "$RUN"/dataplane-n1*.log | indent
hasnt "no panic anywhere" 'panicked|PANIC' "$(cat "$RUN"/usherd-n1*.log "$RUN"/dataplane-n1*.log)"
kill_wait dataplane-n1 TERM
has "a clean end" 'data plane down' "$(cat "$RUN/dataplane-n1.log")"
lab_end
