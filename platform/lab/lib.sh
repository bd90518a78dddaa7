# shellcheck shell=bash
# The laboratory: network namespaces, strongSwan and Usher's own processes, all named after this run and all gone
# when the script ends, however it ends. Source it, call `lab_start NAME`, build, check, and end with `lab_end`.
#
#   client --- router === node (usher-dataplane owns v0; exc0 is the kernel's side)
#                     === gw1
#                     === gw2      (=== is the LAN, a bridge in the router's namespace)

set -uo pipefail
LAB_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$LAB_DIR/../.." && pwd)
USHER_BIN=${USHER_BIN:-$ROOT/target/release}
case $USHER_BIN in /*) ;; *) USHER_BIN=$ROOT/$USHER_BIN ;; esac
USHER_VENV=${USHER_VENV:-$ROOT/.venv}
PY=/usr/bin/python3
[ -x $PY ] || PY=$(command -v python3)

VIP4=192.0.2.1 VIP6=2001:db8::1
NODE4=192.0.2.11 NODE6=2001:db8::11
GW1_4=192.0.2.21 GW1_6=2001:db8::21
GW2_4=192.0.2.22 GW2_6=2001:db8::22
ROUTER4=192.0.2.254 ROUTER6=2001:db8::fe
CLIENT4=198.51.100.2 CLIENT6=2001:db8:c::2
VMAC4=00:00:0c:9f:f0:01
PSK=lab-secret-of-no-value
# Who has the node's port: `owned` by the data plane, or `bifurcated`, kept by the kernel. NODE_IF carries its addresses.
USHER_ATTACH=${USHER_ATTACH:-owned}
NODE_IF=exc0
[ "$USHER_ATTACH" = owned ] || NODE_IF=v0

PASS=0 FAIL=0 MISSED=() LAB_KEEP=${LAB_KEEP:-} LAB_NAME='' RUN='' PROGRAMS='' PFX=''
PIDS=() SPACES=()

# ---- story and checks -------------------------------------------------------------------------------------------
story() { printf '\n\033[1m%s\033[0m\n' "$*"; }
say() { printf '    %s\n' "$*"; }
indent() { sed 's/^/    | /'; }
ok() { PASS=$((PASS + 1)); printf '  ok    %s\n' "$*"; }
bad() { FAIL=$((FAIL + 1)); MISSED+=("$*"); printf '  FAIL  %s\n' "$*"; }
# check TEXT COMMAND...: the command's exit status decides; what it says is shown only when it fails.
check() {
    local text=$1 said
    shift
    if said=$("$@" 2>&1); then ok "$text"; else bad "$text"; [ -z "$said" ] || tail -n 8 <<<"$said" | indent; fi
}
# equal TEXT WANTED FOUND
equal() { if [ "$2" = "$3" ]; then ok "$1: $3"; else bad "$1: wanted '$2', found '$3'"; fi; }
# has TEXT PATTERN INPUT
has() { if grep -qE -- "$2" <<<"$3"; then ok "$1"; else bad "$1: no /$2/ in: $(tail -n 5 <<<"$3" | tr '\n' ' ')"; fi; }
hasnt() { if grep -qE -- "$2" <<<"$3"; then bad "$1: found $(grep -E -m1 -- "$2" <<<"$3")"; else ok "$1"; fi; }
# The scenario cannot go on.
die() { printf '  FAIL  %s\n' "$*" >&2; FAIL=$((FAIL + 1)); exit 1; }

# wait_for SECONDS WHAT COMMAND...: polls ten times a second, never longer than told (the machine may be busy).
wait_for() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || { printf '        waited in vain for %s\n' "$what" >&2; return 1; }
        sleep 0.1
    done
}
# need SECONDS WHAT COMMAND...: wait, or end the scenario. USHER_NEED caps the seconds.
need() {
    local seconds=$1
    shift
    wait_for "${USHER_NEED:-$seconds}" "$@" || die "$1"
}
now() { "$PY" -c 'import time; print(time.monotonic())'; }

# ---- life of a run ----------------------------------------------------------------------------------------------
lab_start() {
    LAB_NAME=$1
    export PATH=$PATH:/usr/sbin:/sbin
    [ "$(id -u)" = 0 ] || { echo "$LAB_NAME: network namespaces need root: run it with sudo" >&2; exit 1; }
    local tool
    for tool in ip ethtool nft tshark swanctl ping; do
        command -v "$tool" >/dev/null || { echo "$LAB_NAME: $tool is missing: run platform/lab/deps.sh" >&2; exit 1; }
    done
    RUN=$(mktemp -d "/tmp/usher-lab.$$.XXXXXX")
    # usherd runs programs only from paths that root alone can change.
    PROGRAMS=$(mktemp -d "/run/usher-lab.$$.XXXXXX")
    chmod 755 "$RUN" "$PROGRAMS"
    PFX=ul$$
    trap lab_cleanup EXIT
    trap 'echo; echo "interrupted: cleaning up" >&2; exit 130' INT
    trap 'exit 143' TERM HUP
}

lab_end() {
    printf '\n%s: %d checks passed, %d failed\n' "$LAB_NAME" "$PASS" "$FAIL"
    [ "$FAIL" = 0 ]
    exit
}

lab_cleanup() {
    local status=$? pid space end
    trap '' INT TERM HUP
    trap - EXIT
    if [ "$status" != 0 ] && [ "$status" != 130 ] && [ "$status" != 143 ]; then lab_logs; fi
    if [ -n "$LAB_KEEP" ] && [ "$status" = 0 ]; then exit 0; fi
    # Own processes: those started here, and whatever they left inside the namespaces made here.
    for pid in "${PIDS[@]}"; do kill -TERM "$pid" 2>/dev/null; done
    end=$((SECONDS + 5))
    while [ "$SECONDS" -lt "$end" ] && lab_alive; do sleep 0.1; done
    for pid in "${PIDS[@]}"; do kill -KILL "$pid" 2>/dev/null; done
    for space in "${SPACES[@]}"; do
        for pid in $(ip netns pids "$space" 2>/dev/null); do kill -KILL "$pid" 2>/dev/null; done
    done
    wait 2>/dev/null
    for space in "${SPACES[@]}"; do ip netns del "$space" 2>/dev/null; done
    [ -z "$RUN" ] || rm -rf "$RUN" "$PROGRAMS"
    exit "$status"
}
lab_alive() { local pid; for pid in "${PIDS[@]}"; do kill -0 "$pid" 2>/dev/null && return 0; done; return 1; }
lab_logs() {
    local log
    for log in "$RUN"/*.log "$RUN"/charon-*.txt; do
        [ -s "$log" ] || continue
        printf -- '---- last lines of %s\n' "${log##*/}" >&2
        tail -n "${LAB_LOG_LINES:-15}" "$log" >&2
    done
}

