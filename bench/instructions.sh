#!/bin/bash
# Instructions of each stage of the packet path (callgrind): the same figure on any machine, whatever else runs.
# Fails when decide + answer of the 186-byte IPv4 request takes more than its budget, or when a stage takes over 3 % more
# than bench/instructions.txt says. usage: instructions.sh [--update]   --update writes what is measured there.
set -euo pipefail
ROOT=$(cd "$(dirname "$0")/.." && pwd)
BIN=${USHER_BIN:-target/release}
[ "${BIN#/}" != "$BIN" ] || BIN=$ROOT/$BIN
BIN=$BIN/hotpath
BASELINE=$ROOT/bench/instructions.txt
BUDGET=450
CALLS=1000
[ -x "$BIN" ] || { echo "$BIN is missing: run \`cargo build --release -p bench\`" >&2; exit 1; }
command -v valgrind >/dev/null || { echo "valgrind is missing: run \`apt-get install valgrind\`" >&2; exit 1; }
OUT=$(mktemp)
MEASURED=$(mktemp)
trap 'rm -f "$OUT" "$MEASURED"' EXIT
for family in v4 v6 v4-922 v6-922 v4-vlan unsignalled elsewhere; do
    valgrind --tool=callgrind --callgrind-out-file="$OUT" "$BIN" "$family" >/dev/null 2>&1 ||
        { echo "$BIN $family fails: run it by hand" >&2; exit 1; }
    # Inclusive counts of the functions named stage_...
    callgrind_annotate --inclusive=yes --threshold=100 "$OUT" 2>/dev/null |
        sed -n 's/^ *\([0-9,]*\) .*bench::stages::stage_\([a-z_]*\).*/\1 \2/p' | tr -d , |
        awk -v family=$family -v calls=$CALLS '{n[$2] = $1 > n[$2] ? $1 : n[$2]} END {for (s in n) printf "%s %s %d\n", family, s, n[s] / calls + 0.5}' |
        sort >>"$MEASURED"
done
for family in v4 v6; do
    awk -v family=$family '$1 == family {n[$2] = $3} END {printf "instructions family=%s classify=%d decide_answer=%d\n", family, n["classify"], n["pair_decide_answer"]}' "$MEASURED"
done
measured=$(awk '$1 == "v4" && $2 == "pair_decide_answer" {print $3}' "$MEASURED")
[ -n "$measured" ] && [ "$measured" -gt 0 ] || { echo "callgrind counted nothing: is the binary stripped?" >&2; exit 1; }
echo "budget decide_answer v4: $measured of $BUDGET"
if [ "${1:-}" = --update ]; then
    { echo "# Instructions a call by family of frame and stage; bench/instructions.sh --update writes it."; cat "$MEASURED"; } >"$BASELINE"
    echo "$BASELINE is written anew"
else
    # A stage of few instructions may take one more.
    awk 'NR == FNR {if ($1 != "#") old[$1 " " $2] = $3; next}
        {seen[$1 " " $2] = 1}
        !(($1 " " $2) in old) {printf "FAIL %s %s is new: run bench/instructions.sh --update\n", $1, $2; bad = 1; next}
        $3 > old[$1 " " $2] * 1.03 + 1 {printf "FAIL %s %s: %d instructions, %d before: over 3 %% more\n", $1, $2, $3, old[$1 " " $2]; bad = 1}
        END {for (stage in old) if (!(stage in seen)) {printf "FAIL %s is gone: run bench/instructions.sh --update\n", stage; bad = 1}
            if (!bad) print "no stage takes over 3 % more than the baseline"; exit bad}' "$BASELINE" "$MEASURED"
fi
[ "$measured" -le $BUDGET ]
