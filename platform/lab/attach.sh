#!/bin/bash
# The same table on a port that the data plane owns and on one that the kernel keeps (AF_XDP with our XDP program). A row
# whose two columns differ is a difference between the two, and its text says why; there is no other.
#   attach.sh owned|bifurcated     one column; without a word both, one after the other
# On a bifurcated port the scenarios of real clients run as well; on an owned one `make test` runs them by themselves.
case ${1:-both} in
owned | bifurcated) export USHER_ATTACH=$1 ;;
both) "$0" owned && exec "$0" bifurcated; exit ;;
*) echo "attach.sh: write owned or bifurcated, or nothing for both" >&2; exit 2 ;;
esac
. "$(dirname "$0")/lib.sh"
lab_start "attach $USHER_ATTACH"

# row TEXT OWNED BIFURCATED COMMAND...: what the command prints is what stands in the column
row() {
    local text=$1 wanted=$2 found
    [ "$USHER_ATTACH" = owned ] || wanted=$3
    [ "$2" = "$3" ] || text="$text (owned: $2, bifurcated: $3)"
    shift 3
    found=$("$@" 2>/dev/null)
    equal "$text" "$wanted" "$found"
}
yes_if() { if "$@" >/dev/null 2>&1; then echo yes; else echo no; fi; }
is_active() { [ "$(state_of "$1")" = Active ]; }
started_twice() { [ "$(grep -c 'data plane up' "$RUN/dataplane-n1.log")" = 2 ]; }
verdict() { knock client --timeout 1 "$@" | cut -d' ' -f1 | sort -u; }
program() { on "$1" ip -d -json link show v0 | "$PY" -c 'import json, sys; print(json.load(sys.stdin)[0].get("xdp", {}).get("prog", {}).get("name", "none"))'; }
counter() { usher_at "$1" --json show dataplane counters | "$PY" -c 'import json, sys
for row in json.load(sys.stdin)["attached"][0]["counters"]:
    if row["name"] == sys.argv[1]: print(row["total"])' "$2"; }
# Whether the worker counted a frame of this kind while the command ran.
worker_saw() {
    local node=$1 what=$2 before
    shift 2
    before=$(counter "$node" "$what")
    "$@" >/dev/null 2>&1
    sleep 0.3
    if [ "$(counter "$node" "$what")" -gt "$before" ]; then echo yes; else echo no; fi
}
# Answers to one broadcast ARP request for the virtual address: one for each node that has it.
cat >"$RUN/arp.py" <<'PYTHON'
import socket, struct, sys, time
device, mine, wanted = sys.argv[1:]
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806)); s.bind((device, 0)); s.settimeout(0.2)
mac, me, him = s.getsockname()[4], socket.inet_aton(mine), socket.inet_aton(wanted)
s.send(b"\xff" * 6 + mac + struct.pack(">HHHBBH", 0x806, 1, 0x800, 6, 4, 1) + mac + me + bytes(6) + him)
end, count = time.monotonic() + 1, 0
while time.monotonic() < end:
    try: frame = s.recv(2048)
    except TimeoutError: continue
    count += frame[20:22] == b"\0\2" and frame[28:32] == him
print(count)
PYTHON
arps() { on client "$PY" "$RUN/arp.py" eth0 192.0.2.100 "$VIP4"; }
# esp: one ESP packet to the virtual address
esp() { on client "$PY" -c 'import socket, sys; socket.socket(socket.AF_INET, socket.SOCK_RAW, 50).sendto(bytes(64), (sys.argv[1], 0))' $VIP4; }

need_usher
make_cluster n1 n2
for node in n1 n2; do cluster_node $node; done
lines=(' standby delay minimum 0 reload 0' ' standby 1 timers msec 50 msec 150' ' standby 2 timers msec 50 msec 150')
CLUSTER_V6=1 cluster_files n1 "${lines[@]}" ' standby 1 priority 110' ' standby 2 priority 110'
CLUSTER_V6=1 cluster_files n2 "${lines[@]}"

story "A program of somebody else"
cat >"$RUN/foreign.c" <<'C'
__attribute__((section("xdp"), used)) int somebody_else(void *context) { return 2; }
C
clang -O2 -g -target bpf -c "$RUN/foreign.c" -o "$RUN/foreign.o" || die "clang: run platform/lab/deps.sh"
on n1 ip link set v0 xdp obj "$RUN/foreign.o" sec xdp || die "the foreign program"
said=$(on n1 timeout 20 "$USHER_BIN/usher-dataplane" run --profile "$RUN/n1/profile.toml" --vip $VIP4 --redirect-to $GW1_4 2>&1)
row "a foreign XDP program is named in the refusal" yes yes yes_if grep -q 'foreign XDP program (somebody_else).*ip link set dev v0 xdp off' <<<"$said"
row "and stays" somebody_else somebody_else program n1
on n1 ip link set v0 xdp off