# ---- namespaces -------------------------------------------------------------------------------------------------
ns() { echo "$PFX-$1"; }
on() { local where=$1; shift; ip netns exec "$PFX-$where" "$@"; }
# spawn NAME WHERE COMMAND...: in the background, log in $RUN/NAME.log, pid in $RUN/NAME.pid
spawn() {
    local name=$1 where=$2
    shift 2
    ip netns exec "$PFX-$where" "$@" >>"$RUN/$name.log" 2>&1 </dev/null &
    echo $! >"$RUN/$name.pid"
    PIDS+=($!)
    disown $! 2>/dev/null
}
pid_of() { cat "$RUN/$1.pid"; }
running() { kill -0 "$(pid_of "$1")" 2>/dev/null; }
# kill_wait NAME SIGNAL: and wait until it is gone
kill_wait() {
    local pid; pid=$(pid_of "$1")
    kill "-$2" "$pid" 2>/dev/null
    gone "$1"
}
# gone NAME: waits until it has ended; its process id may be another's from now on
gone() {
    local pid p left=()
    pid=$(pid_of "$1")
    wait_for 10 "$1 to end" bash -c "! kill -0 $pid" || die "$1 (pid $pid) does not end"
    for p in "${PIDS[@]}"; do [ "$p" = "$pid" ] || left+=("$p"); done
    PIDS=("${left[@]}")
}

