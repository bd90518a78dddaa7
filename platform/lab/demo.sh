#!/bin/bash
# The main job as a story: a stock strongSwan client knocks at the virtual address, over IPv4 and then over IPv6, and
# its tunnel comes up on the gateway that Usher named. With --keep everything stays up, with hints how to look around.
. "$(dirname "$0")/lib.sh"
KEEP=
case ${1:-} in
--keep) KEEP=1 ;;
"") ;;
*) echo "usage: $0 [--keep]" >&2; exit 2 ;;
esac
lab_start demo
need_usher

story "The stage: five network namespaces"
make_network
say "client  $CLIENT4, $CLIENT6 (behind the router)"
say "node    $NODE4, $NODE6: usher-dataplane owns its port v0, the kernel sees exc0"
say "gw1     $GW1_4, $GW1_6: strongSwan"
say "gw2     $GW2_4, $GW2_6: strongSwan"
say "virtual $VIP4, $VIP6: what the clients know"
for name in gw1 gw2 node; do gateway_start $name; done
charon_start client
usher_start
for name in gw1 gw2 node client; do swan_ready $name; done
say "usherd, usher-dataplane and four strongSwans are up"

story "The configuration that usherd runs"
indent <"$RUN/usher.conf"

# act FAMILY ADDRESS: one connection, told and checked
act() {
    local family=$1 to=$2 said named gateway
    story "Over $family: the client knows only $to"
    spawn "dumpcap-$family" client dumpcap -q -P -i eth0 -f 'udp port 500 or udp port 4500' -w "$RUN/$family.pcap"
    need 20 "the capture" grep -q 'File:' "$RUN/dumpcap-$family.log"
    client_config v "$to"
    said=$(swan client --initiate --child net --timeout 30)
    sleep 0.5
    kill_wait "dumpcap-$family" INT
    say "What the client says:"
    grep -E 'initiating|generating IKE_SA_INIT|redirected|established between' <<<"$said" | indent
    say "The request and the answer, as tshark decodes them:"
    tshark -n -r "$RUN/$family.pcap" -c 2 -O isakmp -Y isakmp 2>/dev/null |
        grep -E '^Internet|^User|Initiator SPI|Responder SPI|Exchange type|Message ID|Notify Message Type|Gateway Ident|Gateway Identity|Nonce D' | sed 's/^ */&/' | indent
    named=$(sed -n 's/^\[IKE\] redirected to //p' <<<"$said" | tail -n 1)
    case $named in
    "$GW1_4" | "$GW1_6") gateway=gw1 ;;
    "$GW2_4" | "$GW2_6") gateway=gw2 ;;
    *) bad "over $family the client was redirected to '${named:-nobody}'"; indent <<<"$said"; return ;;
    esac
    ok "over $family the client was sent to $named, which is $gateway"
    say "swanctl --list-sas on $gateway:"
    swan "$gateway" --list-sas | indent
    has "over $family the SA is up on $gateway" ESTABLISHED "$(sa_on "$gateway")"
    has "tshark reads a REDIRECT in the answer" "REDIRECT" "$(tshark -n -r "$RUN/$family.pcap" -O isakmp -Y 'isakmp.notify.msgtype == 16407' 2>/dev/null)"
    if on client ping -qc 2 -i 0.2 -W 5 "10.${gateway#gw}.0.1" >/dev/null; then ok "two pings crossed the tunnel"; else bad "no ping crosses the tunnel"; fi
    forget_sas
}
act IPv4 $VIP4
act IPv6 $VIP6

story "usher show crypto ikev2 cluster"
usher show crypto ikev2 cluster | indent
story "usher show dataplane ports"
usher show dataplane ports | indent
story "usher show dataplane counters"
usher show dataplane counters | indent
redirected=$(usher --json show dataplane counters | "$PY" -c '
import json, sys
def totals(x):
    if isinstance(x, dict):
        if x.get("name") == "redirected": yield int(x.get("total", 0))
        for v in x.values(): yield from totals(v)
    elif isinstance(x, list):
        for v in x: yield from totals(v)
print(sum(totals(json.load(sys.stdin))))')
check "the counters tell of redirects: ${redirected:-none}" test "${redirected:-0}" -ge 2

if [ -n "$KEEP" ] && [ "$FAIL" = 0 ]; then
    : >"$RUN/kept" # clean.sh may end it
    cat >"$RUN/again.sh" <<EOC
#!/bin/sh
# The client connects once more: again.sh [4|6]
export SWANCTL_DIR=$RUN/client/swanctl STRONGSWAN_CONF=$RUN/client/strongswan.conf
case \${1:-4} in 6) to=$VIP6 ;; *) to=$VIP4 ;; esac
sed -i "s/remote_addrs = .*/remote_addrs = \$to/" \$SWANCTL_DIR/swanctl.conf
swanctl --terminate --ike v --force --uri unix://$RUN/client/vici >/dev/null 2>&1
swanctl --load-all --noprompt --uri unix://$RUN/client/vici >/dev/null 2>&1
exec swanctl --initiate --child net --timeout 30 --uri unix://$RUN/client/vici
EOC
    chmod +x "$RUN/again.sh"
    LAB_KEEP=1
    story "It stays up. Look around:"
    say "connect again            $RUN/again.sh [4|6]"
    say "knock without a client   ip netns exec $(ns client) $PY $LAB_DIR/knock.py $VIP4"
    say "what Usher thinks        ip netns exec $(ns node) $USHER_BIN/usher --run-dir $RUN/run show dataplane counters"
    say "SAs on gateway 1         swanctl --list-sas --uri unix://$RUN/gw1/vici"
    say "what is on the LAN       ip netns exec $(ns router) tshark -i lan"
    say "the kernel's side        ip netns exec $(ns node) ip addr"
    say "logs, configuration      $RUN"
    say "end it                   make clean-lab"
fi
lab_end
