#!/bin/bash
# A port that the kernel keeps, with two receive queues on two workers: each worker has the AF_XDP socket of one queue and
# answers what came in there; the kernel's count and the workers' add up. A veth has no RSS: a frame comes in on the queue on
# which its sender sent it, and that follows the sender's core (XPS). Natively on the veth, and by the kernel's generic XDP on
# a bridge over it, whose driver has no XDP of its own.
. "$(dirname "$0")/lib.sh"
USHER_ATTACH=bifurcated
lab_start af-xdp-queues
need_usher
[ "$(nproc)" -ge 2 ] || die "two cores are needed, one for each queue"

json() { usher_at n1 --json show dataplane | "$PY" -c "import json, sys; d = json.load(sys.stdin)['attached'][0]; print($1)"; }
# Of a counter: what each worker counted, as `20 30`. Of the port: what the kernel's program counted.
counted() { json "*next(c for c in d['counters'] if c['name'] == '$1')['per_worker']"; }
shared() { json "d['ports'][0]['status']['shared']['$1']"; }
is_active() { [ "$(state_of n1)" = Active ]; }
# from CORE KNOCKS OPTION...: from that core, and so into that queue
from() { on client taskset -c "$1" "$PY" "$LAB_DIR/knock.py" --count "$2" --timeout 2 "${@:3}" $VIP4; }
verdicts() { cut -d' ' -f1 | sort | uniq -c | awk '{print $2 " " $1}'; }
# settled_at COUNTER WORDS: the workers tell a little later, and the port every 100 ms
settled_at() { [ "$(counted "$1")" = "$2" ]; }
ended() { json "sum(c['total'] for c in d['counters'] if c['name'] in ('redirected', 'fragment_joined'))"; }
all_told() { [ "$(shared steered)" = "$(ended)" ]; }

# node DEVICE TRANSMIT_QUEUES QUEUE_OF_CORE_0 QUEUE_OF_CORE_1: a node on DEVICE, v0 or a bridge over it, and a client
node() {
    local device=$1 queues=$2
    make_space n1 client
    ip link add v0 netns "$(ns n1)" address 02:00:00:00:00:01 numrxqueues 2 numtxqueues 2 type veth \
        peer name eth0 netns "$(ns client)" numrxqueues "$queues" numtxqueues "$queues" || die "the veth"
    on client ethtool -K eth0 tx off >/dev/null
    on n1 ethtool -K v0 tx off >/dev/null
    on client ip link set eth0 up
    on n1 ip link set v0 up
    if [ "$device" != v0 ]; then
        on n1 ip link add name "$device" address 02:00:00:00:00:11 numrxqueues 2 numtxqueues 2 type bridge mcast_snooping 0 ||
            die "the bridge"
        on n1 ip link set v0 master "$device"
        on n1 ip link set "$device" up
    fi
    address client eth0 192.0.2.100/24
    on client sh -c "echo 1 >/sys/class/net/eth0/queues/tx-$3/xps_cpus && echo 2 >/sys/class/net/eth0/queues/tx-$4/xps_cpus" ||
        die "the kernel lacks XPS"
    cluster_node n1
    cluster_files n1 ' standby delay minimum 0 reload 0' ' standby 1 timers msec 50 msec 150'
    sed -i -e "s/netdev:v0/netdev:$device/" -e 's/^cores = .*/cores = [0, 1]/' -e 's/^mbufs = .*/mbufs = 16383/' \
        -e 's/^attach = .*/&\nqueues = 2/' "$RUN/n1/profile.toml"
    NODE_IF=$device
    cluster_start n1
    need 30 "n1 active" is_active
    need 30 "redirects" knock client --timeout 1 $VIP4
}

# queues MODE: requests from both cores
queues() {
    local before after first second
    equal "XDP" "$1" "$(shared by)"
    equal "sockets" 2 "$(json "d['ports'][0]['status']['shared']['copying'] + d['ports'][0]['status']['shared']['zero_copy']")"
    sleep 0.3
    read -r first second < <(counted redirected)
    equal "20 requests from core 0" "redirect 20" "$(from 0 20 | verdicts)"
    need 5 "20 more at the first worker, $((first + 20)) $second" settled_at redirected "$((first + 20)) $second"
    equal "30 requests from core 1" "redirect 30" "$(from 1 30 | verdicts)"
    need 5 "30 more at the second worker" settled_at redirected "$((first + 20)) $((second + 30))"
    ok "each worker answered what came in on its queue: $(counted redirected)"
    equal "5 requests in fragments from each core" "redirect 10" "$({ from 0 5 --vendor 1500; from 1 5 --vendor 1500; } | verdicts)"
    need 5 "five pairs at each worker" settled_at fragment_joined "5 5"
    wait_for 5 "the port's own count" all_told
    equal "of all that the kernel steered nothing is missing" "$(shared steered)" "$(ended)"
    equal "requests on a queue without a socket" 0 "$(shared unserved)"
    equal "all of it is in the port's count" "$(shared steered)" "$(json "d['ports'][0]['status']['ipackets']")"
    check "the kernel keeps the rest: ping to the node" on client ping -qc 1 -W 2 192.0.2.11
}

story "Native XDP: a veth of two queues"
node v0 2 0 1
queues xdp-native

story "A killed data plane and its successor"
kill_wait dataplane-n1 KILL
dataplane_start n1
need 30 "the successor" sh -c "[ \"\$(grep -c 'data plane up' '$RUN/dataplane-n1.log')\" = 2 ]"
need 30 "redirects" knock client --timeout 1 $VIP4
equal "from both cores" "redirect 4" "$({ from 0 2; from 1 2; } | verdicts)"

story "A clean end"
kill_wait dataplane-n1 TERM
kill_wait usherd-n1 TERM
hasnt "no XDP program stays" 'prog/xdp' "$(on n1 ip -d link show dev v0)"
for space in n1 client; do ip netns del "$(ns $space)"; done
rm -rf "$RUN/n1" "$RUN"/*-n1.log

# The kernel takes the receive queue of a frame that passed one device for the number before it: queue 1 needs number 2.
story "Generic XDP: a bridge of two queues"
node br0 3 0 2
queues xdp-generic
kill_wait dataplane-n1 TERM
hasnt "no XDP program stays" 'prog/xdp' "$(on n1 ip -d link show dev br0)"
lab_end