make_space() {
    local name
    for name in "$@"; do
        ip netns add "$PFX-$name" || die "cannot make the namespace $PFX-$name"
        SPACES+=("$PFX-$name")
        on "$name" ip link set lo up
        on "$name" sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0
    done
}
# make_link A IF_A B IF_B: a veth between two namespaces; a DPDK port may sit behind either end, and the kernel
# would leave checksums unfinished on a veth, so that offload is switched off.
make_link() {
    ip link add "$2" netns "$(ns "$1")" type veth peer name "$4" netns "$(ns "$3")" || die "veth $1:$2 - $3:$4"
    on "$1" ethtool -K "$2" tx off >/dev/null
    on "$3" ethtool -K "$4" tx off >/dev/null
    on "$1" ip link set "$2" up
    on "$3" ip link set "$4" up
}
address() { # WHERE IF ADDR/LEN...
    local where=$1 dev=$2 a
    shift 2
    for a in "$@"; do
        case $a in
        *:*) on "$where" ip addr add "$a" dev "$dev" nodad || die "address $a on $where" ;;
        *) on "$where" ip addr add "$a" dev "$dev" || die "address $a on $where" ;;
        esac
    done
}

# The whole topology of the page's head. The node's v0 stays without an address: the data plane owns it.
make_network() {
    make_space client router node gw1 gw2
    on router sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
    on router ip link add lan address 02:00:00:00:00:fe type bridge mcast_snooping 0
    on router ip link set lan up
    make_link client eth0 router cl0
    local name
    for name in node:v0 gw1:eth0 gw2:eth0; do
        make_link "${name%:*}" "${name#*:}" router "${name%:*}0"
        on router ip link set "${name%:*}0" master lan
    done
    # An owned port is no interface of the kernel's.
    [ "$USHER_ATTACH" != owned ] || on node sysctl -qw net.ipv6.conf.v0.disable_ipv6=1
    on node ip link set v0 address 02:00:00:00:00:01
    on node sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2
    address router lan $ROUTER4/24 $ROUTER6/64
    address router cl0 198.51.100.1/24 2001:db8:c::1/64
    address client eth0 $CLIENT4/24 $CLIENT6/64
    address gw1 eth0 $GW1_4/24 $GW1_6/64
    address gw2 eth0 $GW2_4/24 $GW2_6/64
    on client ip route add default via 198.51.100.1
    on client ip -6 route add default via 2001:db8:c::1
    for name in gw1 gw2; do
        on $name ip route add default via $ROUTER4
        on $name ip -6 route add default via $ROUTER6
    done
}
# Routes of the node, once its exception device has its addresses.
node_routes() {
    on node ip route replace default via $ROUTER4
    on node ip -6 route replace default via $ROUTER6 2>/dev/null
}
make_nat() {
    on router nft -f - <<'NFT' || die "nft masquerade"
table inet nat {
    chain post {
        type nat hook postrouting priority srcnat; policy accept;
        iifname "cl0" oifname "lan" masquerade random
    }
}
NFT
}

