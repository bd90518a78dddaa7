#!/bin/bash
# Two queues of one port on two workers: the kernel spreads clients over the queues of a TAP by addresses and ports, as
# RSS does on a NIC; both workers answer, each client gets the same gateway again, nothing is counted twice.
. "$(dirname "$0")/lib.sh"
lab_start two-workers
need_usher
make_space node
cat >"$RUN/profile.toml" <<EOC
[eal]
huge = false

[worker]
cores = [0, 1]
idle = "adaptive"

[[port]]
interface = "GigabitEthernet0/0/0"
device = "vdev:net_tap0,iface=t0"
queues = 2
exception = ""
EOC
spawn dataplane node "$USHER_BIN/usher-dataplane" run --profile "$RUN/profile.toml" \
    --vip 192.0.2.1 --redirect-to 192.0.2.21 --redirect-to 192.0.2.22
wait_for 20 "the port" on node ip link show t0 >/dev/null || die "no t0: $(tail -n 3 "$RUN/dataplane.log")"
address node t0 192.0.2.9/24
on node ip link set t0 up
on node ip neigh add 192.0.2.1 lladdr "$(on node cat /sys/class/net/t0/address)" dev t0

story "64 clients, told apart by their source port, knock twice each"
cat >"$RUN/knocks.sh" <<'SH'
for port in $(seq 20000 20063); do "$PY" "$LAB_DIR/knock.py" --twice --source-port "$port" 192.0.2.1 || exit 1; done
SH
export PY LAB_DIR
check "every knock is redirected, and the same bytes get the same answer" on node bash "$RUN/knocks.sh"

story "What the workers say at the end"
kill_wait dataplane TERM
summary=$(grep -E '^(worker|answer|pass|drop|info)' "$RUN/dataplane.log")
indent <<<"$summary"
read -r total first second < <(sed -n 's/^answer redirected *\([0-9]*\) *by worker \([0-9]*\) \([0-9]*\)$/\1 \2 \3/p' <<<"$summary")
equal "redirects" 128 "${total:-none}"
check "both workers answered" test "${first:-0}" -gt 0 -a "${second:-0}" -gt 0
equal "their sum" "$total" $((first + second))
lab_end
