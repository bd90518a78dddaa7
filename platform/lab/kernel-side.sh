#!/bin/bash
# Everything that is not redirected belongs to the kernel: through the exception device ping, fragments, ARP, neighbour
# discovery and TCP work both ways, and the virtual addresses answer with their virtual MACs.
. "$(dirname "$0")/lib.sh"
lab_start kernel-side
make_network
usher_start

story "The exception device is the port's"
link=$(on node ip link show exc0)
has "its MAC" "link/ether 02:00:00:00:00:01" "$link"
has "its MTU" "mtu 1500" "$link"
check "the node's own addresses are on it" on node sh -c "ip addr show dev $NODE_IF | grep -q $NODE4/24 && ip addr show dev $NODE_IF | grep -q $NODE6/64"

story "Who is who on the LAN"
mac_of() { # ADDRESS: as gw1 learns it
    on gw1 ip neigh flush dev eth0
    on gw1 ping -qc 1 -W 2 "$1" >/dev/null
    on gw1 ip neigh show "$1" dev eth0 | sed -n 's/.*lladdr \([^ ]*\).*/\1/p'
}
equal "$NODE4 is at" 02:00:00:00:00:01 "$(mac_of $NODE4)"
equal "$NODE6 is at" 02:00:00:00:00:01 "$(mac_of $NODE6)"
equal "$VIP4 is at (HSRP version 2, group 1)" 00:00:0c:9f:f0:01 "$(mac_of $VIP4)"
equal "$VIP6 is at (IPv6, group 2)" 00:05:73:a0:00:02 "$(mac_of $VIP6)"

story "ping, both ways"
for to in $NODE4 $NODE6 $VIP4 $VIP6; do
    check "client to $to" on client ping -qc 3 -i 0.1 -W 2 $to
    check "client to $to, 1,400 bytes" on client ping -qc 1 -W 2 -s 1400 $to
    check "client to $to, 4,000 bytes in fragments" on client ping -qc 1 -W 2 -s 4000 $to
done
for to in $CLIENT4 $CLIENT6; do
    check "node to $to" on node ping -qc 3 -i 0.1 -W 2 $to
    check "node to $to, 4,000 bytes in fragments" on node ping -qc 1 -W 2 -s 4000 $to
done

story "TCP: 4 MiB each way, checked by digest"
cat >"$RUN/tcp.py" <<'PYTHON'
import hashlib, socket, sys
role, address, size = sys.argv[1], sys.argv[2], 4 << 20
family = socket.AF_INET6 if ":" in address else socket.AF_INET
def read(s):
    digest, left = hashlib.sha256(), size
    while left:
        data = s.recv(min(left, 65536))
        if not data: sys.exit("the connection ended early")
        digest.update(data); left -= len(data)
    return digest.digest()
if role == "serve":
    with socket.create_server((address, 7), family=family) as server:
        server.settimeout(30); print("ready", flush=True)
        s, _ = server.accept(); s.settimeout(30)
        s.sendall(read(s)); data = bytes(range(256)) * (size // 256)
        s.sendall(data); s.recv(1)
else:
    s = socket.create_connection((address, 7), timeout=30)
    data = hashlib.sha256(b"usher").digest() * (size // 32)
    s.sendall(data)
    answer = b""
    while len(answer) < 32: answer += s.recv(32 - len(answer))
    if answer != hashlib.sha256(data).digest(): sys.exit("what came to the server is not what was sent")
    if read(s) != hashlib.sha256(bytes(range(256)) * (size // 256)).digest(): sys.exit("what came back is not what was sent")
    s.close()
PYTHON
transfer() { # FROM TO ADDRESS
    rm -f "$RUN/tcp.log"
    spawn tcp "$2" "$PY" "$RUN/tcp.py" serve "$3"
    wait_for 20 "the TCP server" grep -q ready "$RUN/tcp.log"
    check "$1 to $2 at $3" on "$1" timeout 60 "$PY" "$RUN/tcp.py" connect "$3"
    kill_wait tcp TERM
}
transfer client node $NODE4
transfer client node $NODE6
transfer client node $VIP4
transfer client node $VIP6
transfer node client $CLIENT4
transfer node client $CLIENT6

story "And redirects beside all that"
check "IPv4" knock client --count 3 $VIP4
check "IPv6" knock client --count 3 $VIP6
check "at the node's own address nobody is redirected" knock client --expect silent --timeout 0.5 $NODE4
lab_end
