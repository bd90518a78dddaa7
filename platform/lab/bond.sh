#!/bin/bash
# A port that is a bond of two cables, by DPDK's bonding driver. Active-backup: the active one is pulled, then both. LACP with a
# partner that is not ours, dpdk-testpmd with a bond of its own: both sides agree, clients come over both cables, one is pulled.
# Balance-xor with a static group of testpmd's. About 25 seconds.
#
#   client === lan (dpdk-testpmd, the switch) ~~~ cable 0 ~~~ n1 (members net_virtio_user16
#                                             ~~~ cable 1 ~~~     and net_virtio_user17)
#
# A cable is a vhost-user socket between two processes: of DPDK's devices without hardware the one that tells of its link
# (those over veths and TAPs say for ever that it is up). For the static group, which asks for nobody's link, they are veths.
. "$(dirname "$0")/lib.sh"
lab_start bond
need_usher
command -v dpdk-testpmd >/dev/null || die "dpdk-testpmd is missing: run platform/lab/deps.sh"
make_space lan client n1
make_link client eth0 lan client
address client eth0 192.0.2.100/24 2001:db8::100/64
on n1 sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2
CABLES=("net_vhost0,iface=$RUN/cable0" "net_vhost1,iface=$RUN/cable1")
MEMBERS=("net_virtio_user16,path=$RUN/cable0,cq=1,speed=10000,mac=02:00:00:00:01:16" "net_virtio_user17,path=$RUN/cable1,cq=1,speed=10000,mac=02:00:00:00:01:17")
# switch_start NAME PORTS [VDEV]: its ports are 0 and 1, the cables, 2, the client, and 3, a bond of VDEV's; it forwards between PORTS.
switch_start() {
    SWITCH=$1
    mkfifo "$RUN/$1.in"
    exec 7<>"$RUN/$1.in"
    spawn "$1" lan sh -c "exec dpdk-testpmd --no-huge -m 192 --no-pci --no-shconf --no-telemetry --file-prefix=$PFX-$1 --lcores 0@0,1@1 \
        --vdev ${CABLES[0]} --vdev ${CABLES[1]} --vdev net_af_packet2,iface=client ${3:+--vdev $3} \
        -- -i --total-num-mbufs=4096 --portlist=$2 <$RUN/$1.in"
    need 20 "testpmd" grep -q 'testpmd>' "$RUN/$1.log"
}
switch() { printf '%s\n' "$@" >&7; }
# pull N: both ends of the cable lose their link
pull() { switch "port stop $1" "port close $1"; }
# node_start MODE: n1 with a bond of both cables
node_start() {
    cluster_files n1 ' standby delay minimum 0 reload 0' ' standby 1 timers msec 100 msec 400'
    local members="\"${MEMBERS[0]}\", \"${MEMBERS[1]}\"" log
    for log in usherd-n1 dataplane-n1; do [ ! -e "$RUN/$log.log" ] || mv "$RUN/$log.log" "$RUN/$log.before-$1.log"; done
    sed -i "s|^device = .*|bond = { mode = \"$1\", members = [$members] }|" "$RUN/n1/profile.toml"
    usherd_start n1
    dataplane_start n1
    need 30 "the port" on n1 ip link show exc0
}
node_end() { kill_wait dataplane-n1 TERM; kill_wait usherd-n1 TERM; has "a clean end" 'data plane down' "$(cat "$RUN/dataplane-n1.log")"; }
ports() { usher_at n1 show dataplane ports; }
says() { ports | grep -qE -- "$1"; }
is_state() { [ "$(state_of n1)" = "$1" ]; }
redirects() { knock client --count "${1:-1}" --timeout 1 $VIP4; }
# frames N i|o: that member N received or sent
frames() { usher_at n1 --json show dataplane | "$PY" -c "import json, sys
print(json.load(sys.stdin)['attached'][0]['ports'][0]['status']['members'][$1]['${2}packets'])"; }

# over_both: clients come and are answered over both members
over_both() {
    local before=("$(frames 0 i)" "$(frames 1 i)" "$(frames 0 o)" "$(frames 1 o)") n
    check "100 clients are redirected" redirects 100
    for n in 0 1; do
        in_range "frames that member $n received meanwhile" 20 $(($(frames $n i) - before[n])) 2000
        in_range "frames that member $n sent meanwhile" 20 $(($(frames $n o) - before[n + 2])) 2000
    done
}

story "Active-backup"
switch_start first 0,2
switch start
node_start active-backup
need 20 "n1 active" is_state Active
need 20 "redirects" redirects
ports | indent
check "the first member is active" says 'net_virtio_user16: link is up, .* active'
check "the second waits" says 'net_virtio_user17: link is up, .* standby'
check "platform check names the members" sh -c "ip netns exec $(ns n1) '$USHER_BIN/usher' platform check '$RUN/n1/profile.toml' | grep -q 'bond active-backup of net_virtio_user16 .*, net_virtio_user17'"
check "20 clients are redirected" redirects 20

story "The active member's cable is pulled; the switch hears n1 on its other port"
switch stop
pull 0
switch 'set portlist 1,2' start
need 10 "redirects over the second cable" redirects
check "20 clients are redirected" redirects 20
ports | grep -A3 Bond | indent
check "the second member is active" says 'net_virtio_user17: link is up, .* active'
check "the first has no link" says 'net_virtio_user16: link is down'
check "the port has link" says 'Link is up'
has "the log says so" '%EC-5-UNBUNDLE: net_virtio_user16 .*GigabitEthernet0/0/0' "$(cat "$RUN/dataplane-n1.log")"
equal "the role stayed: gained once" 1 "$(grep -c 'HSRP-5-STATECHANGE.*-> Active' "$RUN/usherd-n1.log")"

story "The other one is pulled too: the port has no link, and the node no role"
switch stop
pull 1
need 10 "the port without link" says 'Link is down'
need 10 "n1 in Init" is_state Init
node_end
kill_wait first TERM

story "LACP, and a switch that does not speak it yet: no link, no role"
rm -f "$RUN"/cable?
mac=$(on client cat /sys/class/net/eth0/address)
# Its bond takes what is for the client's address.
switch_start second 2,3 "net_bonding0,mode=4,slave=net_vhost0,slave=net_vhost1,xmit_policy=l34,mac=$mac"
node_start lacp
need 20 "both members with link" says '0 of 2 members active'
need 10 "the first without an agreement" says 'net_virtio_user16: link is up, .* no agreement by LACP'
check "the port has no link" says 'Link is down'
check "n1 is in Init" is_state Init

story "The switch speaks LACP"
switch start
# testpmd sends LACPDUs only when it has something to forward.
on client ping -q -i 0.05 ff02::1%eth0 >/dev/null 2>&1 &
PIDS+=($!)
need 30 "n1's agreement on both members" says 'Bond lacp, 2 of 2 members active'
ports | indent
check "the port has link" says 'Link is up'
partner() { switch "show bonding lacp info 3"; sleep 0.5; grep 'port state' "$RUN/second.log" | tail -n 4; }
agreed() { [ "$(partner | grep -c 'SYNCHRONIZATION.*COLLECTING.*DISTRIBUTING')" = 4 ]; }
need 10 "testpmd's agreement" agreed
ok "testpmd: itself and its partner collect and distribute on both"
partner | indent
need 20 "n1 active" is_state Active
need 10 "redirects" redirects
over_both

story "A cable is pulled: the other carries all"
switch 'remove bonding slave 0 3'
pull 0
need 10 "one member" says 'Bond lacp, 1 of 2 members active'
check "the first has no link" says 'net_virtio_user16: link is down'
need 10 "redirects" redirects
check "20 clients are redirected" redirects 20
check "the port has link" says 'Link is up'
equal "the role stayed: gained once" 1 "$(grep -c 'HSRP-5-STATECHANGE.*-> Active' "$RUN/usherd-n1.log")"
ports | grep -A3 Bond | indent
node_end
kill_wait second TERM

story "A static group: balance-xor"
for n in 0 1; do
    make_link n1 m$n lan s$n
    on n1 sysctl -qw net.ipv6.conf.m$n.disable_ipv6=1
    CABLES[n]=net_af_packet$n,iface=s$n
    MEMBERS[n]=net_af_packet1$((n + 6)),iface=m$n
done
switch_start third 2,3 net_bonding0,mode=2,slave=net_af_packet0,slave=net_af_packet1,xmit_policy=l34
switch start
node_start balance-xor
need 20 "n1 active" is_state Active
need 10 "redirects" redirects
check "both members are active" says 'Bond balance-xor, 2 of 2 members active'
over_both
grep -hoE '%EC-.*' "$RUN"/dataplane-n1*.log | indent
hasnt "no panic anywhere" 'panicked|PANIC' "$(cat "$RUN"/usherd-n1*.log "$RUN"/dataplane-n1*.log)"
node_end
lab_end
