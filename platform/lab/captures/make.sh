#!/bin/bash
# Makes the project's own captures anew: make.sh [FOLDER] (default dataplane/tests/captures).
# Every implementation is the stock one of Debian 12; scapy comes from PyPI. Each NAME.pcap gets a NAME.tsv with the
# verdict wanted for each frame, judged by tshark (expect.py), never by our own code.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/libreswan.sh"
OUT=$(realpath -m "${1:-$ROOT/dataplane/tests/captures}")
HERE=$LAB_DIR/captures
lab_start captures
mkdir -p "$OUT"

shark_on() { # NAME: what the LAN sees
    spawn "dumpcap-$1" router dumpcap -q -P -i lan -f 'ip or ip6 or arp' -w "$OUT/$1.pcap"
    need 20 "dumpcap" grep -q 'File:' "$RUN/dumpcap-$1.log"
}
shark_off() {
    sleep 0.6
    kill_wait "dumpcap-$1" INT
    "$PY" "$HERE/expect.py" "$OUT/$1.pcap" >"$OUT/$1.tsv" || die "expect.py on $1"
    say "$1: $(grep -vc '^#' "$OUT/$1.tsv") frames, $(grep -c '	answer	' "$OUT/$1.tsv") to answer"
}
initiate() { swan client --initiate --child net --timeout "${1:-20}" >"$RUN/initiate.txt" 2>&1; }
restart_charon() { # NAME EXTRA
    kill_wait "charon-$1" TERM
    charon_start "$1" "$2"
    swan_ready "$1"
}

# gw1 plays the virtual address, with the virtual MAC of HSRP version 1, group 1; node plays another gateway.
GW1_4=$VIP4 GW1_6=$VIP6
make_network
on gw1 ip link set eth0 address 00:00:0c:07:ac:01
address node v0 $NODE4/24
on node ip route add default via $ROUTER4
gateway_start gw1
charon_start client
swan_ready gw1
swan_ready client

story "strongSwan $(/usr/lib/ipsec/charon --version 2>/dev/null | sed 's/.*strongSwan //')"
shark_on strongswan-v4
client_config v $VIP4
initiate && on client ping -qc2 -i0.2 10.1.0.1 >/dev/null
forget_sas
shark_off strongswan-v4

shark_on strongswan-v6
client_config v $VIP6
initiate && on client ping -qc2 -i0.2 10.1.0.1 >/dev/null
forget_sas
shark_off strongswan-v6

shark_on strongswan-4500
for to in $VIP4 $VIP6; do
    client_config v $to "remote_port = 4500
    local_port = 4500"
    initiate
    forget_sas
done
shark_off strongswan-4500

# A large group and every default proposal: longer than the MTU, so the kernel sends two fragments.
shark_on strongswan-fragments
for to in $VIP4 $VIP6; do
    CLIENT_PROPOSALS=aes128-sha256-modp8192,default client_config v $to
    initiate 5
    forget_sas
done
shark_off strongswan-fragments

make_nat
shark_on strongswan-nat
client_config v $VIP4
initiate && on client ping -qc1 10.1.0.1 >/dev/null
forget_sas
client_config v $VIP4 "remote_port = 4500
    local_port = 4500"
initiate
forget_sas
shark_off strongswan-nat
on router nft flush ruleset

shark_on strongswan-retransmits
kill -STOP "$(pid_of charon-gw1)"
client_config v $VIP4
initiate 2
kill -CONT "$(pid_of charon-gw1)"
sleep 1
forget_sas
shark_off strongswan-retransmits

shark_on strongswan-ikev1
client_config v $VIP4 "version = 1
    aggressive = no"
initiate 5
forget_sas
shark_off strongswan-ikev1

restart_charon gw1 'dos_protection = yes
  cookie_threshold = 1
  cookie_threshold_ip = 1'
knock client --count 3 --unsignalled --expect served $VIP4 >/dev/null # half-open SAs
shark_on strongswan-cookie
client_config v $VIP4
initiate
forget_sas
shark_off strongswan-cookie
restart_charon gw1 ''

restart_charon client 'follow_redirects = no'
shark_on strongswan-unsignalled
for to in $VIP4 $VIP6; do
    client_config v $to
    initiate
    forget_sas
done
shark_off strongswan-unsignalled
restart_charon client ''

lsw_unpack
story "libreswan $(sed -n 's/.*libreswan_\([^_]*\)_.*/\1/p' <<<"$(echo "$RUN"/lsw/libreswan_*.deb)")"
lsw_start node "    left=$NODE4
    right=%any
    auto=add" "    global-redirect=yes
    global-redirect-to=$VIP4"
shark_on strongswan-redirected
client_config v $NODE4
initiate
forget_sas
shark_off strongswan-redirected

kill_wait charon-client TERM
lsw_conn="    left=$CLIENT4
    leftid=@roadwarrior
    rightid=%any
    rightsubnet=10.0.0.0/8
    leftmodecfgclient=yes
    auto=add"
shark_on libreswan-redirected
lsw_start client "$lsw_conn
    right=$NODE4
    accept-redirect=yes"
lsw client auto --up v >"$RUN/up.txt" 2>&1
kill_wait pluto-client TERM
shark_off libreswan-redirected

shark_on libreswan-v4
lsw_start client "$lsw_conn
    right=$VIP4
    accept-redirect=yes"
lsw client auto --up v >"$RUN/up.txt" 2>&1
kill_wait pluto-client TERM
shark_off libreswan-v4

shark_on libreswan-v6
lsw_start client "    left=$CLIENT6
    leftid=@roadwarrior
    rightid=%any
    right=$VIP6
    ike=aes128-sha2_256;dh31,aes256-sha2_512;dh20
    accept-redirect=yes
    auto=add"
lsw client auto --up v >"$RUN/up.txt" 2>&1
kill_wait pluto-client TERM
shark_off libreswan-v6

shark_on libreswan-unsignalled
lsw_start client "$lsw_conn
    right=$VIP4"
lsw client auto --up v >"$RUN/up.txt" 2>&1
kill_wait pluto-client TERM
shark_off libreswan-unsignalled

story "$(ike-scan --version 2>&1 | head -n 1)"
shark_on ike-scan
on client ike-scan --ikev2 --retry 1 $VIP4 >/dev/null 2>&1
on client ike-scan --retry 1 $VIP4 >/dev/null 2>&1
on client ike-scan --aggressive --id=vpn --retry 1 $VIP4 >/dev/null 2>&1
on client ike-scan --nat-t --ikev2 --retry 1 $VIP4 >/dev/null 2>&1
shark_off ike-scan

story "scapy $("$USHER_VENV/bin/python" -c 'import scapy; print(scapy.__version__)')"
"$USHER_VENV/bin/python" "$HERE/scapy_frames.py" "$OUT" || die "scapy (pip install scapy==2.8.0 into $USHER_VENV)"

story "crafted frames (plain Python)"
"$PY" "$HERE/craft.py" "$OUT" || die "craft.py"
chmod 644 "$OUT"/*
du -bc "$OUT"/*.pcap | tail -n 1
lab_end