story "Two nodes"
cluster_start n1
need 60 "n1 active" is_active n1
cluster_start n2
need 60 "both nodes settled" settled n1 n2
need 30 "redirects" knock client --timeout 1 $VIP4
need 30 "redirects over IPv6" knock client --timeout 1 $VIP6
row "the XDP program" xsk_def_prog usher_steer program n1
row "the node's addresses are on" exc0 v0 sh -c "ip netns exec $(ns n1) ip -o addr show to 192.0.2.11 | awk '{print \$2}'"

story "Requests"
row "IPv4, 500" redirect redirect verdict --count 3 $VIP4
row "IPv4, 4500 with the marker" redirect redirect verdict --port 4500 --count 3 $VIP4
row "IPv6, 500" redirect redirect verdict --count 3 $VIP6
row "IPv6, 4500 with the marker" redirect redirect verdict --port 4500 --count 3 $VIP6
row "at the node's own address" silent silent verdict 192.0.2.11

story "The kernel's side"
row "ping to the node" yes yes yes_if on client ping -qc 1 -W 2 192.0.2.11
row "ping to the virtual address" yes yes yes_if on client ping -qc 1 -W 2 $VIP4
row "ping in fragments to the virtual address" yes yes yes_if on client ping -qc 1 -W 2 -s 4000 $VIP4
row "ping in fragments to the virtual address, IPv6" yes yes yes_if on client ping -qc 1 -W 2 -s 4000 $VIP6
row "the kernel keeps its frames: a worker sees a ping to the node" yes no worker_saw n1 other_address on client ping -qc 2 -i 0.2 192.0.2.11
row "the kernel keeps its frames: a worker sees ESP to the virtual address, and meters it" yes no worker_saw n1 other_protocol esp
row "a worker sees fragments to the virtual address" yes yes worker_saw n1 fragment_other on client ping -qc 1 -W 2 -s 4000 $VIP4
row "a worker sees an unsignalled request" yes yes worker_saw n1 unsignalled knock client --unsignalled --timeout 0.3 $VIP4
row "a worker relays hellos: bifurcated, they leave by the kernel" yes no worker_saw n1 from_kernel sleep 0.5

story "The data plane is killed"
kill_wait dataplane-n1 KILL
row "its program stays" xsk_def_prog usher_steer program n1
row "the kernel keeps the port: the node answers pings meanwhile" no yes yes_if on client ping -qc 1 -W 1 192.0.2.11
need 20 "n2 active" is_active n2
row "the other node redirects" redirect redirect verdict --count 3 $VIP4
dataplane_start n1
need 30 "n1's data plane" started_twice
row "a start after that takes the old program off and puts its own on" xsk_def_prog usher_steer program n1
need 60 "both nodes settled" settled n1 n2

story "usherd of the active node is killed: its address is fenced, and the other node's answers stand alone"
active=$(active_of n1 n2) || die "nobody is active"
other=n1; [ "$active" = n2 ] || other=n2
row "one node answers ARP for the virtual address" 1 1 arps
kill_wait "usherd-$active" KILL
need 20 "$other active" is_active $other
row "the kernel of the killed one still has the address" yes yes yes_if sh -c "ip netns exec $(ns $active) ip addr | grep -q $VIP4/"
row "one node answers ARP for it all the same" 1 1 arps
row "requests are redirected" redirect redirect verdict --count 3 $VIP4
usherd_start "$active"
need 60 "both nodes settled" settled n1 n2
row "and when it is back" redirect redirect verdict --count 3 $VIP4

story "A clean end"
for node in n1 n2; do kill_wait "dataplane-$node" TERM; kill_wait "usherd-$node" TERM; done
row "XDP program left behind" none none program n1

if [ "$USHER_ATTACH" = bifurcated ]; then
    story "The scenarios of real clients, and takeovers, on a bifurcated port"
    for scenario in redirect-strongswan passes-unsignalled kernel-side restart 'takeover --short'; do
        read -ra words <<<"$scenario"
        if "$LAB_DIR/${words[0]}.sh" "${words[@]:1}" >"$RUN/scenario.txt" 2>&1; then
            ok "$scenario"
        else
            bad "$scenario: $(grep FAIL "$RUN/scenario.txt" | head -n 3 | tr '\n' ' ')"
            tail -n 60 "$RUN/scenario.txt" | indent
        fi
    done
fi
lab_end
