#!/bin/bash
# Three nodes that report their load to each other over the load feed: who is primary, how clients are shared, what happens
# when a member is overloaded, unhealthy, drained, dead, when the primary dies, and when the cluster is shut down. The loads
# come from `load-source script`, so that this script can set them. About one minute.
. "$(dirname "$0")/lib.sh"
lab_start cluster
NODES=(n1 n2 n3)
make_cluster "${NODES[@]}"
# max-session is 1000, so 10 IKE SAs are one percent of load.
for node in "${NODES[@]}"; do
    cluster_node "$node"
    CLUSTER_LINES=$(printf ' key %s\n secondary max-session 1000\n secondary hello 300\n secondary update 300\n holdtime 1500\n load-source script %s\n fqdn %s.example\n' \
        "cluster-secret" "$PROGRAMS/$node/load.sh" "$node") \
        cluster_files "$node" " standby 1 priority $((130 - 10 * ${node#n}))" " standby 1 timers msec 300 msec 1200" " standby delay minimum 0 reload 0"
    load_script "$node" 200
done
cluster_start "${NODES[@]}"
A1=192.0.2.11 A2=192.0.2.12 A3=192.0.2.13

story "One primary, two secondaries, an authenticated feed"
need 20 "a settled group" settled "${NODES[@]}"
need 15 "two members at the primary" members n1 2
for node in n1 n2 n3; do need 15 "n1's view of $node" usable n1 192.0.2.1${node#n} True; done
usher_at n1 show crypto ikev2 cluster | indent
usher_at n2 show crypto ikev2 cluster | indent
usher_at n1 show crypto ikev2 cluster details | indent
equal "role of n1" primary "$(view n1 role)"
equal "role of n2" secondary "$(view n2 role)"
equal "the feed is authenticated at n1" True "$(view n1 authenticated)"
equal "the feed is authenticated at n3" True "$(view n3 authenticated)"

story "Equal loads: every member gets its share, the primary among them"
for address in $A1 $A2 $A3; do need 10 "$address to hold its slots" holds n1 $address 300; done
share equal 240
for address in $A1 $A2 $A3; do check "$address gets clients" [ "$(to equal $address)" -ge 40 ]; done
equal "all were redirected" 240 "$(grep -c '^redirect' "$RUN/equal")"

story "A member that becomes overloaded gets nobody, at once, and sheds what comes to its own address"
load n2 995
need 5 "n1 to see that n2 is overloaded" usable n1 $A2 False
share overloaded 60
equal "clients sent to n2" 0 "$(to overloaded $A2)"
knock client --count 20 --timeout 1 $A2 >"$RUN/shed" 2>&1
say "$(awk '{n[$1 " " $2]++} END {for (k in n) printf "%s: %d  ", k, n[k]}' "$RUN/shed")"
equal "requests to n2's own address go on to the others" 20 "$(($(to shed $A1) + $(to shed $A3)))"
knock client --count 5 --timeout 1 --redirected-from $VIP4 $A2 >"$RUN/hop" 2>&1
equal "one further hop for a client that the cluster sent there" 5 "$(grep -c '^redirect' "$RUN/hop")"
knock client --count 1 --timeout 0.3 --redirected-from $A3 $A2 >"$RUN/hops" 2>&1
equal "and no more after a hop" 0 "$(grep -c '^redirect' "$RUN/hops")"
load n2 200
need 5 "n2 to be back" usable n1 $A2 True

story "A load source that fails makes its member unhealthy"
rm "$RUN/n3/load"
need 5 "n1 to see that n3 is unhealthy" usable n1 $A3 False
share unhealthy 60
equal "clients sent to n3" 0 "$(to unhealthy $A3)"
usher_at n1 show crypto ikev2 cluster | grep -E '13' | indent
load n3 200
need 5 "n3 to be back" usable n1 $A3 True

story "Drained from the primary, and back"
usher_at n1 cluster drain $A3 | indent
share drained 60
equal "clients sent to n3" 0 "$(to drained $A3)"
need 5 "n3 to know of it" sh -c "ip netns exec $(ns n3) $USHER_BIN/usher --run-dir $RUN/n3/run show crypto ikev2 cluster | grep -q 'Draining'"
for no in "" no; do
    check "an address of no member: ${no:+no }cluster drain is refused" sh -c "! ip netns exec $(ns n1) $USHER_BIN/usher --run-dir $RUN/n1/run $no cluster drain 192.0.2.99"
done
check "a secondary cannot drain another" sh -c "! ip netns exec $(ns n2) $USHER_BIN/usher --run-dir $RUN/n2/run cluster drain $A1"
usher_at n1 no cluster drain $A3 | indent
need 20 "n3 to hold slots again" holds n1 $A3 250

story "Two drains at the same moment: neither is lost"
usher_at n2 cluster drain >/dev/null &
first=$!
usher_at n3 cluster drain >/dev/null &
wait $first $!
need 5 "n1 to see that n2 drains" usable n1 $A2 False
need 5 "n1 to see that n3 drains" usable n1 $A3 False
sleep 1
equal "nodes that n1 calls draining" 2 "$(usher_at n1 show crypto ikev2 cluster | grep -c '^Draining')"
usher_at n2 no cluster drain | indent
usher_at n1 no cluster drain $A3 | indent
for address in $A2 $A3; do need 20 "$address to hold slots again" holds n1 $address 250; done

story "A member says goodbye: its share is empty at once, not after holdtime"
printf 'configure terminal\ncrypto ikev2 cluster\nshutdown\nend\n' | usher_at n3 | indent
share goodbye 60
equal "clients sent to n3 after its shutdown" 0 "$(to goodbye $A3)"
printf 'configure terminal\ncrypto ikev2 cluster\nno shutdown\nend\n' | usher_at n3 | indent
need 20 "n3 to hold slots again" holds n1 $A3 250
kill -TERM "$(pid_of usherd-n3)"
need 3 "n1 to hear n3's goodbye" grep -q 'CLB-5-MEMBERLEFT: .*192.0.2.13 leaves: it leaves the cluster' "$RUN/usherd-n1.log"
share stopped 60
equal "clients sent to n3 after SIGTERM" 0 "$(to stopped $A3)"
usherd_start n3
need 20 "n3 to hold slots again" holds n1 $A3 250

story "The primary dies: the next one starts warm"
kill -9 "$(pid_of usherd-n1)" "$(pid_of dataplane-n1)"
need 10 "n2 to be active" sh -c "[ \"\$(ip netns exec $(ns n2) $USHER_BIN/usher --run-dir $RUN/n2/run show standby brief | grep -c Active)\" -ge 1 ]"
need 5 "the first redirect" knock client --timeout 0.3 $VIP4
share warm 60
equal "all are redirected from the table that n2 had" 60 "$(grep -c '^redirect' "$RUN/warm")"
equal "none to the dead primary" 0 "$(to warm $A1)"
check "n3 gets its share" [ "$(to warm $A3)" -ge 10 ]
usher_at n2 show crypto ikev2 cluster | indent
hasnt "the old primary is not called dead" 'CLB-4-MEMBERDEAD: .*192.0.2.11' "$(cat "$RUN/usherd-n2.log")"
# The kernel has let go of the old AF_XDP socket only when its process has ended.
gone usherd-n1
gone dataplane-n1
spawn usherd-n1 n1 "$USHER_BIN/usherd" --config "$RUN/n1/usher.conf" --run-dir "$RUN/n1/run" --profile "$RUN/n1/profile.toml"
spawn dataplane-n1 n1 "$USHER_BIN/usher-dataplane" run --profile "$RUN/n1/profile.toml" --socket "$RUN/n1/run/dataplane.sock"
need 20 "n1 to be a member again" usable n2 $A1 True

story "A silent member is dead after holdtime"
kill -STOP "$(pid_of usherd-n3)"
need 6 "n2 to give n3 up" usable n2 $A3 False
share dead 60
equal "clients sent to n3" 0 "$(to dead $A3)"
kill -CONT "$(pid_of usherd-n3)"
need 10 "n3 to be back" usable n2 $A3 True

story "shutdown on the primary shuts the cluster, and outlives it"
printf 'configure terminal\ncrypto ikev2 cluster\nshutdown\nend\n' | usher_at n2 | indent
need 5 "n3 to be down as well" sh -c "[ \"\$(ip netns exec $(ns n3) $USHER_BIN/usher --run-dir $RUN/n3/run show crypto ikev2 cluster | grep -c 'Status *: Down')\" = 1 ]"
knock client --count 3 --timeout 0.3 $VIP4 >"$RUN/down" 2>&1
equal "redirects while it is down" 0 "$(grep -c '^redirect' "$RUN/down")"
printf 'configure terminal\ncrypto ikev2 cluster\nno shutdown\nend\n' | usher_at n2 | indent
need 5 "redirects again" knock client --timeout 0.3 $VIP4

story "What the logs say"
for node in n1 n2 n3; do grep -hoE '%CLB-[0-9]-[A-Z]+: .*' "$RUN/usherd-$node.log" | cut -c 1-150 | awk '!seen[$0]++' | head -n 20 | sed "s/^/    | $node /"; done
hasnt "no panic anywhere" 'panicked' "$(cat "$RUN"/usherd-*.log "$RUN"/dataplane-*.log)"
lab_end
