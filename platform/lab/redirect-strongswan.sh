#!/bin/bash
# A stock strongSwan client knocks at the virtual address and its SA is up on the gateway that was named: over IPv4
# and IPv6, on port 500, straight on 4500, and through a NAT. The same request sent twice gets the same answer.
. "$(dirname "$0")/lib.sh"
lab_start redirect-strongswan
LAST_SA=

# connect TEXT ADDRESS [lines of the connection]: one attempt, judged on both sides
connect() {
    local text=$1 to=$2 extra=${3:-} said named gateway other
    client_config v "$to" "$extra"
    said=$(swan client --initiate --child net --timeout 30)
    # The client's own words: which gateway it was sent to.
    named=$(sed -n 's/^\[IKE\] redirected to //p' <<<"$said" | tail -n 1)
    case $named in
    "$GW1_4" | "$GW1_6") gateway=gw1 other=gw2 ;;
    "$GW2_4" | "$GW2_6") gateway=gw2 other=gw1 ;;
    *) bad "$text: the client was sent to '${named:-nobody}'"; tail -n 12 <<<"$said" | indent; return ;;
    esac
    has "$text: sent to $named ($gateway), initiate" "completed successfully" "$said"
    has "$text: the SA is up on $gateway" ESTABLISHED "$(sa_on $gateway)"
    equal "$text: SAs on $other" "" "$(sa_on $other)"
    check "$text: a ping crosses the tunnel" on client ping -qc1 -W5 "10.${gateway#gw}.0.1"
    LAST_SA=$(swan "$gateway" --list-sas)
    forget_sas
}

make_network
for name in gw1 gw2 node; do gateway_start $name; done
charon_start client
usher_start
for name in gw1 gw2 node client; do swan_ready $name; done

story "Directly"
connect "IPv4, port 500" $VIP4
connect "IPv6, port 500" $VIP6
connect "IPv4, straight on 4500" $VIP4 "remote_port = 4500
    local_port = 4500"
connect "IPv6, straight on 4500" $VIP6 "remote_port = 4500
    local_port = 4500"

story "Requests longer than the MTU: two IP fragments each (a large group and every default proposal)"
CLIENT_PROPOSALS=aes128-sha256-modp8192,default connect "IPv4, fragments" $VIP4
CLIENT_PROPOSALS=aes128-sha256-modp8192,default connect "IPv6, fragments" $VIP6

story "A retransmission is the same request: it gets the same answer, byte for byte"
for to in $VIP4 $VIP6; do
    for port in 500 4500; do
        check "$to port $port, 5 pairs" knock client --twice --count 5 --port $port $to
    done
done

story "Through a NAT (masquerade with random ports)"
make_nat
connect "behind NAT, port 500" $VIP4
has "the gateway sees the translated address" "remote .*@ $ROUTER4\[" "$LAST_SA"
connect "behind NAT, straight on 4500" $VIP4 "remote_port = 4500
    local_port = 4500"
has "the gateway sees the translated address" "remote .*@ $ROUTER4\[" "$LAST_SA"
connect "behind NAT, IPv6" $VIP6
has "the gateway sees the translated address" "remote .*@ $ROUTER6\[" "$LAST_SA"
lab_end
