#!/bin/bash
# Who does not signal REDIRECT_SUPPORTED is never redirected: ike-scan and a strongSwan without redirect support are
# served by the IKE daemon on the node itself, through the exception device.
. "$(dirname "$0")/lib.sh"
lab_start passes-unsignalled
command -v ike-scan >/dev/null || { echo "ike-scan is missing: run platform/lab/deps.sh" >&2; exit 1; }
make_network
gateway_start node
usher_start
swan_ready node

story "ike-scan"
spawn dumpcap client dumpcap -q -P -i eth0 -f 'udp port 500 or udp port 4500' -w "$RUN/scan.pcap"
need 20 "the capture" grep -q 'File:' "$RUN/dumpcap.log"
said=$(on client timeout 60 ike-scan --ikev2 --retry 3 $VIP4 2>&1)
has "IKEv2: the local daemon answers" "IKEv2 (SA_INIT|Handshake)" "$said"
hasnt "IKEv2: no notify in what ike-scan saw" "REDIRECT|16407" "$said"
said=$(on client timeout 60 ike-scan --ikev2 --nat-t --retry 3 $VIP4 2>&1)
has "IKEv2 on 4500: the local daemon answers" "IKEv2 (SA_INIT|Handshake)" "$said"
said=$(on client timeout 60 ike-scan --retry 3 $VIP4 2>&1)
has "IKEv1 main mode: the local daemon answers" "Notify message|Main Mode Handshake" "$said"
sleep 0.5
kill_wait dumpcap INT
equal "REDIRECTs that tshark finds on the client's wire" 0 "$(tshark -n -r "$RUN/scan.pcap" -Y 'isakmp.notify.msgtype == 16407' 2>/dev/null | wc -l)"
equal "requests that ike-scan sent with REDIRECT_SUPPORTED" 0 "$(tshark -n -r "$RUN/scan.pcap" -Y 'isakmp.notify.msgtype == 16406' 2>/dev/null | wc -l)"

story "strongSwan with follow_redirects = no"
charon_start client 'follow_redirects = no'
swan_ready client
for to in $VIP4 $VIP6; do
    client_config v $to
    said=$(swan client --initiate --child net --timeout 30)
    has "to $to: initiate" "completed successfully" "$said"
    hasnt "to $to: not redirected" "redirected to" "$said"
    has "to $to: the SA is up on the node itself" ESTABLISHED "$(sa_on node)"
    if on client ping -qc 1 -W 5 10.9.0.1 >/dev/null; then ok "to $to: a ping crosses the tunnel, ESP in UDP through the exception device"; else bad "to $to: no ping crosses the tunnel"; fi
    swan client --terminate --ike v --force >/dev/null 2>&1
    swan node --terminate --ike vpn --force >/dev/null 2>&1
done

story "The same by hand, next to one who signals"
for port in 500 4500; do
    check "port $port, unsignalled: served" knock client --port $port --unsignalled --expect served $VIP4
    check "port $port, signalled: redirected" knock client --port $port $VIP4
done
lab_end
