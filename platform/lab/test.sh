#!/bin/bash
# What `make test` does. Every Rust test counts as one, every gate and every laboratory as one; the last line is the
# sum: `N passed, N failed`. Logs of what failed are printed; all of them lie in target/test-logs.
#   test.sh [NAME...]   only these laboratories (the release binaries must be built)
set -uo pipefail
LAB=$(cd "$(dirname "$0")" && pwd)
ROOT=$(cd "$LAB/../.." && pwd)
cd "$ROOT" || exit 1
export PATH=$PATH:$HOME/.cargo/bin # where rustup puts cargo
export USHER_BIN=${USHER_BIN:-target/release} CARGO_TERM_COLOR=never
LOGS=$ROOT/target/test-logs
passed=0 failed=0
SCENARIOS=(two-workers af-xdp-queues kernel-side vlan redirect-strongswan passes-unsignalled restart 'attach owned' 'attach bifurcated' bond flood bad-input interrupt demo
    install systemd static-probe cluster key-rotation 'cluster-strongswan --short' hsrp-frames 'takeover --short' 'chaos --seconds 60')
# Of these the timers are seconds, and most of their time is waiting: two run at once.
PAIRS=('cluster-ipv6 standby-default' 'cluster-groups clock-step')
LIMIT=600 # seconds for one laboratory; the slowest takes about one minute

# run NAME SECONDS COMMAND...: its output in the logs, how it ended and its seconds in NAME.ended there
run() {
    local name=$1 limit=$2 began=$SECONDS status
    shift 2
    timeout -k 30 "$limit" "$@" >"$LOGS/$name.log" 2>&1 </dev/null
    status=$?
    echo "$status $((SECONDS - began))" >"$LOGS/$name.ended"
}
# judge NAME: counts a gate that has run; its name stands before it already
judge() {
    local status=1 took=0
    read -r status took <"$LOGS/$1.ended"
    if [ "$status" = 0 ]; then
        passed=$((passed + 1))
        printf 'ok    %4d s\n' "$took"
    else
        failed=$((failed + 1))
        printf 'FAIL  %4d s\n' "$took"
        grep -E 'FAIL|panicked|^error|warning: unused|^ +\| ' "$LOGS/$1.log" | head -n 30
        tail -n 25 "$LOGS/$1.log"
        return 1
    fi
}
# step NAME SECONDS COMMAND...: one gate
step() {
    printf '%-34s' "$1"
    run "$@"
    judge "$1"
}
# rust NAME SECONDS COMMAND...: a test run of cargo, counted test by test
rust() {
    local name=$1 limit=$2 began=$SECONDS status good bad
    shift 2
    printf '%-34s' "$name"
    timeout -k 30 "$limit" "$@" >"$LOGS/$name.log" 2>&1 </dev/null
    status=$?
    good=$(sed -n 's/^test result: .* \([0-9]*\) passed; .*/\1/p' "$LOGS/$name.log" | awk '{n += $1} END {print n + 0}')
    bad=$(sed -n 's/^test result: .* \([0-9]*\) failed; .*/\1/p' "$LOGS/$name.log" | awk '{n += $1} END {print n + 0}')
    # It did not compile, crashed, or ran out of time; or there was nothing to run.
    if [ "$bad" = 0 ] && { [ $status != 0 ] || [ "$good" = 0 ]; }; then bad=1; fi
    passed=$((passed + good))
    failed=$((failed + bad))
    if [ "$bad" = 0 ]; then
        printf 'ok    %4d s, %d tests\n' $((SECONDS - began)) "$good"
    else
        printf 'FAIL  %4d s, %d passed, %d failed\n' $((SECONDS - began)) "$good" "$bad"
        grep -E -A 3 '^test .*FAILED|panicked at|^error' "$LOGS/$name.log" | head -n 60
        echo "the whole of it: $LOGS/$name.log"
    fi
}
# laboratory 'NAME [OPTION...]'
laboratory() {
    local words
    read -ra words <<<"$1"
    step "${words[0]}${words[1]:+-${words[1]#--}}" $LIMIT "$LAB/${words[0]}.sh" "${words[@]:1}"
}
no_dpdk_in() { ! cargo tree --locked -p "$1" -e normal,build | grep -q 'dpdk'; }
export -f no_dpdk_in

mkdir -p "$LOGS"
if [ $# -gt 0 ]; then
    for name in "$@"; do laboratory "$name"; done
else
    "$LAB/deps.sh" || exit 1
    step build 1200 cargo build --locked --release --workspace
    step fmt 120 cargo fmt --all -- --check --color never
    step clippy 900 cargo clippy --locked --workspace --all-targets -- -D warnings
    step controlplane-without-dpdk 60 bash -c 'no_dpdk_in controlplane'
    rust cargo-test 1200 cargo test --locked --workspace --no-fail-fast
    rust loom 900 env RUSTFLAGS='--cfg loom' cargo test --locked -p platform --profile loom --target-dir target/loom --lib snapshot_loom
    step replay 600 python3 "$LAB/replay-check.py"
    grep -E 'corpus: (not given|[0-9]+ files|the real gateway)' "$LOGS/replay.log"
    step instructions 300 bench/instructions.sh
    grep -h '^instructions\|^budget' "$LOGS/instructions.log"
    if [ "$(id -u)" = 0 ]; then
        step redirects-per-second 120 bench/redirects.sh
        cat "$LOGS/redirects-per-second.log"
        for name in "${SCENARIOS[@]}"; do laboratory "$name"; done
        for pair in "${PAIRS[@]}"; do
            for name in $pair; do run "$name" $LIMIT "$LAB/$name.sh" & done
            wait
            for name in $pair; do printf '%-34s' "$name" && judge "$name"; done
        done
    else
        echo "the laboratories need root (network namespaces): run \`sudo make test\`" >&2
        failed=$((failed + ${#SCENARIOS[@]} + 2 * ${#PAIRS[@]} + 1))
    fi
fi
echo "$passed passed, $failed failed"
[ $failed = 0 ]
