#!/bin/bash
# Three nodes change the cluster key while the cluster runs: the new key is accepted everywhere first, then becomes the active
# one on a node at a time, then the old one is removed. No member is lost and every client is redirected. A node with a wrong
# key is named on both sides. About 35 seconds.
. "$(dirname "$0")/lib.sh"
lab_start key-rotation
NODES=(n1 n2 n3)
OLD=an-old-key-of-the-cluster NEW=the-new-key-of-the-cluster
make_cluster "${NODES[@]}"
for node in "${NODES[@]}"; do
    cluster_node "$node"
    CLUSTER_LINES=$(printf ' key %s\n secondary max-session 1000\n secondary hello 200\n secondary update 200\n holdtime 1500\n load-source fixed half-open 0 ike 100 child 100 cpu 10 mem 10\n' "$OLD") \
        cluster_files "$node" " standby 1 priority $((130 - 10 * ${node#n}))" " standby 1 timers msec 300 msec 1200" " standby delay minimum 0 reload 0"
done
cluster_start "${NODES[@]}"
A3=192.0.2.13
# cluster_enters NODE LINE...: lines under `crypto ikev2 cluster`
cluster_enters() {
    local node=$1
    shift
    { printf 'configure terminal\ncrypto ikev2 cluster\n'; printf '%s\n' "$@"; printf 'end\n'; } | usher_at "$node" | indent
}
lost() { cat "$RUN"/usherd-n?.log | grep -c 'CLB-4-MEMBERDEAD'; }

story "Three nodes with the old key"
need 20 "a settled group" settled "${NODES[@]}"
need 15 "two members at the primary" members n1 2
for node in n1 n2 n3; do need 15 "n1's view of $node" usable n1 192.0.2.1${node#n} True; done

story "The change: accepted everywhere, active on one node after the other, the old key removed"
before=$(lost)
knock client --watch 9 --timeout 1 "$VIP4" >"$RUN/clients" 2>&1 &
clients=$!
for node in "${NODES[@]}"; do cluster_enters "$node" "key 2 $NEW"; done
for node in n2 n1 n3; do
    cluster_enters "$node" "key 2 active $NEW"
    sleep 1.6 # longer than holdtime: a member that was lost by it would be called dead
    equal "members at the primary when $node uses the new key" 2 "$(view n1 secondaries)"
    [ "$node" != n1 ] || has "n1 names the member that still uses the old key" "Note +: $A3 uses the cluster key that is not active" "$(usher_at n1 show crypto ikev2 cluster)"
done
for node in "${NODES[@]}"; do cluster_enters "$node" "no key 1"; done
sleep 1.6
equal "members at the primary with the new key alone" 2 "$(view n1 secondaries)"
wait $clients
check "clients knocked meanwhile" [ "$(wc -l <"$RUN/clients")" -ge 100 ]
equal "of these not redirected" 0 "$(grep -vc ' redirect ' "$RUN/clients")"
equal "members that were lost" "$before" "$(lost)"

story "A wrong key is visible on both sides"
cluster_enters n3 "key a-key-that-is-wrong-here"
need 10 "n1 to have lost n3" usable n1 $A3 False
text=$(usher_at n1 show crypto ikev2 cluster)
indent <<<"$text"
has "n1 names n3 and the reason" "Last refusal +: $A3 .*ago: wrong cluster key" "$text"
text=$(usher_at n3 show crypto ikev2 cluster)
indent <<<"$text"
has "n3 names the reason" "Last refusal +: .*ago: wrong cluster key" "$text"
has "n1 counts it" 'feed_closed_wrong_key +[1-9]' "$(usher_at n1 show crypto ikev2 cluster stats)"
has "n3 counts it" 'feed_closed_wrong_key +[1-9]' "$(usher_at n3 show crypto ikev2 cluster stats)"
cluster_enters n3 "key $NEW"
need 10 "n3 to be a member again" usable n1 $A3 True
hasnt "no key in any log" "$OLD|$NEW" "$(cat "$RUN"/usherd-*.log)"
hasnt "no panic anywhere" 'panicked' "$(cat "$RUN"/usherd-*.log "$RUN"/dataplane-*.log)"
lab_end
