#!/bin/bash
# Instructions of each stage for one request (callgrind): the same figure on any machine, whatever else runs.
# Fails when decide + answer of the 186-byte IPv4 request takes more than its budget.
set -euo pipefail
ROOT=$(cd "$(dirname "$0")/.." && pwd)
BIN=${USHER_BIN:-target/release}
[ "${BIN#/}" != "$BIN" ] || BIN=$ROOT/$BIN
BIN=$BIN/hotpath
BUDGET=450
CALLS=1000
[ -x "$BIN" ] || { echo "$BIN is missing: run \`cargo build --release -p bench\`" >&2; exit 1; }
command -v valgrind >/dev/null || { echo "valgrind is missing: run \`apt-get install valgrind\`" >&2; exit 1; }
count() { # STAGE FAMILY
    local total
    total=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null --toggle-collect="*stage_$1*" "$BIN" "$2" 2>&1 |
        sed -n 's/.*Collected : \([0-9]*\).*/\1/p')
    [ -n "$total" ] && [ "$total" -gt 0 ] || { echo "callgrind counted nothing for $1" >&2; exit 1; }
    echo $(((total + CALLS / 2) / CALLS))
}
for family in v4 v6; do
    classify=$(count classify $family)
    answer=$(count decide_answer $family)
    echo "instructions family=$family classify=$classify decide_answer=$answer"
    [ $family = v4 ] && measured=$answer
done
echo "budget decide_answer v4: $measured of $BUDGET"
[ "$measured" -le $BUDGET ]