# ---- strongSwan -------------------------------------------------------------------------------------------------
# A charon in its own mount namespace (its pid file lies in /run) with its vici socket in the run's folder.
# The binary is copied: a distribution's AppArmor profile is bound to its path and forbids this folder.
charon_start() { # NAME (also the namespace) [strongswan.conf lines]
    local name=$1 extra=${2:-} dir=$RUN/$1
    mkdir -p "$dir/swanctl"
    cp /usr/lib/ipsec/charon "$dir/charon-$name"
    cat >"$dir/strongswan.conf" <<EOC
charon {
  load = random nonce openssl aes sha1 sha2 hmac gmp curve25519 x509 pubkey pem pkcs1 pkcs8 kdf gcm kernel-libipsec kernel-netlink socket-default vici
  install_routes = yes
  make_before_break = no
  retransmit_timeout = 1.0
  retransmit_tries = 4
  retransmit_base = 1.4
  plugins {
    vici {
      socket = unix://$dir/vici
    }
  }
  filelog {
    file {
      path = $RUN/charon-$name.txt
      default = 1
      flush_line = yes
    }
  }
  ${extra:-dos_protection = no}
}
EOC
    STRONGSWAN_CONF=$dir/strongswan.conf spawn "charon-$name" "$name" unshare -m sh -c \
        'mount -t tmpfs tmpfs /run && exec "$0"' "$dir/charon-$name"
}
swan() { # NAME swanctl arguments
    local name=$1 command=$2
    shift 2
    SWANCTL_DIR=$RUN/$name/swanctl STRONGSWAN_CONF=$RUN/$name/strongswan.conf timeout "${SWAN_TIMEOUT:-40}" \
        swanctl "$command" --uri "unix://$RUN/$name/vici" "$@"
}
swan_ready() { need 30 "charon of $1" swan "$1" --stats && swan "$1" --load-all --noprompt >"$RUN/load-$1.txt" 2>&1 || die "swanctl --load-all for $1: $(cat "$RUN/load-$1.txt")"; }
# Every gateway presents the same identity, as RFC 5685 wants; which one a client reached is seen on the gateway.
gateway_start() { # NAME (gw1, n1, node...) [strongswan.conf lines], gives inner addresses 10.N.0.1
    local name=$1 n=${1//[a-z]/}
    [ -n "$n" ] || n=9
    charon_start "$name" "${2:-}"
    cat >"$RUN/$name/swanctl/swanctl.conf" <<EOC
connections {
  vpn {
    version = 2
    proposals = aes128-sha256-x25519,aes128-sha256-modp2048,aes128-sha1-modp1024,default
    local { auth = psk
      id = vpn.example.net }
    remote { auth = psk }
    pools = pool4
    children { net { local_ts = 10.$n.0.1/32
      esp_proposals = aes128-sha256 } }
  }
}
pools { pool4 { addrs = 10.200.$n.0/24 } }
secrets { ike { secret = $PSK } }
EOC
    address "$name" lo "10.$n.0.1/32"
}
# client_config NAME REMOTE_ADDRESS [lines of the connection]
client_config() {
    cat >"$RUN/client/swanctl/swanctl.conf" <<EOC
connections {
  $1 {
    version = 2
    remote_addrs = $2
    ${3:-}
    proposals = ${CLIENT_PROPOSALS:-aes128-sha256-x25519}
    vips = 0.0.0.0
    local { auth = psk
      id = roadwarrior@example.net }
    remote { auth = psk
      id = vpn.example.net }
    children { net { remote_ts = 10.0.0.0/8
      esp_proposals = aes128-sha256 } }
  }
}
secrets { ike { secret = $PSK } }
EOC
    swan client --load-all --noprompt >"$RUN/load-client.txt" 2>&1 || die "swanctl --load-all of the client"
}
# sa_on GATEWAY: the established SA's line there, empty when none
sa_on() { swan "$1" --list-sas 2>/dev/null | grep -E 'ESTABLISHED' ; }
forget_sas() { local n; for n in client gw1 gw2; do swan "$n" --terminate --ike '*' --force >/dev/null 2>&1; done; swan client --terminate --ike v --force >/dev/null 2>&1; }

# ---- Usher ------------------------------------------------------------------------------------------------------
need_usher() {
    local b
    for b in usherd usher-dataplane usher; do
        [ -x "$USHER_BIN/$b" ] || { echo "$LAB_NAME: $USHER_BIN/$b is missing: run \`make build\` (or set USHER_BIN)" >&2; exit 1; }
    done
}
# Functions that name a NODE are for laboratories of several; without it they mean `node`, the one of the page's head.
# Its files lie in $RUN itself and its processes are called `usherd` and `dataplane`; those of n1 lie in $RUN/n1 and are
# `usherd-n1` and `dataplane-n1`.
node_dir() { if [ "$1" = node ]; then echo "$RUN"; else echo "$RUN/$1"; fi; }
node_tag() { if [ "$2" = node ]; then echo "$1"; else echo "$1-$2"; fi; }
profile_file() { # [NODE]: the shipped lab profile
    local dir; dir=$(node_dir "${1:-node}")
    mkdir -p "$dir"
    cp "$ROOT/platform/profiles/lab.toml" "$dir/profile.toml"
    [ "$USHER_ATTACH" = owned ] || sed -i 's/^device = .*/device = "netdev:v0"\nattach = "bifurcated"/' "$dir/profile.toml"
}
# Profile and configuration of the lone node. USHER_GATEWAYS overrides the static-gateway lines.
usher_files() {
    profile_file
    cat >"$RUN/usher.conf" <<EOC
hostname node
!
interface GigabitEthernet0/0/0
 ip address $NODE4 255.255.255.0
 ipv6 address $NODE6/64
 standby version 2
 standby delay minimum 0 reload 0
 standby 1 ip $VIP4
 standby 1 timers msec 50 msec 150
 standby 1 name vpn
 standby 2 ipv6 $VIP6/64
 standby 2 timers msec 50 msec 150
 standby 2 name vpn
!
crypto ikev2 redirect gateway init
!
crypto ikev2 cluster
 standby-group vpn
${USHER_GATEWAYS:-$(printf ' static-gateway %s priority 100\n' $GW1_4 $GW1_6 $GW2_4 $GW2_6)}
 no shutdown
!
end
EOC
}
usherd_start() { # [NODE]
    local node=${1:-node} dir
    dir=$(node_dir "$node")
    spawn "$(node_tag usherd "$node")" "$node" "$USHER_BIN/usherd" --config "$dir/usher.conf" --run-dir "$dir/run" --profile "$dir/profile.toml"
}
dataplane_start() { # [NODE]
    local node=${1:-node} dir
    dir=$(node_dir "$node")
    spawn "$(node_tag dataplane "$node")" "$node" "$USHER_BIN/usher-dataplane" run --profile "$dir/profile.toml" --socket "$dir/run/dataplane.sock"
}
usher_at() { local node=$1; shift; on "$node" timeout 20 "$USHER_BIN/usher" --run-dir "$(node_dir "$node")/run" "$@"; }
usher() { usher_at node "$@"; }
knock() { local where=$1; shift; on "$where" "$PY" "$LAB_DIR/knock.py" "$@"; }
# Usher up and answering for both families.
usher_start() {
    need_usher
    usher_files
    mkdir -p "$RUN/run"
    usherd_start
    dataplane_start
    need 60 "the exception device exc0" on node ip link show exc0
    need 60 "the node's own address on exc0" on node sh -c "ip addr show | grep -q $NODE4/"
    node_routes
    need 60 "redirects over IPv4" knock client --timeout 1 "$VIP4"
    need 60 "redirects over IPv6" knock client --timeout 1 "$VIP6"
}

# ---- several nodes ----------------------------------------------------------------------------------------------
# make_cluster NODE...: nodes n1, n2... and a client on one bridge, `br0` in the namespace `lan`, where each one's port
# has its name. n1 has 192.0.2.11, the client 192.0.2.100.
make_cluster() {
    local name
    make_space lan client "$@"
    on lan ip link add name br0 address 02:00:00:00:00:fe type bridge mcast_snooping 0
    on lan ip link set br0 up
    make_link client eth0 lan client
    on lan ip link set client master br0
    address client eth0 192.0.2.100/24 2001:db8::100/64
    for name in "$@"; do
        make_link "$name" v0 lan "$name"
        on lan ip link set "$name" master br0
        on "$name" ip link set v0 address "02:00:00:00:00:0${name#n}"
    done
}
# cluster_node NODE: what a node needs of its kernel
cluster_node() {
    [ "$USHER_ATTACH" != owned ] || on "$1" sysctl -qw net.ipv6.conf.v0.disable_ipv6=1
    on "$1" sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2
}
# node_files NODE: its profile; its configuration comes on standard input
node_files() {
    local node=$1 number=${1#n} dir=$RUN/$1
    profile_file "$node"
    mkdir -p "$dir/run"
    # The workers spread over the cores: all nodes would choose the same one.
    sed -i "s/^\\[worker\\]/&\\ncores = [$((number % $(nproc)))]/" "$dir/profile.toml"
    cat >"$dir/usher.conf"
}
# cluster_files NODE LINE...: its profile and configuration; the lines are of the interface, as ` standby 1 preempt`.
# CLUSTER_LINES: lines of the cluster in place of the two static gateways. CLUSTER_V6: a second group of the same priority for the IPv6 virtual address.
cluster_files() {
    local node=$1 number=${1#n}
    shift
    {
        printf 'hostname %s\n!\ninterface GigabitEthernet0/0/0\n' "$node"
        printf ' ip address 192.0.2.%d 255.255.255.0\n ipv6 address 2001:db8::%d/64\n' $((10 + number)) $((10 + number))
        printf ' standby version 2\n standby 1 ip %s\n standby 1 name vpn\n' $VIP4
        [ -z "${CLUSTER_V6:-}" ] || printf ' standby 2 ipv6 %s/64\n standby 2 name vpn\n' $VIP6
        printf '%s\n' "$@"
        printf '!\ncrypto ikev2 redirect gateway init\n!\ncrypto ikev2 cluster\n standby-group vpn\n'
        if [ -n "${CLUSTER_LINES:-}" ]; then printf '%s\n' "$CLUSTER_LINES"; else printf ' static-gateway %s priority 100\n' $GW1_4 $GW1_6 $GW2_4 $GW2_6; fi
        printf ' no shutdown\n!\nend\n'
    } | node_files "$node"
}
cluster_start() { # NODE...: both processes of each, and the exception device
    local node
    need_usher
    for node in "$@"; do usherd_start "$node"; dataplane_start "$node"; done
    for node in "$@"; do
        need 60 "the own address of $node" on "$node" sh -c "ip addr show dev $NODE_IF | grep -qE 'inet6? (192.0.2.1|2001:db8::1)'"
    done
}
# state_of NODE [GROUP]: Active, Standby, Listen...; empty when usherd does not answer
state_of() {
    local group=${2:-1}
    usher_at "$1" show standby brief 2>/dev/null | awk -v group="$group" '$2 == group { s = $4 == "P" ? $5 : $4; print s; exit }'
}
states() { local node; for node in "$@"; do state_of "$node" "${STATES_GROUP:-1}"; done; }
# settled NODE...: one active, at most one standby, nobody on the way
settled() {
    local all
    all=$(states "$@" | sort | tr '\n' ' ')
    case $# in
    1) [ "$all" = 'Active ' ] ;;
    2) [ "$all" = 'Active Standby ' ] ;;
    *) [[ $all =~ ^'Active '('Listen ')*'Standby '$ ]] && [ "$(wc -w <<<"$all")" = $# ] ;;
    esac
}
active_of() { local node; for node in "$@"; do [ "$(state_of "$node" "${STATES_GROUP:-1}")" != Active ] || { echo "$node"; return; }; done; return 1; }

# ---- what the nodes of a cluster say -------------------------------------------------------------------------------
# load NODE SESSIONS: of those whose load source is their file (load_script); IKE SAs of max-session, nothing else
load() { echo "half_open=0 ike=$2 child=0 cpu=1 mem=1" >"$RUN/$1/load.new"; mv "$RUN/$1/load.new" "$RUN/$1/load"; }
load_script() { # NODE SESSIONS: the program for `load-source script`, $PROGRAMS/NODE/load.sh
    mkdir -p "$RUN/$1" "$PROGRAMS/$1"
    printf '#!/bin/sh\nexec cat %s/load\n' "$RUN/$1" >"$PROGRAMS/$1/load.sh"
    chmod 755 "$PROGRAMS/$1" "$PROGRAMS/$1/load.sh"
    load "$1" "$2"
}
cluster_json() { usher_at "$1" --json show crypto ikev2 cluster 2>/dev/null; }
# gateway NODE ADDRESS FIELD: of the row of that gateway, as NODE has it
gateway() { cluster_json "$1" | "$PY" -c "
import json, sys
view = json.load(sys.stdin)
print([str(g['$3']) for g in view['gateways'] if g['address'] == '$2'][0])" 2>/dev/null; }
# view NODE FIELD: of the cluster, as NODE has it
view() { cluster_json "$1" | "$PY" -c "import json, sys; print(json.load(sys.stdin)['$2'])" 2>/dev/null; }
members() { [ "$(view "$1" secondaries)" = "$2" ]; }
usable() { [ "$(gateway "$1" "$2" usable)" = "$3" ]; }
# holds NODE ADDRESS MIN [MAX]: slots of 1024
holds() { local slots; slots=$(gateway "$1" "$2" slots); [ -n "$slots" ] && [ "$slots" -ge "$3" ] && [ "$slots" -le "${4:-1024}" ]; }
enter() { # NODE LINE...: in configuration mode
    local node=$1
    shift
    printf '%s\n' 'configure terminal' "$@" end | usher_at "$node"
}
# share NAME COUNT [ADDRESS]: knocks from the client at the virtual address; the verdicts lie in $RUN/NAME
share() {
    knock client --count "$2" --timeout 1 "${3:-$VIP4}" >"$RUN/$1" 2>&1
    say "$(awk '{n[$1 " " ($1 == "redirect" ? $2 : "")]++} END {for (k in n) printf "%s: %d  ", k, n[k]}' "$RUN/$1")"
}
# to NAME ADDRESS: how many of them were sent there
to() { grep -c "^redirect $2 " "$RUN/$1"; }
# in_range TEXT LOW VALUE HIGH
in_range() { if [ -n "$3" ] && [ "$3" -ge "$2" ] && [ "$3" -le "$4" ]; then ok "$1: $3"; else bad "$1: wanted $2 to $4, found '$3'"; fi; }

# ---- the witness of takeovers, witness.py ------------------------------------------------------------------------
# witness_start NAME VIP PORTS [OPTION...]: events in $RUN/NAME.events
witness_start() {
    local name=$1 to=$2 ports=$3
    shift 3
    WITNESS=$name
    "$PY" "$LAB_DIR/witness.py" "$to" --client "$(ns client)" --lan "$(ns lan)" --ports "$ports" --pipe "$RUN/$name.pipe" \
        --log "$RUN/$name.events" "$@" >"$RUN/$name.log" 2>&1 &
    echo $! >"$RUN/$name.pid"
    PIDS+=($!)
    disown $!
    need 20 "the witness" test -s "$RUN/$name.events"
}
# The pipe has a reader as long as the witness lives.
tell() { running "$WITNESS" || die "the witness died: $(cat "$RUN/$WITNESS.log")"; echo "$*" >"$RUN/$WITNESS.pipe"; }
witness_end() { tell end; gone "$WITNESS"; }
# learned MAC: the bridge's port at which it is
learned() { on lan bridge fdb show br br0 | awk -v mac="$1" '$1 == mac && /master br0/ { print $3; exit }'; }
